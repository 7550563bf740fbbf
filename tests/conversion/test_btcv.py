import csv

import numpy as np
import pytest

from nnunet_da.cli.main import main

SHAPE = (5, 6, 7)
MARK = (1, 2, 5)  # Z, Y, X, off every axis of symmetry


@pytest.fixture
def release(tmp_path, write_image):
    """RawData with three training scans; the marked voxel is the spleen's, and a scan of Testing."""
    for number in (1, 2, 9):
        voxels = np.random.default_rng(number).integers(-1000, 1500, SHAPE).astype(np.int16)
        voxels[MARK] = 3000
        label = np.zeros(SHAPE, np.uint8)
        label[MARK] = 1
        label[0, 0, 0:4] = (6, 2, 3, 11)  # liver, right kidney, left kidney (further along x, so to the left), pancreas
        write_image(tmp_path / f"RawData/Training/img/img{number:04d}.nii.gz", voxels)
        write_image(tmp_path / f"RawData/Training/label/label{number:04d}.nii.gz", label)
    write_image(tmp_path / "RawData/Testing/img/img0061.nii.gz", np.zeros(SHAPE, np.int16))
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more):
        return main(["convert", "btcv", "-i", str(release), "-d", "201", "--name", "BTCV", "--processes", "1", "--no-pictures", *more])

    return run


def test_voxels_places_and_the_abdomen_of_the_studies(convert, raw, release, place_of, voxels_of):
    assert convert() == 0
    original, written = release / "RawData/Training/img/img0002.nii.gz", raw / "Dataset201_BTCV/imagesTr/img0002_0000.nii.gz"
    assert np.array_equal(voxels_of(written), voxels_of(original))
    label = raw / "Dataset201_BTCV/labelsTr/img0002.nii.gz"
    np.testing.assert_allclose(place_of(label, 4), place_of(original, 3000), atol=1e-3)
    assert voxels_of(label)[0, 0, :5].tolist() == [1, 2, 3, 0, 0]  # the pancreas is left out
    assert not (raw / "Dataset201_BTCV/imagesTs").exists()


def test_meaning_of_channel_and_labels(convert, raw):
    import json

    assert convert() == 0
    description = json.loads((raw / "Dataset201_BTCV/dataset.json").read_text())
    assert description["labels"] == {"background": 0, "liver": 1, "kidney_right": 2, "kidney_left": 3, "spleen": 4}
    assert description["channel_names"] == {"0": "CT"}


def test_chosen_organs_are_numbered_as_named(convert, raw, voxels_of):
    assert convert("--organs", "pancreas", "spleen") == 0
    label = voxels_of(raw / "Dataset201_BTCV/labelsTr/img0001.nii.gz")
    assert label[0, 0, :5].tolist() == [0, 0, 0, 1, 0]
    assert label[MARK] == 2


def test_all_thirteen_organs_keep_the_numbers_of_the_release(convert, raw, release, voxels_of):
    assert convert("--organs", "all") == 0
    written = voxels_of(raw / "Dataset201_BTCV/labelsTr/img0001.nii.gz")
    assert np.array_equal(written, voxels_of(release / "RawData/Training/label/label0001.nii.gz"))


def test_cases_and_test_cases_from_files(convert, raw, tmp_path):
    (tmp_path / "cases.txt").write_text("img0001  # first\n\nimg0009\n")
    (tmp_path / "test.txt").write_text("img0009\n")
    assert convert("--cases", str(tmp_path / "cases.txt"), "--test-cases", str(tmp_path / "test.txt")) == 0
    dataset = raw / "Dataset201_BTCV"
    assert [path.name for path in (dataset / "labelsTr").iterdir()] == ["img0001.nii.gz"]
    assert [path.name for path in (dataset / "labelsTs").iterdir()] == ["img0009.nii.gz"]


def test_unlabelled_target_keeps_the_labels_it_is_scored_with(convert, raw, tmp_path):
    (tmp_path / "test.txt").write_text("img0009\n")
    assert convert("--unlabelled", "--test-cases", str(tmp_path / "test.txt")) == 0
    assert not (raw / "Dataset201_BTCV/labelsTr").exists()
    assert (raw / "Dataset201_BTCV/labelsTs/img0009.nii.gz").is_file()


