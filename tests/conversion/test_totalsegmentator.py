import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main
from nnunet_da.conversion.totalsegmentator import parse_classes
from nnunet_da.errors import UserError

SHAPE = (4, 6, 8)
MARK = (3, 1, 6)  # Z, Y, X
MASKS = {"femur_left": MARK, "femur_right": (0, 2, 1), "vertebrae_L1": (0, 0, 0), "vertebrae_L2": (0, 0, 1)}
META = "\ufeffimage_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;pathology;pathology_location\n"
DATA = paths.test_data_dir()


def only(index):
    mask = np.zeros(SHAPE, np.uint8)
    if index is not None:
        mask[index] = 1
    return mask


@pytest.fixture
def release(tmp_path, write_image):
    """Three subjects with femora and one thorax without, as in the release of the CT set."""
    rows = (("s0001", "A", "train"), ("s0002", "B", "test"), ("s0003", "A", "val"), ("s0004", "A", "train"))
    for number, (subject, _, _) in enumerate(rows):
        voxels = np.random.default_rng(number).integers(-1000, 1500, SHAPE).astype(np.int16)
        voxels[MARK] = 3000
        write_image(tmp_path / subject / "ct.nii.gz", voxels)
        for name, index in MASKS.items():
            write_image(tmp_path / subject / f"segmentations/{name}.nii.gz", only(None if subject == "s0004" else index))
    lines = [f"{subject};50;m;{institute};ct pelvis;{split};siemens;x;120;no;" for subject, institute, split in rows]
    (tmp_path / "meta.csv").write_text(META + "\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more, classes=("femur_left", "femur_right")):
        command = ["convert", "totalsegmentator", "-i", str(release), "--classes", *classes, "-d", "601", "--name", "TS"]
        return main([*command, "--processes", "1", "--no-pictures", *more])

    return run


def cases_in(folder):
    return sorted(path.name.split(".")[0].removesuffix("_0000") for path in folder.iterdir())


def test_masks_become_one_label_map_at_the_same_place(convert, raw, release, capfd, place_of, voxels_of):
    assert convert() == 0
    dataset = raw / "Dataset601_TS"
    assert cases_in(dataset / "imagesTr") == ["s0001", "s0002", "s0003"]
    assert "1 of 4 scans show none of the classes" in capfd.readouterr().out
    assert np.array_equal(voxels_of(dataset / "imagesTr/s0001_0000.nii.gz"), voxels_of(release / "s0001/ct.nii.gz"))
    label = dataset / "labelsTr/s0001.nii.gz"
    assert np.array_equal(voxels_of(label), only(MARK) + 2 * only(MASKS["femur_right"]))
    np.testing.assert_allclose(place_of(label, 1), place_of(release / "s0001/ct.nii.gz", 3000), atol=1e-3)
    assert json.loads((dataset / "dataset.json").read_text())["channel_names"] == {"0": "CT"}


def test_classes_are_united(convert, raw, voxels_of):
    assert convert(classes=("femur_right", "lumbar_spine=vertebrae_L1+vertebrae_L2")) == 0
    label = voxels_of(raw / "Dataset601_TS/labelsTr/s0001.nii.gz")
    assert label[0, 0].tolist() == [2, 2, 0, 0, 0, 0, 0, 0]
    assert label[MASKS["femur_right"]] == 1
    labels = json.loads((raw / "Dataset601_TS/dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "femur_right": 1, "lumbar_spine": 2}


def test_empty_scans_are_kept_when_asked(convert, raw):
    assert convert("--keep-empty") == 0
    assert cases_in(raw / "Dataset601_TS/imagesTr") == ["s0001", "s0002", "s0003", "s0004"]


def test_subjects_of_one_institute(convert, raw):
    assert convert("--where", "institute=A", "--where", "split=train") == 0
    assert cases_in(raw / "Dataset601_TS/imagesTr") == ["s0001"]


def test_split_of_the_release(convert, raw):
    assert convert("--official-split") == 0
    assert cases_in(raw / "Dataset601_TS/labelsTr") == ["s0001", "s0003"]
    assert cases_in(raw / "Dataset601_TS/labelsTs") == ["s0002"]


def test_mr_set(raw, release, convert):
    for subject in ("s0001", "s0002", "s0003", "s0004"):
        (release / subject / "ct.nii.gz").rename(release / subject / "mri.nii.gz")
    assert convert() == 0
    assert json.loads((raw / "Dataset601_TS/dataset.json").read_text())["channel_names"] == {"0": "MR"}


def test_overlap_is_noticed(convert, raw, release, write_image, voxels_of):
    write_image(release / "s0001/segmentations/femur_right.nii.gz", only(MARK))
    assert convert() == 0
    assert voxels_of(raw / "Dataset601_TS/labelsTr/s0001.nii.gz")[MARK] == 2
    assert "1 voxels lie in two classes" in (raw / "Dataset601_TS/conversion.csv").read_text()


def test_second_run_keeps_what_is_there(convert, raw, capfd):
    assert convert() == 0
    times = {path: path.stat().st_mtime_ns for path in (raw / "Dataset601_TS/labelsTr").iterdir()}
    assert convert() == 0
    assert "3 already there and verified" in capfd.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in (raw / "Dataset601_TS/labelsTr").iterdir()}


def test_misspelt_class_is_refused_with_a_suggestion(convert, error_of):
    assert "femur_left" in error_of(convert(classes=("femur_lefft",)))


def test_missing_mask_is_refused(convert, release, error_of):
    (release / "s0002/segmentations/femur_left.nii.gz").unlink()
    assert "s0002" in error_of(convert())


def test_mask_of_several_values_fails_that_case_alone(convert, raw, release, write_image, capfd):
    write_image(release / "s0001/segmentations/femur_left.nii.gz", only(MARK) + 2 * only((1, 1, 1)))
    assert convert() == 1
    assert "failed s0001" in capfd.readouterr().err
    assert cases_in(raw / "Dataset601_TS/imagesTr") == ["s0002", "s0003"]


def test_mask_of_other_geometry_fails_that_case_alone(convert, release, write_image, capfd):
    write_image(release / "s0001/segmentations/femur_left.nii.gz", only(MARK), origin=(0.0, 0.0, 0.0))
    assert convert() == 1
    assert "share one grid" in capfd.readouterr().err


def test_empty_folder_is_refused(tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    command = ["convert", "totalsegmentator", "-i", str(tmp_path / "empty"), "--classes", "femur_left", "-d", "601", "--name", "TS"]
    assert "found neither" in error_of(main(command))


def test_wrong_modality_is_refused(convert, error_of):
    assert "not mr" in error_of(convert("--modality", "mr"))


@pytest.mark.parametrize("text", ["hospital=A", "institute", "institute="])
def test_bad_condition_is_refused(convert, text, error_of):
    assert "--where" in error_of(convert("--where", text))


def test_subject_without_row_is_refused(convert, release, error_of):
    (release / "meta.csv").write_text(META + "s0001;50;m;A;ct;train;x;x;120;no;\n")
    assert "'s0002'" in error_of(convert("--official-split"))


@pytest.mark.parametrize("texts", [["a", "a"], ["x=a", "y=a"], ["=a"], ["x=a+"], [""]])
def test_bad_classes_are_refused(texts):
    with pytest.raises(UserError, match="each once"):
        parse_classes(texts)


@pytest.mark.real
@pytest.mark.skipif(DATA is None, reason="real test data not found: set NNUNET_DA_TEST_DATA")
def test_real_pelvis_in_the_layout_of_the_release(raw, tmp_path, voxels_of):
    """Left femur and left hip really lie on the patient's left: no warning, and no voxel is lost."""
    subject = tmp_path / "s0001"
    (subject / "segmentations").mkdir(parents=True)
    shutil.copy(DATA / "totalseg_hip/ct_pelvis_3mm.nii.gz", subject / "ct.nii.gz")
    given = sitk.ReadImage(str(DATA / "totalseg_hip/labels_femurL1_femurR2_hipL3_hipR4_sacrum5.nii.gz"))
    names = ("femur_left", "femur_right", "hip_left", "hip_right", "sacrum")
    for value, name in enumerate(names, start=1):
        sitk.WriteImage(sitk.Cast(given == value, sitk.sitkUInt8), str(subject / f"segmentations/{name}.nii.gz"))
    command = ["convert", "totalsegmentator", "-i", str(tmp_path), "--classes", *names, "-d", "601", "--name", "TS", "--processes", "1"]
    assert main(command) == 0
    assert np.array_equal(voxels_of(raw / "Dataset601_TS/labelsTr/s0001.nii.gz"), sitk.GetArrayFromImage(given))
    assert "lies to the right" not in (raw / "Dataset601_TS/conversion.csv").read_text()
