import csv
import gzip
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main
from nnunet_da.conversion.nifti import declared_labels
from nnunet_da.errors import UserError


def voxels_of(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def error_of(capfd, status, raw):
    """The one line a refused conversion prints; nothing may be left under nnUNet_raw."""
    assert status == 2
    assert list(raw.iterdir()) == []
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def reason_of(capfd, status, raw, case="a"):
    """Why a case was refused; it alone may be missing, and nothing half-written may be left."""
    assert status == 1
    lines = capfd.readouterr().err.splitlines()
    (reason,) = [line for line in lines if line.startswith(f"failed {case}: ")]
    assert lines[1].startswith(f"error: 1 of {len(written_cases(raw)) + 1} cases could not be converted, ")
    assert len(lines) == 2
    assert case not in written_cases(raw)
    assert not list(raw.rglob(".*"))
    return reason


def written_cases(raw):
    """Cases of the datasets in nnUNet_raw; without one not even a folder is left."""
    folders = list(raw.iterdir())
    assert all((folder / "dataset.json").is_file() for folder in folders)
    return [path.name[: -len("_0000.nii.gz")] for folder in folders for path in folder.glob("imagesT*/*_0000.nii.gz")]


def test_writes_what_nnunet_expects(convert, raw):
    assert convert() == 0
    folder = raw / "Dataset101_A"
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert written == [
        "conversion.csv",
        "conversion.json",
        "conversion/a.png",
        "conversion/b.png",
        "conversion/contact_sheet.png",
        "conversion/placements.json",
        "conversion/records/a.json",
        "conversion/records/b.json",
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTr/b_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsTr/b.nii.gz",
    ]
    content = json.loads((folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "CT"}
    assert content["labels"] == {"background": 0, "femur": 1}
    assert (content["numTraining"], content["file_ending"]) == (2, ".nii.gz")
    assert list(raw.iterdir()) == [folder]  # no temporary folder is left


def test_stock_nnunet_accepts_the_dataset(convert, raw):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    assert convert() == 0
    verify_dataset_integrity(str(raw / "Dataset101_A"), num_processes=1)


def test_unlabelled_dataset_has_no_labels_folder(convert, raw):
    assert convert(labels=None) == 0
    assert not (raw / "Dataset101_A" / "labelsTr").exists()
    assert json.loads((raw / "Dataset101_A" / "dataset.json").read_text())["numTraining"] == 2


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".hdr"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
def test_marked_voxel_keeps_place_and_value(convert, raw, scans, write_image, ending, dtype):
    voxels = np.random.default_rng(3).integers(0, 3000, (6, 5, 4)).astype(dtype)
    voxels[4, 3, 1] = 3071  # z, y, x
    direction = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0) if ending == ".hdr" else None  # Analyze keeps none
    shutil.rmtree(scans / "images")
    more = {"direction": direction, "origin": (0, 0, 0)} if direction else {}
    source = sitk.ReadImage(str(write_image(scans / "images" / f"a{ending}", voxels, **more)))
    assert convert(labels=None) == 0
    written = sitk.ReadImage(str(raw / "Dataset101_A" / "imagesTr" / "a_0000.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(written), voxels)
    assert written.GetPixelID() == source.GetPixelID()
    assert np.argwhere(sitk.GetArrayFromImage(written) == 3071).tolist() == [[4, 3, 1]]
    np.testing.assert_allclose(written.TransformIndexToPhysicalPoint((1, 3, 4)), source.TransformIndexToPhysicalPoint((1, 3, 4)), atol=1e-4)


def test_place_of_a_marked_voxel_worked_by_hand(convert, raw, scans, write_image):
    voxels = np.zeros((6, 5, 4), np.int16)
    voxels[2, 3, 1] = 1000
    shutil.rmtree(scans / "images")
    quarter_turn = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # columns: x axis points to +y, y axis to -x
    write_image(scans / "images" / "a.nrrd", voxels, (0.5, 2.0, 3.0), (10.0, 20.0, 30.0), quarter_turn)
    assert convert(labels=None) == 0
    written = sitk.ReadImage(str(raw / "Dataset101_A" / "imagesTr" / "a_0000.nii.gz"))
    z, y, x = map(int, np.argwhere(sitk.GetArrayFromImage(written) == 1000)[0])
    assert written.TransformIndexToPhysicalPoint((x, y, z)) == pytest.approx((10 - 3 * 2.0, 20 + 1 * 0.5, 30 + 2 * 3.0))


def test_labels_keep_values_and_take_the_images_grid(convert, raw, scans, write_image):
    voxels = np.zeros((6, 5, 4), np.float32)  # a label stored as float
    voxels[1, 2, 3] = 1
    write_image(scans / "labels" / "a.nii.gz", voxels, spacing_xyz_mm=(0.7 + 1e-6, 0.8, 2.5))
    assert convert() == 0
    label = sitk.ReadImage(str(raw / "Dataset101_A" / "labelsTr" / "a.nii.gz"))
    image = sitk.ReadImage(str(raw / "Dataset101_A" / "imagesTr" / "a_0000.nii.gz"))
    assert label.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(label), voxels.astype(np.uint8))
    assert label.GetSpacing() == pytest.approx(image.GetSpacing(), abs=1e-9)


def test_log_says_what_was_read(convert, raw, scans, write_image):
    write_image(scans / "images" / "a.nii.gz", np.full((6, 5, 4), 40, np.int16))
    write_image(scans / "labels" / "a.nii.gz", np.zeros((6, 5, 4), np.uint8))
    assert convert() == 0
    with (raw / "Dataset101_A" / "conversion.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["input"] == str(scans / "images" / "a.nii.gz")
    assert row["output"] == "imagesTr/a_0000.nii.gz"
    assert row["spacing_mm"] == "2.5 0.8 0.7"  # z y x
    assert row["shape"] == "6 5 4"
    assert (row["intensity_min"], row["intensity_max"]) == ("40", "40")
    assert row["label_voxels"] == "0:120"
    assert row["warnings"] == "image is constant; no negative values in a CT: is the HU offset missing?; label holds background only"


def test_test_scans_go_to_their_own_folders(convert, raw, scans, write_image):
    write_image(scans / "held_out" / "c.nii.gz", np.zeros((3, 3, 3), np.int16))
    write_image(scans / "held_out_labels" / "c.nii.gz", np.ones((3, 3, 3), np.uint8))
    more = ["--test-images", str(scans / "held_out"), "--test-labels", str(scans / "held_out_labels"), "--label", "femur=1"]
    assert convert(*more) == 0
    folder = raw / "Dataset101_A"
    assert [path.name for path in (folder / "imagesTs").iterdir()] == ["c_0000.nii.gz"]
    assert [path.name for path in (folder / "labelsTs").iterdir()] == ["c.nii.gz"]
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


def test_channels_from_several_folders(convert, raw, scans, write_image):
    for name in "ab":
        write_image(scans / "pet" / f"{name}_0000.nii.gz", np.zeros((6, 5, 4), np.float32))
    assert convert("-i", str(scans / "pet"), "--channel-name", "CT", "--channel-name", "PET") == 0
    assert (voxels_of(raw / "Dataset101_A" / "imagesTr" / "a_0001.nii.gz") == 0).all()
    assert json.loads((raw / "Dataset101_A" / "dataset.json").read_text())["channel_names"] == {"0": "CT", "1": "PET"}


def test_channels_from_suffixes(convert, raw, scans):
    for name in "ab":
        (scans / "images" / f"{name}.nii.gz").rename(scans / "images" / f"{name}_0000.nii.gz")
        shutil.copy(scans / "labels" / f"{name}.nii.gz", scans / "images" / f"{name}_0001.nii.gz")
    assert convert("--channel-name", "CT", "--channel-name", "mask") == 0
    assert voxels_of(raw / "Dataset101_A" / "imagesTr" / "b_0001.nii.gz").max() == 1


def test_suffix_0000_is_no_part_of_the_name(convert, raw, scans):
    (scans / "images" / "a.nii.gz").rename(scans / "images" / "a_0000.nii.gz")
    (scans / "labels" / "b.nii.gz").rename(scans / "labels" / "b_0000.nii.gz")
    assert convert() == 0
    assert sorted(path.name for path in (raw / "Dataset101_A" / "labelsTr").iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_names_are_made_fit_for_nnunet(convert, raw, scans):
    for folder in ("images", "labels"):
        (scans / folder / "a.nii.gz").rename(scans / folder / "Müller 1 (alt).nii.gz")
    assert convert() == 0
    assert sorted(path.name for path in (raw / "Dataset101_A" / "labelsTr").iterdir()) == ["Müller_1_alt.nii.gz", "b.nii.gz"]


def test_names_that_become_alike_are_refused(convert, raw, scans, capfd):
    for folder in ("images", "labels"):
        (scans / folder / "a.nii.gz").rename(scans / folder / "p 1.nii.gz")
        (scans / folder / "b.nii.gz").rename(scans / folder / "p_1.nii.gz")
    assert "name of its own" in error_of(capfd, convert(), raw)


def test_file_without_orientation_is_noted(convert, raw, scans):
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    nibabel.save(image, scans / "images" / "a.nii.gz")
    assert convert(labels=None) == 0
    with (raw / "Dataset101_A" / "conversion.csv").open() as file:
        warnings = {row["case"]: row["warnings"] for row in csv.DictReader(file)}
    assert "which side is left" in warnings["a"]
    assert "which side is left" not in warnings["b"]


def test_pattern_takes_case_names_from_folders(raw, scans, write_image):
    for name in ("p1", "p2"):
        write_image(scans / "patients" / name / "ct.nrrd", np.zeros((3, 3, 3), np.int16))
    assert main(["convert", "nifti", "-i", str(scans / "patients" / "*" / "ct.nrrd"), "-d", "7", "--name", "T", "--processes", "2"]) == 0
    assert sorted(path.name for path in (raw / "Dataset007_T" / "imagesTr").iterdir()) == ["p1_0000.nii.gz", "p2_0000.nii.gz"]


def test_overwrite_replaces_the_dataset(convert, raw):
    assert convert() == 0
    assert convert(labels=None) == 2
    assert (raw / "Dataset101_A" / "labelsTr").exists()
    assert convert("--overwrite", labels=None) == 0
    assert not (raw / "Dataset101_A" / "labelsTr").exists()
    assert len(list(raw.iterdir())) == 1


def test_overwrite_without_one_good_case_keeps_the_old_dataset(convert, raw, scans):
    assert convert() == 0
    for name in "ab":
        (scans / "images" / f"{name}.nii.gz").write_bytes(b"no image")
    assert convert("--overwrite", labels=None) == 1  # another dataset: without labels
    assert voxels_of(raw / "Dataset101_A" / "imagesTr" / "a_0000.nii.gz").shape == (6, 5, 4)
    assert (raw / "Dataset101_A" / "dataset.json").is_file()
    assert len(list(raw.iterdir())) == 1


def test_id_of_another_name_is_refused(convert, raw, capfd):
    (raw / "Dataset101_Else").mkdir()
    assert convert() == 2
    assert "Dataset101_Else" in capfd.readouterr().err
    assert [path.name for path in raw.iterdir()] == ["Dataset101_Else"]


def test_id_of_another_name_among_preprocessed_data_is_refused(convert, raw, tmp_path, monkeypatch, capfd):
    (tmp_path / "preprocessed" / "Dataset101_Else").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    assert "Dataset101_Else" in error_of(capfd, convert("--overwrite"), raw)


@pytest.mark.parametrize(("dataset_id", "name"), [("0", "A"), ("1000", "A"), ("101", "two words"), ("101", "a/b"), ("101", "")])
def test_bad_id_or_name_is_refused(convert, raw, capfd, dataset_id, name):
    error_of(capfd, convert(dataset_id=dataset_id, name=name), raw)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("fraction", [0.3, 0.97])
def test_truncated_file_is_named(convert, raw, scans, write_image, capfd, ending, fraction):
    (scans / "images" / "a.nii.gz").unlink()
    path = write_image(scans / "images" / f"a{ending}", np.random.default_rng(0).integers(-1000, 1500, (20, 20, 20)).astype(np.int16))
    path = path.with_suffix(".raw") if ending == ".mhd" else path
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    assert str(scans / "images" / "a.") in reason_of(capfd, convert(labels=None), raw)


def test_damaged_compressed_file_is_named(convert, raw, scans, capfd):
    path = scans / "images" / "b.nii.gz"
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes())))
    content[-6] ^= 0xFF  # the checksum
    path.write_bytes(content)
    assert str(path) in reason_of(capfd, convert(), raw, "b")


def test_file_that_is_no_image_is_named(convert, raw, scans, capfd):
    (scans / "images" / "a.nii.gz").write_bytes(b"hello")
    assert "images/a.nii.gz" in reason_of(capfd, convert(), raw)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd"])
def test_voxels_that_are_not_finite_are_refused(convert, raw, scans, write_image, capfd, value, dtype, ending):
    voxels = np.zeros((6, 5, 4), dtype)
    voxels[-1, -1, -2:] = value
    (scans / "images" / "b.nii.gz").unlink()
    write_image(scans / "images" / f"b{ending}", voxels)
    assert f"b{ending} has 2 NaN or infinite voxels" in reason_of(capfd, convert(), raw, "b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_xyz_mm": (0.7, 0.8, 2.6)},
        {"origin": (-10.5, 20.25, 301.0)},
        {"direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)},
    ],
)
def test_label_on_another_grid_is_refused(convert, raw, scans, write_image, capfd, wrong):
    write_image(scans / "labels" / "a.nii.gz", np.zeros((6, 5, 4), np.uint8), **wrong)
    assert "labels/a.nii.gz" in reason_of(capfd, convert(), raw)


