import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main

SHAPE = (4, 6, 8)
MARK = (3, 1, 6)  # Z, Y, X
DATA = paths.test_data_dir()


def scan(seed):
    voxels = np.random.default_rng(seed).integers(-1000, 1500, SHAPE).astype(np.int16)
    voxels[MARK] = 3000
    return voxels


def label():
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[MARK] = 2
    voxels[0, 0, 0] = 1
    return voxels


def write_json(task, **changes):
    content = {
        "name": "TASK",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "pancreas", "2": "cancer"},
        "training": [{"image": f"./imagesTr/p_{n}.nii.gz", "label": f"./labelsTr/p_{n}.nii.gz"} for n in (1, 2)],
        "test": ["./imagesTs/p_3.nii.gz"],
    }
    (task / "dataset.json").write_text(json.dumps(content | changes))


@pytest.fixture
def task(tmp_path, write_image):
    """A task of one channel, with macOS's `._` files beside the scans."""
    for folder, number in (("imagesTr", 1), ("imagesTr", 2), ("imagesTs", 3)):
        write_image(tmp_path / folder / f"p_{number}.nii.gz", scan(number))
        (tmp_path / folder / f"._p_{number}.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    for number in (1, 2):
        write_image(tmp_path / f"labelsTr/p_{number}.nii.gz", label())
    write_json(tmp_path)
    return tmp_path


@pytest.fixture
def convert(raw, task):
    def run(*more):
        return main(["convert", "msd", "-i", str(task), "-d", "701", "--name", "Task", "--processes", "1", "--no-pictures", *more])

    return run


@pytest.fixture
def write_4d(write_image, tmp_path):
    """Write channels (each Z, Y, X) as one 4D NIfTI on the oblique grid of `write_image`."""

    def write(path, channels):
        files = [write_image(tmp_path / "channels" / f"{number}.nii.gz", voxels) for number, voxels in enumerate(channels)]
        sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(file)) for file in files]), str(path))

    return write


def test_one_channel_is_copied_and_the_rest_kept(convert, raw, task, place_of):
    assert convert() == 0
    dataset = raw / "Dataset701_Task"
    assert (dataset / "imagesTr/p_1_0000.nii.gz").read_bytes() == (task / "imagesTr/p_1.nii.gz").read_bytes()
    assert (dataset / "imagesTs/p_3_0000.nii.gz").is_file()
    np.testing.assert_allclose(place_of(dataset / "labelsTr/p_2.nii.gz", 2), place_of(task / "imagesTr/p_2.nii.gz", 3000), atol=1e-3)
    description = json.loads((dataset / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "pancreas": 1, "cancer": 2}
    assert description["channel_names"] == {"0": "CT"}
    assert description["numTraining"] == 2


def test_4d_images_become_one_file_per_channel(convert, raw, task, write_4d, place_of, voxels_of):
    for folder, number in (("imagesTr", 1), ("imagesTr", 2), ("imagesTs", 3)):
        write_4d(task / folder / f"p_{number}.nii.gz", [scan(number), scan(number + 10)])
    write_json(task, modality={"0": "T2", "1": "ADC"})
    assert convert() == 0
    dataset = raw / "Dataset701_Task"
    for channel, seed in ((0, 2), (1, 12)):
        written = dataset / f"imagesTr/p_2_{channel:04d}.nii.gz"
        assert np.array_equal(voxels_of(written), scan(seed))
        np.testing.assert_allclose(place_of(written, 3000), place_of(task / "labelsTr/p_2.nii.gz", 2), atol=1e-3)
    assert json.loads((dataset / "dataset.json").read_text())["channel_names"] == {"0": "T2", "1": "ADC"}


def test_challenge_scans_may_be_left_out(convert, raw):
    assert convert("--no-challenge-test") == 0
    assert not (raw / "Dataset701_Task/imagesTs").exists()


def test_other_number_of_channels_fails_that_case_alone(convert, raw, task, write_4d, capfd):
    for number in (1, 2):
        write_4d(task / f"imagesTr/p_{number}.nii.gz", [scan(number)] * (1 + number))
    write_json(task, modality={"0": "T2", "1": "ADC"}, test=[])
    assert convert() == 1
    assert "failed p_2" in capfd.readouterr().err
    assert sorted(path.name for path in (raw / "Dataset701_Task/imagesTr").iterdir()) == ["p_1_0000.nii.gz", "p_1_0001.nii.gz"]


def test_4d_image_of_a_task_with_one_channel_fails(convert, task, write_4d, capfd):
    write_4d(task / "imagesTr/p_2.nii.gz", [scan(1), scan(2)])
    assert convert() == 1
    assert "3 dimensions" in capfd.readouterr().err


def test_truncated_4d_image_fails_that_case_alone(convert, task, write_4d, capfd):
    for number in (1, 2):
        write_4d(task / f"imagesTr/p_{number}.nii.gz", [scan(1), scan(2)])
    path = task / "imagesTr/p_2.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    write_json(task, modality={"0": "T2", "1": "ADC"}, test=[])
    assert convert() == 1
    assert "truncated" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"training": [{"image": "./imagesTr/p_1.nii.gz", "label": "./labelsTr/p_1.nii.gz"}] * 2}, "'p_1' stands twice"),
        ({"training": [{"image": "./imagesTr/p_9.nii.gz", "label": "./labelsTr/p_1.nii.gz"}]}, "p_9"),
        ({"training": [{"image": "./imagesTr/p_1.nii.gz"}]}, "label"),
        ({"training": [{"image": "../p_1.nii.gz", "label": "./labelsTr/p_1.nii.gz"}]}, "inside"),
        ({"training": ["./imagesTr/p_1.nii.gz"]}, "entries such as"),
        ({"labels": {"0": "background", "2": "pancreas"}}, "without gaps"),
        ({"modality": []}, "modality"),
        ({"training": [], "test": []}, "no case"),
    ],
)
def test_bad_dataset_json_is_refused(convert, task, changes, word, error_of):
    write_json(task, **changes)
    assert word in error_of(convert())


def test_missing_dataset_json_is_refused(convert, task, error_of):
    (task / "dataset.json").unlink()
    assert "convert nifti" in error_of(convert())


def test_undeclared_label_value_fails_that_case_alone(convert, task, write_image, capfd):
    write_image(task / "labelsTr/p_2.nii.gz", np.full(SHAPE, 3, np.uint8))
    assert convert() == 1
    assert "failed p_2" in capfd.readouterr().err


@pytest.mark.real
@pytest.mark.skipif(DATA is None, reason="real test data not found: set NNUNET_DA_TEST_DATA")
def test_real_hippocampus(raw, tmp_path, voxels_of):
    names = [path.name for path in sorted((DATA / "hippocampus/imagesTr").iterdir())[:3]]
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "Task04" / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(DATA / "hippocampus" / folder / name, tmp_path / "Task04" / folder / name)
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    write_json(tmp_path / "Task04", modality={"0": "MRI"}, labels=labels, training=training, test=[])
    assert main(["convert", "msd", "-i", str(tmp_path / "Task04"), "-d", "704", "--name", "Hippocampus", "--processes", "1"]) == 0
    for name in names:
        assert np.array_equal(voxels_of(raw / "Dataset704_Hippocampus/labelsTr" / name), voxels_of(DATA / "hippocampus/labelsTr" / name))
        written = raw / "Dataset704_Hippocampus/imagesTr" / name.replace(".nii.gz", "_0000.nii.gz")
        assert np.array_equal(voxels_of(written), voxels_of(DATA / "hippocampus/imagesTr" / name))
