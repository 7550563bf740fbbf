"""Features of one mask: of the image as it is, and undefined where a mask holds too little."""

import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.errors import UserError

WITHOUT = """
import sys
sys.modules["radiomics"] = None
import nnunet_da.radiomics, nnunet_da.radiomics.run
from nnunet_da.cli.main import main
sys.exit(main(["radiomics", "--images", {0!r}, "-r", {1!r}, "-p", {2!r}, "-o", {3!r}]))
"""


@pytest.fixture
def extract():
    pytest.importorskip("radiomics", reason="pyradiomics is not installed")
    from nnunet_da.radiomics.features import FeatureExtractor

    return FeatureExtractor()


@pytest.fixture
def volume(make_bone):
    array, mask = make_bone(0, 10)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.0, 2.0))
    return image, mask


def test_equal_pyradiomics_on_the_original_image(extract, volume):
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    image, mask = volume
    on_grid = sitk.GetImageFromArray(mask.astype(np.uint8))
    on_grid.CopyInformation(image)
    expected = RadiomicsFeatureExtractor(additionalInfo=False).execute(image, on_grid)
    assert extract(image, mask) == {name: float(value) for name, value in expected.items()}


def test_an_8_bit_copy_of_the_image_is_another_image(extract, volume):
    """The paper's public code casts to uint8: HU wrap around at 256, and every number of the texture with them."""
    image, mask = volume
    ours, theirs = extract(image, mask), extract(sitk.Cast(image, sitk.sitkUInt8), mask)
    assert ours["original_firstorder_Mean"] == pytest.approx(sitk.GetArrayFromImage(image)[mask].mean())
    assert theirs["original_firstorder_Mean"] < 256 < ours["original_firstorder_Mean"]
    assert theirs["original_glcm_Contrast"] != pytest.approx(ours["original_glcm_Contrast"], rel=0.5)


def test_a_saturated_voxel_does_not_overflow(extract, volume):
    """pyradiomics counts its bins on from the largest voxel, in the image's own type: 32767 of int16 would wrap around, with a warning."""
    image, mask = volume
    array = sitk.GetArrayFromImage(image)
    array[tuple(np.argwhere(mask)[0])] = np.iinfo(np.int16).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extract(sitk.GetImageFromArray(array), mask)
    assert found["original_firstorder_Maximum"] == np.iinfo(np.int16).max


@pytest.mark.parametrize(
    ("filled", "reason"),
    [((), "empty mask"), (((5, 5, 5),), "one voxel"), (((5, 5, 5), (5, 5, 6)), "dimensions")],
)
def test_too_small_a_mask_has_no_features(extract, volume, filled, reason):
    from nnunet_da.radiomics.features import UndefinedFeaturesError

    image, mask = volume
    mask = np.zeros_like(mask)
    for voxel in filled:
        mask[voxel] = True
    with pytest.raises(UndefinedFeaturesError, match=reason):
        extract(image, mask)


def test_a_filter_looks_beyond_the_crop(extract, tmp_path):
    from nnunet_da.radiomics.features import FeatureExtractor

    file = tmp_path / "wavelet.yaml"
    file.write_text("imageType:\n  Original: {}\n  Wavelet: {}\n")
    assert FeatureExtractor(file).needs_whole_image
    assert not extract.needs_whole_image


def test_families():
    from nnunet_da.radiomics.features import family_of

    assert family_of("original_glcm_Contrast") == "glcm"
    assert family_of("log-sigma-2-0-mm-3D_firstorder_Mean") == "firstorder"


@pytest.mark.parametrize("text", ["setting:\n  binWith: 25\n", "setting: [1\n", "a: b: c\n"])
def test_refuses_a_wrong_parameter_file(extract, tmp_path, text):
    from nnunet_da.radiomics.features import FeatureExtractor

    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(UserError, match="must be a parameter file of pyradiomics"):
        FeatureExtractor(tmp_path / "wrong.yaml")
    with pytest.raises(UserError, match="does not exist"):
        FeatureExtractor(tmp_path / "none.yaml")


def test_the_wheel_ships_the_settings(wheel):
    with zipfile.ZipFile(wheel) as content:
        assert "nnunet_da/plans/radiomics/default.yaml" in content.namelist()


def test_without_pyradiomics_the_error_says_how_to_install_it(cohort_folder):
    folders = [str(cohort_folder / name) for name in ("images", "references", "predictions", "out")]
    done = subprocess.run([sys.executable, "-c", WITHOUT.format(*folders)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install --no-build-isolation pyradiomics==3.0.1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (cohort_folder / "out").exists()
