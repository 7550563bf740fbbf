import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da import paths
from nnunet_da.cli.main import main

DATA = paths.test_data_dir()
SHAPE = (6, 40, 100)  # Z, Y, X in LPS: the left half has the larger x
SPACING_XYZ = (2.0, 2.0, 3.0)  # a field of 200 x 80 mm
LEFT_BLOCK, RIGHT_BLOCK = (slice(1, 5), slice(15, 25), slice(70, 80)), (slice(1, 5), slice(15, 25), slice(20, 30))
TILT = np.deg2rad(15)
OBLIQUE = (np.cos(TILT), -np.sin(TILT), 0.0, np.sin(TILT), np.cos(TILT), 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def pelvis() -> sitk.Image:
    """Noise in HU with a mark of its own on either side, lying obliquely."""
    voxels = np.random.default_rng(2).integers(-1000, 1500, SHAPE).astype(np.int16)
    voxels[3, 20, 75], voxels[3, 20, 25] = 3001, 3002  # left, right
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING_XYZ)
    image.SetOrigin((-99.5, 10.25, 300.0))
    image.SetDirection(OBLIQUE)
    return image


@pytest.fixture
def femora(pelvis) -> sitk.Image:
    """Value 1 left, 2 right, 399 voxels each: a corner is missing, so that mirror images differ."""
    label = np.zeros(SHAPE, np.uint8)
    label[LEFT_BLOCK], label[RIGHT_BLOCK] = 1, 2
    label[1, 15, [70, 20]] = 0
    image = sitk.GetImageFromArray(label)
    image.CopyInformation(pelvis)
    return image


@pytest.fixture
def folders(tmp_path, pelvis, femora):
    """scans/a and masks/a as NRRD, stored in an order of axes that no crop by index would survive."""
    for folder, image in (("scans", pelvis), ("masks", femora)):
        (tmp_path / folder).mkdir()
        sitk.WriteImage(sitk.DICOMOrient(image, "RSA"), str(tmp_path / folder / "a.nrrd"))
    return tmp_path


@pytest.fixture
def convert(raw, tmp_path):
    """`nnunet-da convert qct` of the folder scans, a window of 60 x 50 mm, id 101 and name A."""

    def run(*more: str, images="scans", output=("-d", "101", "--name", "A")) -> int:
        window = [] if {"--window-voxels", "--no-crop", "--window-mm"} & set(more) else ["--window-mm", "60", "50"]
        source = images if images.startswith("/") else str(tmp_path / images)
        return main(["convert", "qct", "-i", source, *output, "--processes", "1", "--no-pictures", *window, *more])

    return run


def read(raw, case="a", kind="image") -> sitk.Image:
    file = f"imagesTr/{case}_0000.nii.gz" if kind == "image" else f"labelsTr/{case}.nii.gz"
    return sitk.ReadImage(str(raw / "Dataset101_A" / file))


def voxels_of(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def row_of(raw, case="a") -> dict[str, str]:
    with (raw / "Dataset101_A" / "conversion.csv").open() as file:
        return next(row for row in csv.DictReader(file) if row["case"] == case)


def error_of(capfd, status: int) -> str:
    assert status == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def failure_of(capfd, status: int) -> str:
    """A case that fails is listed; it was the only one."""
    assert status == 1
    return capfd.readouterr().err


def test_left_femur_worked_by_hand(convert, raw, folders, pelvis, femora):
    """60 mm are 30 voxels around 75, 50 mm 25 around 20: rounded to even, 8 to 33."""
    assert convert("-l", str(folders / "masks"), "--label", "femur=1", "--label-right", "femur=2") == 0
    image, label = read(raw), read(raw, kind="label")
    assert np.array_equal(voxels_of(image), voxels_of(pelvis)[:, 8:33, 60:90])
    assert np.array_equal(voxels_of(label), voxels_of(femora)[:, 8:33, 60:90])
    assert image.GetPixelID() == sitk.sitkInt16
    index = tuple(int(i) for i in np.argwhere(voxels_of(image) == 3001)[0][::-1])
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), pelvis.TransformIndexToPhysicalPoint((75, 20, 3)), atol=1e-3)
    assert row_of(raw)["side"] == "left"
    assert row_of(raw)["orientation_before"] == "RSA"
    assert json.loads((raw / "Dataset101_A" / "dataset.json").read_text())["labels"] == {"background": 0, "femur": 1}