def test_label_of_another_size_is_refused(convert, raw, scans, write_image, capfd):
    write_image(scans / "labels" / "a.nii.gz", np.zeros((6, 5, 3), np.uint8))
    assert "(4, 5, 6)" in reason_of(capfd, convert(), raw)


def test_undeclared_label_values_are_refused(convert, raw, scans, write_image, capfd):
    write_image(scans / "labels" / "a.nii.gz", np.full((6, 5, 4), 2, np.uint8))
    assert "undeclared values 2" in reason_of(capfd, convert(), raw)


def test_label_values_that_are_no_integers_are_refused(convert, raw, scans, write_image, capfd):
    write_image(scans / "labels" / "a.nii.gz", np.full((6, 5, 4), 0.5, np.float32))
    assert "must hold integers" in reason_of(capfd, convert(), raw)


def test_labels_without_meaning_are_refused(raw, scans, capfd):
    status = main(["convert", "nifti", "-i", str(scans / "images"), "-l", str(scans / "labels"), "-d", "101", "--name", "A"])
    assert "--label" in error_of(capfd, status, raw)


def test_label_without_image_is_refused(convert, raw, scans, capfd):
    shutil.copy(scans / "labels" / "a.nii.gz", scans / "labels" / "c.nii.gz")
    assert "c.nii.gz" in error_of(capfd, convert(), raw)


