import json

import numpy as np
import pytest

from nnunet_da.cli.main import main

SHAPE = (4, 6, 8)
MARK = (3, 1, 6)  # Z, Y, X


@pytest.fixture
def release(tmp_path, write_image):
    """Two scans per modality; the marked voxel is the ascending aorta's, one row has all other values of the set."""
    for modality in ("ct", "mr"):
        for number in (1001, 1002):
            voxels = np.random.default_rng(number).integers(0, 1500, SHAPE).astype(np.int16)
            voxels[MARK] = 3000
            label = np.zeros(SHAPE, np.uint16)
            label[MARK] = 820
            label[0, 0, :6] = (205, 420, 500, 550, 600, 850)
            for kind, array in (("image", voxels), ("label", label)):
                write_image(tmp_path / f"{modality}_train/{modality}_train_{number}_{kind}.nii.gz", array)
    write_image(tmp_path / "ct_test/ct_test_2001_image.nii.gz", np.zeros(SHAPE, np.int16))
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more):
        command = ["convert", "mmwhs", "-i", str(release), "-d", "301", "--name", "HeartCT", "--processes", "1", "--no-pictures"]
        return main([*command, *more])

    return run


def test_both_modalities_as_source_and_target(convert, raw, release, place_of, voxels_of):
    assert convert("--modality", "ct", "--target-modality", "mr", "--target-id", "302", "--target-name", "HeartMR", "--unlabelled") == 0
    for dataset, modality in (("Dataset301_HeartCT", "ct"), ("Dataset302_HeartMR", "mr")):
        description = json.loads((raw / dataset / "dataset.json").read_text())
        assert description["labels"] == {"background": 0, "MYO": 1, "LAC": 2, "LVC": 3, "AA": 4}
        assert description["channel_names"] == {"0": modality.upper()}
        original = release / f"{modality}_train/{modality}_train_1001_image.nii.gz"
        assert np.array_equal(voxels_of(raw / dataset / f"imagesTr/{modality}_train_1001_0000.nii.gz"), voxels_of(original))
    label = raw / "Dataset301_HeartCT/labelsTr/ct_train_1001.nii.gz"
    np.testing.assert_allclose(place_of(label, 4), place_of(release / "ct_train/ct_train_1001_image.nii.gz", 3000), atol=1e-3)
    assert voxels_of(label)[0, 0, :7].tolist() == [1, 2, 3, 0, 0, 0, 0]
    assert not (raw / "Dataset302_HeartMR/labelsTr").exists()


def test_stray_value_is_the_left_atrium_with_a_warning(convert, raw, release, write_image, voxels_of):
    label = np.zeros(SHAPE, np.uint16)
    label[2, 2, 2:5] = 421
    write_image(release / "mr_train/mr_train_1002_label.nii.gz", label)
    assert convert("--modality", "mr") == 0
    assert np.count_nonzero(voxels_of(raw / "Dataset301_HeartCT/labelsTr/mr_train_1002.nii.gz") == 2) == 3
    assert "3 voxels of the stray value 421 taken as 2" in (raw / "Dataset301_HeartCT/conversion.csv").read_text()


def test_all_seven_structures(convert, raw, voxels_of):
    assert convert("--modality", "ct", "--structures", "MYO", "LAC", "LVC", "AA", "RAC", "RVC", "PA") == 0
    assert voxels_of(raw / "Dataset301_HeartCT/labelsTr/ct_train_1001.nii.gz")[0, 0, :6].tolist() == [1, 2, 3, 5, 6, 7]


def test_published_split_of_both_modalities(convert, raw, release, write_image):
    for modality, numbers in (("ct", (1003, 1008, 1014, 1019)), ("mr", (1007, 1009, 1018, 1019))):
        for number in numbers:
            for kind in ("image", "label"):
                write_image(release / f"{modality}_train/{modality}_train_{number}_{kind}.nii.gz", np.zeros(SHAPE, np.int16))
    target = ("--target-modality", "mr", "--target-id", "302", "--target-name", "HeartMR")
    assert convert("--modality", "ct", *target, "--paper-split") == 0
    assert sorted(path.name[9:13] for path in (raw / "Dataset301_HeartCT/labelsTs").iterdir()) == ["1003", "1008", "1014", "1019"]
    assert sorted(path.name[9:13] for path in (raw / "Dataset302_HeartMR/labelsTs").iterdir()) == ["1007", "1009", "1018", "1019"]


def test_unknown_value_fails_that_case_alone(convert, raw, release, write_image, capfd):
    write_image(release / "ct_train/ct_train_1002_label.nii.gz", np.full(SHAPE, 7, np.uint16))
    assert convert("--modality", "ct") == 1
    assert "also holds 7" in capfd.readouterr().err
    assert (raw / "Dataset301_HeartCT/labelsTr/ct_train_1001.nii.gz").is_file()


def test_missing_label_is_refused(convert, release, error_of):
    (release / "ct_train/ct_train_1002_label.nii.gz").unlink()
    assert "'ct_train_1002'" in error_of(convert("--modality", "ct"))


def test_modality_that_is_not_there_is_refused(release, error_of):
    status = main(["convert", "mmwhs", "-i", str(release / "ct_train"), "-d", "301", "--name", "MR", "--modality", "mr"])
    assert "no case of MR" in error_of(status)


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--target-modality", "mr"), "--target-id"),
        (("--target-modality", "ct", "--target-id", "302", "--target-name", "B"), "two modalities"),
        (("--target-modality", "mr", "--target-id", "302"), "--target-name"),
        (("--target-modality", "mr", "--target-id", "301", "--target-name", "B"), "two datasets"),
    ],
)
def test_target_that_does_not_fit_is_refused(convert, more, word, error_of):
    assert word in error_of(convert("--modality", "ct", *more))


def test_taken_target_id_is_noticed_before_the_source_is_written(convert, raw, capfd):
    (raw / "Dataset302_Else").mkdir()
    assert convert("--modality", "ct", "--target-modality", "mr", "--target-id", "302", "--target-name", "HeartMR") == 2
    assert "Dataset302_Else" in capfd.readouterr().err
    assert [path.name for path in raw.iterdir()] == ["Dataset302_Else"]