def test_right_femur_is_mirrored_to_the_left(convert, raw, folders, pelvis, femora):
    masks = ["-l", str(folders / "masks"), "--label", "femur=1", "--label-right", "femur=2"]
    assert convert(*masks, "--side", "right") == 0
    assert np.array_equal(voxels_of(read(raw)), voxels_of(pelvis)[:, 8:33, 10:40][:, :, ::-1])
    assert np.array_equal(voxels_of(read(raw, kind="label")), voxels_of(femora)[:, 8:33, 10:40][:, :, ::-1] // 2)
    assert (row_of(raw)["side"], row_of(raw)["mirrored"]) == ("right", "yes")


def test_both_sides_are_two_cases(convert, raw, folders):
    assert convert("-l", str(folders / "masks"), "--label", "femur=1", "--label-right", "femur=2", "--side", "both") == 0
    assert (voxels_of(read(raw, "a_left")) == 3001).any()
    assert (voxels_of(read(raw, "a_right")) == 3002).any()
    assert {row_of(raw, f"a_{side}")["side"] for side in ("left", "right")} == {"left", "right"}
    assert voxels_of(read(raw, "a_right", "label")).sum() == voxels_of(read(raw, "a_left", "label")).sum() == 399


def test_field_of_one_hip_takes_the_side_as_told_and_says_so(convert, raw, folders, capfd):
    """The middle of the field lies in a window of 104 mm, so that both sides would show the same."""
    masks = ["-l", str(folders / "masks"), "--label", "femur=1", "--drop-other-labels"]
    assert convert(*masks, "--window-mm", "100", "50") == 0
    assert "one hip" not in row_of(raw)["warnings"]
    for more in ([], masks):
        assert convert(*more, "--window-mm", "104", "50", "--overwrite") == 0
        assert "200 mm wide, perhaps of one hip" in row_of(raw)["warnings"]
    capfd.readouterr()
    assert "--side left or --side right" in failure_of(capfd, convert("--window-mm", "104", "50", "--side", "both", "--overwrite"))


def test_both_femora_of_a_scan_stay_on_one_side_of_every_split(convert, raw, folders, pelvis):
    for name in "bcdefg":
        sitk.WriteImage(pelvis, str(folders / "scans" / f"{name}.nrrd"))
    assert convert("--side", "both") == 0
    splits = json.loads((raw / "Dataset101_A" / "splits_final.json").read_text())
    assert len(splits) == 5
    for split in splits:
        patients = [{case.partition("_")[0] for case in split[part]} for part in ("train", "val")]
        assert patients[0] & patients[1] == set()
        assert patients[0] | patients[1] == set("abcdefg")
    assert sorted(case for split in splits for case in split["val"]) == sorted(
        f"{n}_{side}" for n in "abcdefg" for side in ("left", "right")
    )
    assert convert("--overwrite") == 0  # left alone: those cases are gone, and a split must not name them
    assert not (raw / "Dataset101_A" / "splits_final.json").exists()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("more", [(), ("--no-crop",)])
def test_restore_brings_predictions_back_to_the_bit(convert, raw, folders, pelvis, femora, tmp_path, side, more):
    assert convert("--side", side, *more, output=("-o", str(tmp_path / "new"))) == 0
    crop = sitk.ReadImage(str(tmp_path / "new" / "a_0000.nii.gz"))
    prediction = sitk.Cast(crop > 500, sitk.sitkUInt8)
    (tmp_path / "predictions").mkdir()
    sitk.WriteImage(prediction, str(tmp_path / "predictions" / "a.nii.gz"))
    assert main(["restore", "-i", str(tmp_path / "predictions"), "-c", str(tmp_path / "new"), "-o", str(tmp_path / "back")]) == 0
    back = sitk.ReadImage(str(tmp_path / "back" / "a.nii.gz"))
    original = sitk.DICOMOrient(pelvis, "RSA")
    window = np.zeros(SHAPE, bool)
    window[(slice(None), slice(8, 33), slice(60, 90) if side == "left" else slice(10, 40)) if not more else ...] = True
    expected = sitk.GetImageFromArray(((voxels_of(pelvis) > 500) & window).astype(np.uint8))
    expected.CopyInformation(pelvis)
    assert np.array_equal(voxels_of(back), voxels_of(sitk.DICOMOrient(expected, "RSA")))
    np.testing.assert_allclose(back.GetOrigin(), original.GetOrigin(), atol=1e-3)


def test_scans_to_predict_are_the_same_voxels_as_in_a_dataset(convert, raw, folders, tmp_path):
    assert convert() == 0
    assert convert(output=("-o", str(tmp_path / "new"))) == 0
    assert np.array_equal(voxels_of(sitk.ReadImage(str(tmp_path / "new" / "a_0000.nii.gz"))), voxels_of(read(raw)))
    assert not (tmp_path / "new" / "dataset.json").exists()


def test_no_crop_keeps_the_field(convert, raw, folders, pelvis):
    assert convert("--no-crop") == 0
    assert np.array_equal(voxels_of(read(raw)), voxels_of(pelvis))
    assert row_of(raw)["side"] == ""


def test_window_follows_the_label_and_says_so(convert, raw, folders, femora):
    label = voxels_of(femora)
    label[2, 20, 58] = 1  # beyond the window's edge at 60
    moved = sitk.GetImageFromArray(label)
    moved.CopyInformation(femora)
    sitk.WriteImage(moved, str(folders / "masks" / "a.nrrd"))
    assert convert("-l", str(folders / "masks"), "--label", "femur=1", "--drop-other-labels") == 0
    assert read(raw).GetSize()[0] == 32  # 58 - 5 to 80 + 5
    assert "window enlarged left-right" in row_of(raw)["warnings"]
    assert (voxels_of(read(raw, kind="label")) == 1).sum() == 400


def test_paper_window_in_voxels(convert, raw, folders):
    assert convert("--window-voxels", "24") == 0
    assert read(raw).GetSize()[:2] == (24, 24)


def test_labels_are_renumbered_in_the_order_they_are_named(convert, raw, folders, femora):
    assert convert("-l", str(folders / "masks"), "--label", "right=2", "--label", "left=1", "--no-crop") == 0
    assert np.array_equal(voxels_of(read(raw, kind="label")), np.array([0, 2, 1])[voxels_of(femora)])


def test_dicom_with_shuffled_names_gives_the_voxels_of_the_phantom(raw, tmp_path, write_dicom):
    """60 slices of a phantom, once as NIfTI, once as DICOM."""
    from nnunet_da.phantom.cohort import Window, centre, scan_case

    case = scan_case(centre("tulane"), seed=3, window=Window(size_mm=(150, 150, 150), pixel_mm=3.0))
    voxels = np.asarray(case.image)
    assert len(voxels) == 60
    spacing_mm = tuple(float(edge) for edge in case.spacing_mm)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing_mm[::-1])
    image.SetOrigin((-120.25, -80.5, 31.0))
    (tmp_path / "nifti").mkdir()
    sitk.WriteImage(image, str(tmp_path / "nifti" / "a.nii.gz"))
    write_dicom(tmp_path / "dicom" / "a", voxels, spacing_mm=spacing_mm, RescaleIntercept=0)
    found = {}
    for source, dataset_id in (("nifti", "101"), ("dicom", "102")):
        command = ["convert", "qct", "-i", str(tmp_path / source), "-d", dataset_id, "--name", "A", "--processes", "1", "--no-pictures"]
        assert main([*command, "--window-mm", "40", "40"]) == 0
        found[source] = sitk.ReadImage(str(raw / f"Dataset{dataset_id}_A" / "imagesTr" / "a_0000.nii.gz"))
    assert np.array_equal(voxels_of(found["dicom"]), voxels_of(found["nifti"]))
    for get in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found["dicom"], get)(), getattr(found["nifti"], get)(), atol=1e-4)