def test_image_without_label_is_refused(convert, raw, scans, capfd):
    (scans / "labels" / "b.nii.gz").unlink()
    assert "'b'" in error_of(capfd, convert(), raw)


def test_missing_channel_is_refused(convert, raw, scans, write_image, capfd):
    write_image(scans / "pet" / "a.nii.gz", np.zeros((6, 5, 4), np.float32))
    error = error_of(capfd, convert("-i", str(scans / "pet"), "--channel-name", "CT", "--channel-name", "PET"), raw)
    assert "channel PET" in error
    assert "'b'" in error


def test_folders_and_channel_names_must_agree(convert, raw, scans, capfd):
    assert "--channel-name" in error_of(capfd, convert("-i", str(scans / "pet"), labels=None), raw)


def test_unnamed_channels_in_one_folder_are_refused(convert, raw, scans, capfd):
    (scans / "images" / "a.nii.gz").rename(scans / "images" / "b_0000.nii.gz")
    (scans / "images" / "b.nii.gz").rename(scans / "images" / "b_0001.nii.gz")
    assert "look like two channels" in error_of(capfd, convert(labels=None), raw)


@pytest.mark.parametrize("twin", ["a.nrrd", "a_0000.nii.gz"])
def test_two_files_of_one_case_are_refused(convert, raw, scans, write_image, capfd, twin):
    write_image(scans / "images" / twin, np.zeros((6, 5, 4), np.int16))
    assert "'a' has two files" in error_of(capfd, convert(), raw)


