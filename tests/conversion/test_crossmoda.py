import json

import numpy as np
import pytest

from nnunet_da.cli.main import main

SHAPE = (4, 6, 8)
MARK = (2, 4, 1)  # Z, Y, X


def scan(seed):
    voxels = np.random.default_rng(seed).integers(0, 1500, SHAPE).astype(np.int16)
    voxels[MARK] = 3000
    return voxels


@pytest.fixture
def release(tmp_path, write_image):
    """Two ceT1 with labels, two hrT2, one hrT2 for validation; the marked voxel is the cochlea's."""
    label = np.zeros(SHAPE, np.uint8)
    label[MARK] = 2
    label[0, 0, :2] = 1
    for number in (1, 2):
        write_image(tmp_path / f"source_training/crossmoda_{number}_ceT1.nii.gz", scan(number))
        write_image(tmp_path / f"source_training/crossmoda_{number}_Label.nii.gz", label)
    for folder, number in (("target_training", 106), ("target_training", 107), ("target_validation", 211)):
        write_image(tmp_path / folder / f"crossmoda_{number}_hrT2.nii.gz", scan(number))
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more):
        return main(["convert", "crossmoda", "-i", str(release), "-d", "401", "--name", "ceT1", "--processes", "1", "--no-pictures", *more])

    return run


def test_source_and_target_in_one_command(convert, raw, release, place_of, voxels_of):
    assert convert("--target-id", "402", "--target-name", "hrT2") == 0
    source, target = raw / "Dataset401_ceT1", raw / "Dataset402_hrT2"
    for dataset, sequence in ((source, "ceT1"), (target, "hrT2")):
        description = json.loads((dataset / "dataset.json").read_text())
        assert description["labels"] == {"background": 0, "VS": 1, "cochlea": 2}
        assert description["channel_names"] == {"0": sequence}
    original = release / "source_training/crossmoda_2_ceT1.nii.gz"
    assert np.array_equal(voxels_of(source / "imagesTr/crossmoda_2_0000.nii.gz"), voxels_of(original))
    np.testing.assert_allclose(place_of(source / "labelsTr/crossmoda_2.nii.gz", 2), place_of(original, 3000), atol=1e-3)
    assert sorted(path.name for path in (target / "imagesTr").iterdir()) == ["crossmoda_106_0000.nii.gz", "crossmoda_107_0000.nii.gz"]
    assert not (target / "labelsTr").exists()


def test_validation_scans_are_added_when_asked(convert, raw):
    assert convert("--sequence", "hrT2", "--with-validation") == 0
    assert (raw / "Dataset401_ceT1/imagesTr/crossmoda_211_0000.nii.gz").is_file()


def test_names_of_the_2022_release(raw, release, write_image, tmp_path):
    write_image(tmp_path / "2022/training_source/crossmoda2022_etz_3_ceT1.nii.gz", scan(3))
    write_image(tmp_path / "2022/training_source/crossmoda2022_etz_3_Label.nii.gz", np.ones(SHAPE, np.uint8))
    assert (
        main(["convert", "crossmoda", "-i", str(tmp_path / "2022"), "-d", "403", "--name", "A", "--processes", "1", "--no-pictures"]) == 0
    )
    assert (raw / "Dataset403_A/labelsTr/crossmoda2022_etz_3.nii.gz").is_file()


def test_values_of_the_2023_release_are_refused(convert, release, write_image, capfd):
    write_image(release / "source_training/crossmoda_2_Label.nii.gz", np.full(SHAPE, 3, np.uint8))
    assert convert() == 1
    assert "also holds 3" in capfd.readouterr().err


def test_missing_source_label_is_refused(convert, release, error_of):
    (release / "source_training/crossmoda_2_Label.nii.gz").unlink()
    assert "'crossmoda_2'" in error_of(convert())


def test_hrt2_cannot_be_the_source(convert, error_of):
    assert "ceT1" in error_of(convert("--sequence", "hrT2", "--target-id", "402", "--target-name", "B"))


def test_empty_folder_is_refused(tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    assert "no case of ceT1" in error_of(main(["convert", "crossmoda", "-i", str(tmp_path / "empty"), "-d", "401", "--name", "A"]))