def test_dicom_series_with_a_segmentation_in_its_folder(convert, raw, tmp_path, write_dicom):
    hd = pytest.importorskip("highdicom")
    import pydicom
    from pydicom.sr.codedict import codes

    stored = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.uint16)
    paths_ = write_dicom(tmp_path / "scans" / "P1" / "CT", stored, spacing_mm=(3.0, 2.0, 2.0))
    mask = np.zeros(SHAPE, np.uint8)
    mask[LEFT_BLOCK] = 1
    kind = hd.seg.SegmentAlgorithmTypeValues.MANUAL
    described = hd.seg.SegmentDescription(1, "Left Femur", codes.SCT.AnatomicalStructure, codes.SCT.Femur, kind)
    segmentation = hd.seg.Segmentation(
        [pydicom.dcmread(path) for path in paths_], mask, hd.seg.SegmentationTypeValues.BINARY, [described],
        hd.UID(), 9, hd.UID(), 1, "M", "M", "1", "1",
    )  # fmt: skip
    segmentation.save_as(tmp_path / "scans" / "P1" / "seg.dcm")
    assert convert("-l", str(tmp_path / "scans"), "--label", "femur=Left Femur") == 0
    assert np.array_equal(voxels_of(read(raw, "P1", "label")), mask[:, 8:33, 60:90])
    assert np.array_equal(voxels_of(read(raw, "P1")), stored[:, 8:33, 60:90].astype(np.int16) - 1024)
    assert row_of(raw, "P1")["dicom_series"] == "Hip 2.5mm STANDARD"