def test_published_split(convert, raw, release, write_image):
    for number in (30, 32, 33, 39):
        write_image(release / f"RawData/Training/img/img{number:04d}.nii.gz", np.zeros(SHAPE, np.int16))
        write_image(release / f"RawData/Training/label/label{number:04d}.nii.gz", np.zeros(SHAPE, np.uint8))
    assert convert("--paper-split") == 0
    held_out = sorted(path.name[:7] for path in (raw / "Dataset201_BTCV/imagesTs").iterdir())
    assert held_out == [f"img{number:04d}" for number in (1, 9, 30, 32, 33, 39)]


def test_new_scans_go_into_a_plain_folder(release, raw, tmp_path):
    assert main(["convert", "btcv", "-i", str(release), "-o", str(tmp_path / "scans"), "--processes", "1", "--no-pictures"]) == 0
    assert (tmp_path / "scans/img0001_0000.nii.gz").is_file()


def test_channel_may_be_renamed(convert, raw):
    assert convert("--channel-name", "intensity") == 0
    assert '"intensity"' in (raw / "Dataset201_BTCV/dataset.json").read_text()


def test_swapped_kidneys_are_noticed(convert, raw, release, write_image):
    label = np.zeros(SHAPE, np.uint8)
    label[2, 2, (1, 5)] = (3, 2)  # the left one lies at smaller x, on the patient's right
    write_image(release / "RawData/Training/label/label0002.nii.gz", label)
    assert convert() == 0
    rows = {row["case"]: row for row in csv.DictReader((raw / "Dataset201_BTCV/conversion.csv").read_text().splitlines())}
    assert "kidney_left lies to the right of kidney_right" in rows["img0002"]["warnings"]
    assert "lies to the right" not in rows["img0001"]["warnings"]


def test_missing_label_is_refused(convert, release, error_of):
    (release / "RawData/Training/label/label0002.nii.gz").unlink()
    assert "'img0002'" in error_of(convert())


def test_label_without_image_is_refused(convert, release, error_of):
    (release / "RawData/Training/img/img0002.nii.gz").unlink()
    assert "label0002.nii.gz" in error_of(convert())


def test_the_same_case_twice_is_refused(convert, release, write_image, error_of):
    write_image(release / "RawData/Training/more/img0001.nii.gz", np.zeros(SHAPE, np.int16))
    assert "'img0001' has two files" in error_of(convert())


def test_empty_folder_is_refused(tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    status = main(["convert", "btcv", "-i", str(tmp_path / "empty"), "-d", "201", "--name", "BTCV"])
    assert "no case" in error_of(status)


def test_incomplete_published_split_is_refused(convert, error_of):
    assert "img0030" in error_of(convert("--paper-split"))


@pytest.mark.parametrize("text", ["img0005\n", "", "img0001\nimg0001\n"])
def test_bad_case_list_is_refused(convert, tmp_path, text, error_of):
    (tmp_path / "cases.txt").write_text(text)
    assert "cases.txt" in error_of(convert("--cases", str(tmp_path / "cases.txt")))


@pytest.mark.parametrize("organs", [("heart",), ("liver", "liver")])
def test_unknown_or_repeated_organ_is_refused(convert, organs, error_of):
    assert organs[-1] in error_of(convert("--organs", *organs))


def test_label_value_the_set_does_not_have_fails_that_case_alone(convert, raw, release, write_image, capfd):
    write_image(release / "RawData/Training/label/label0002.nii.gz", np.full(SHAPE, 14, np.uint8))
    assert convert() == 1
    assert "also holds 14" in capfd.readouterr().err
    assert sorted(path.name for path in (raw / "Dataset201_BTCV/labelsTr").iterdir()) == ["img0001.nii.gz", "img0009.nii.gz"]


def test_label_of_other_geometry_fails_that_case_alone(convert, raw, release, write_image, capfd):
    write_image(release / "RawData/Training/label/label0002.nii.gz", np.zeros(SHAPE, np.uint8), origin=(0.0, 0.0, 0.0))
    assert convert() == 1
    assert "share one grid" in capfd.readouterr().err