def test_case_in_training_and_test_is_refused(convert, raw, scans, capfd):
    error = error_of(capfd, convert("--test-images", str(scans / "images")), raw)
    assert "training and test" in error


def test_images_of_other_dimensions_are_refused(convert, raw, scans, capfd):
    path = scans / "images" / "a.nii.gz"
    for image in (
        sitk.Image([4, 4], sitk.sitkInt16),
        sitk.Image([4, 4, 4, 2], sitk.sitkInt16),
        sitk.Image([4, 4, 4], sitk.sitkVectorInt16, 2),
    ):
        sitk.WriteImage(image, str(path))
        assert "a.nii.gz has" in reason_of(capfd, convert(labels=None), raw)


def test_folder_that_is_not_there(convert, raw, capfd):
    assert "not there" in error_of(capfd, convert(images="nowhere", labels=None), raw)


def test_raw_folder_that_is_not_set(convert, raw, capfd, monkeypatch):
    monkeypatch.delenv("nnUNet_raw")
    assert "nnUNet_raw" in error_of(capfd, convert(), raw)


def test_nothing_is_left_where_every_case_is_refused(convert, raw, scans, capfd):
    for name in "ab":
        (scans / "images" / f"{name}.nii.gz").write_bytes(b"hello")
    assert convert() == 1
    assert list(raw.iterdir()) == []
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["failed a", "failed b", "error"]
    assert "2 of 2 cases could not be converted, nothing was written" in lines[2]


def test_labels_from_another_dataset_json(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text('{"labels": {"background": 0, "femur": 1}, "numTraining": 3}')
    assert declared_labels([], path) == {"background": 0, "femur": 1}


@pytest.mark.parametrize("text", ["femur", "femur=", "=1", "femur=one", "femur=1.5"])
def test_label_that_is_no_pair_is_refused(text):
    with pytest.raises(UserError, match="NAME=VALUE"):
        declared_labels([text], None)


@pytest.mark.parametrize("content", ['{"femur": "1"}', '{"femur": [1, 2]}', "[1]", "no json", '{"femur": true}'])
def test_labels_json_of_wrong_content_is_refused(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content)
    with pytest.raises(UserError, match="labels-json"):
        declared_labels([], path)


def test_label_declared_twice_is_refused():
    with pytest.raises(UserError, match="twice"):
        declared_labels(["femur=1", "femur=2"], None)


@pytest.mark.parametrize("labels", [["femur=2"], ["a=1", "b=1"], ["a=0"]])
def test_label_values_with_gaps_are_refused(convert, raw, capfd, labels):
    more = [text for label in labels for text in ("--label", label)]
    assert "without gaps" in error_of(capfd, convert(*more), raw)