def test_several_series_need_a_choice_and_other_cases_are_kept(convert, raw, tmp_path, write_dicom, capfd):
    stored = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.uint16)
    for case in ("P1", "P2"):
        write_dicom(tmp_path / "scans" / case / "1", stored, spacing_mm=(3.0, 2.0, 2.0))
    write_dicom(tmp_path / "scans" / "P2" / "2", stored, spacing_mm=(3.0, 2.0, 2.0), SeriesDescription="Hip BONE")
    text = failure_of(capfd, convert())
    assert "P2" in text
    assert "'Hip BONE'" in text
    assert (raw / "Dataset101_A" / "imagesTr" / "P1_0000.nii.gz").is_file()


@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_loose_slices_beside_folders_are_not_forgotten(convert, raw, tmp_path, write_dicom, capfd, suffix):
    for path in write_dicom(tmp_path / "scans", np.full(SHAPE, 1500, np.uint16), spacing_mm=(3.0, 2.0, 2.0)):
        path.rename(path.with_suffix(suffix))
    (tmp_path / "scans" / "derived").mkdir()
    assert convert() == 0  # an empty folder is nothing
    write_dicom(tmp_path / "scans" / "derived", np.full(SHAPE, 1500, np.uint16))
    text = error_of(capfd, convert())
    assert "6 scan file(s)" in text
    assert "derived" in text


def test_case_names_keep_letters_of_every_alphabet(convert, raw, tmp_path, pelvis):
    (tmp_path / "scans").mkdir()
    for name in ("Müller", "Möller", "中 1"):
        sitk.WriteImage(pelvis, str(tmp_path / "scans" / f"{name}.nrrd"))
    assert convert() == 0
    assert sorted(path.name for path in (raw / "Dataset101_A" / "imagesTr").iterdir()) == [
        f"{name}_0000.nii.gz" for name in ("Möller", "Müller", "中_1")
    ]


