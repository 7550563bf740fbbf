import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main

DATA = paths.test_data_dir()


@pytest.mark.real
@pytest.mark.skipif(DATA is None, reason="real test data not found: set NNUNET_DA_TEST_DATA")
def test_real_hip_ct_with_labels(raw):
    hips = DATA / "hip_ct_mr"
    arguments = ["-i", str(hips / "STS_03*" / "ct.nii.gz"), "-l", str(hips / "STS_03*" / "ct_femur_semiauto.nii.gz"), "--label", "femur=1"]
    assert main(["convert", "nifti", *arguments, "-d", "301", "--name", "Hip"]) == 0
    source, written = hips / "STS_031" / "ct.nii.gz", raw / "Dataset301_Hip" / "imagesTr" / "1_0000.nii.gz"
    assert written.read_bytes() == source.read_bytes()
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(raw / "Dataset301_Hip" / "labelsTr" / "1.nii.gz")))
    assert np.array_equal(label, sitk.GetArrayFromImage(sitk.ReadImage(str(hips / "STS_031" / "ct_femur_semiauto.nii.gz"))))
    assert label.any()