def test_contradictory_or_missing_orientation(convert, raw, tmp_path, pelvis, capfd):
    """Side rests on orientation: what a file does not say is a warning, what it says twice differently an error."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    (tmp_path / "scans").mkdir()
    for name, sform in (("same", affine), ("mirrored", np.diag([-1.0, 1, 1, 1]) @ affine), ("nothing", None)):
        image = nibabel.Nifti1Image(voxels_of(pelvis).T, None)
        image.set_qform(affine, 0 if sform is None else 1)
        image.set_sform(sform, 0 if sform is None else 1)
        nibabel.save(image, tmp_path / "scans" / f"{name}.nii.gz")
    text = failure_of(capfd, convert())
    assert "failed mirrored: a scan must lie one way" in text
    assert "side" not in row_of(raw, "same")["warnings"]
    assert "does not say which side is left" in row_of(raw, "nothing")["warnings"]


def test_numpy_volumes(convert, raw, tmp_path, pelvis, femora):
    for folder, image in (("scans", pelvis), ("masks", femora)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", voxels_of(image))
    masks = ["-l", str(tmp_path / "masks"), "--label", "femur=1", "--drop-other-labels"]
    assert convert(*masks, "--spacing-mm", "3", "2", "2") == 0
    assert np.array_equal(voxels_of(read(raw)), voxels_of(pelvis)[:, 8:33, 60:90])
    assert voxels_of(read(raw, kind="label")).sum() == 399
    (tmp_path / "spacing.csv").write_text("case,z_mm,y_mm,x_mm\na,3,2,2\n")
    turned = ["-l", str(tmp_path / "masks"), "--label", "femur=2", "--drop-other-labels", "--orientation", "RPS", "--overwrite"]
    assert convert(*turned, "--spacing-csv", str(tmp_path / "spacing.csv")) == 0
    assert (voxels_of(read(raw)) == 3002).any()  # x now grows to the right, so the other block is the left one


@pytest.mark.parametrize(("more", "words"), [((), "--spacing-mm"), (("--spacing-mm", "3", "0", "2"), "above 0")])
def test_numpy_needs_spacing(convert, folders, tmp_path, pelvis, capfd, more, words):
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "a.npy", voxels_of(pelvis))
    assert words in error_of(capfd, convert(*more, images="arrays"))


def test_density_is_logged_or_written(convert, raw, folders, pelvis):
    (folders / "rods.csv").write_text("case,rod,nominal_mg_cm3,measured_hu\na,1,0,10\na,2,100,135\na,3,200,260\n")
    assert convert("--phantom-rods", str(folders / "rods.csv")) == 0
    row = row_of(raw)
    assert (float(row["density_slope"]), float(row["density_intercept"])) == (pytest.approx(0.8), pytest.approx(-8))
    assert row["voxel_unit"] == "HU"
    assert (voxels_of(read(raw)) == 3001).any()
    assert convert("--phantom-rods", str(folders / "rods.csv"), "--write-density", "--overwrite") == 0
    np.testing.assert_allclose(voxels_of(read(raw)), voxels_of(pelvis)[:, 8:33, 60:90] * 0.8 - 8, atol=1e-3)
    assert read(raw).GetPixelID() == sitk.sitkFloat32
    assert json.loads((raw / "Dataset101_A" / "dataset.json").read_text())["channel_names"] == {"0": "QCT"}


def test_hu_sanity_warnings(convert, raw, tmp_path):
    (tmp_path / "scans").mkdir()
    noise = np.random.default_rng(0).normal(0, 20, (3, 40, 100))
    for name, voxels in (("twice", noise - 1500), ("soft", noise), ("metal", noise + 3500)):
        image = sitk.GetImageFromArray(voxels.astype(np.int16))
        image.SetSpacing(SPACING_XYZ)
        sitk.WriteImage(image, str(tmp_path / "scans" / f"{name}.nii.gz"))
    assert convert() == 0
    assert "applied twice" in row_of(raw, "twice")["warnings"]
    assert "no bone" in row_of(raw, "soft")["warnings"]
    assert "metal" in row_of(raw, "metal")["warnings"]
    assert "HU offset missing" in row_of(raw, "metal")["warnings"]


def test_label_and_image_must_match(convert, folders, femora, capfd, tmp_path):
    masks = ["-l", str(folders / "masks"), "--label", "femur=1", "--drop-other-labels"]
    other = sitk.Image(femora)
    other.SetSpacing((2.0, 2.0, 3.1))
    sitk.WriteImage(other, str(folders / "masks" / "a.nrrd"))
    assert "share one grid" in failure_of(capfd, convert(*masks))
    (folders / "masks" / "a.nrrd").rename(folders / "masks" / "b.nrrd")
    assert "an image needs a label" in error_of(capfd, convert(*masks))
    sitk.WriteImage(femora, str(folders / "masks" / "a.nrrd"))
    assert "a label needs an image" in error_of(capfd, convert(*masks))


def test_values_nobody_named(convert, folders, capfd):
    text = failure_of(capfd, convert("-l", str(folders / "masks"), "--label", "femur=1"))
    assert "nobody named: 2" in text
    assert "--drop-other-labels" in text


def test_label_map_has_no_names(convert, folders, capfd):
    assert "has numbers" in failure_of(capfd, convert("-l", str(folders / "masks"), "--label", "femur=Left"))


def test_image_given_as_label(convert, folders, capfd):
    assert "is it an image?" in failure_of(capfd, convert("-l", str(folders / "scans"), "--label", "femur=1"))


def test_wrong_side_is_refused(convert, folders, capfd):
    masks = ["-l", str(folders / "masks"), "--label", "femur=2", "--drop-other-labels"]
    assert "--side" in failure_of(capfd, convert(*masks))


def test_4d_and_colour_images(convert, tmp_path, capfd):
    (tmp_path / "scans").mkdir()
    sitk.WriteImage(sitk.Image([8, 8, 4, 2], sitk.sitkInt16), str(tmp_path / "scans" / "a.nii.gz"))
    assert "3 dimensions" in failure_of(capfd, convert())
    sitk.WriteImage(sitk.Image([8, 8, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "scans" / "a.nii.gz"))
    assert "one value per voxel" in failure_of(capfd, convert())


def test_same_name_twice(convert, folders, tmp_path, pelvis, capfd):
    sitk.WriteImage(pelvis, str(folders / "scans" / "a.nii.gz"))
    assert "there twice" in error_of(capfd, convert())
    (folders / "scans" / "a.nii.gz").rename(folders / "scans" / "b c.nii.gz")
    sitk.WriteImage(pelvis, str(folders / "scans" / "b_c.nii.gz"))
    assert "name of its own" in error_of(capfd, convert())


def test_empty_folder(convert, tmp_path, capfd):
    (tmp_path / "scans").mkdir()
    assert "no scans in" in error_of(capfd, convert())
    assert "not there" in error_of(capfd, convert(images="nothing"))


def test_one_file_of_each(convert, raw, folders):
    masks = ["-l", str(folders / "masks" / "a.nrrd"), "--label", "femur=1", "--drop-other-labels"]
    assert convert(*masks, images="scans/a.nrrd") == 0
    assert (raw / "Dataset101_A" / "labelsTr" / "a.nii.gz").is_file()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("-l", "masks"), "--label NAME=SOURCE"),
        (("-l", "masks", "--label", "femur"), "NAME=SOURCE"),
        (("--test-labels", "masks", "--label", "femur=1"), "--test-images"),
        (("--label", "a=1", "--label", "b=1"), "two labels"),
        (("--label", "a=1", "--label-right", "b=2"), "same labels"),
        (("--window-mm", "60", "50", "--window-voxels", "9"), "given twice"),
        (("--no-crop", "--side", "both"), "--no-crop"),
        (("--window-mm", "0", "50"), "larger than 0"),
        (("--window-mm", "nan", "50"), "larger than 0"),
        (("--centre", "2", "0.5"), "fractions"),
        (("--orientation", "XYZ"), "three letters"),
        (("--write-density",), "calibration"),
        (("--density", "0", "1"), "slope above 0"),
        (("--density", "1", "0", "--phantom-rods", "x.csv"), "given twice"),
        (("--phantom-rods", "x.csv"), "rods x.csv"),
    ],
)
def test_contradictions_are_refused_before_any_work(convert, raw, folders, capfd, more, words):
    assert words in error_of(capfd, convert(*more))
    assert list(raw.iterdir()) == []


@pytest.mark.real
@pytest.mark.skipif(DATA is None, reason="real test data not found: set NNUNET_DA_TEST_DATA")
def test_real_pelvis_has_each_femur_in_its_own_crop(raw):
    folder = DATA / "totalseg_hip"
    label_file = folder / "labels_femurL1_femurR2_hipL3_hipR4_sacrum5.nii.gz"
    command = ["convert", "qct", "-i", str(folder / "ct_pelvis_3mm.nii.gz"), "-l", str(label_file), "-d", "101", "--name", "A"]
    sides = ["--label", "femur=1", "--label-right", "femur=2", "--side", "both", "--drop-other-labels"]
    assert main([*command, *sides, "--processes", "1", "--no-pictures"]) == 0
    stored = voxels_of(sitk.ReadImage(str(label_file)))
    for side, value in (("left", 1), ("right", 2)):
        label = voxels_of(read(raw, f"ct_pelvis_3mm_{side}", "label"))
        assert label.sum() == (stored == value).sum()
        assert np.argwhere(label)[:, 2].mean() > label.shape[2] / 3  # the trochanter points to +x in both, as in a left femur
