import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main

pydicom = pytest.importorskip("pydicom")

SHAPE = (5, 6, 8)  # slices, rows, columns
SPACING_MM = (7.5, 1.4, 1.7)  # between slices, rows, columns
ORIGIN_MM = np.array([-80.5, -60.25, 30.0])
ANGLE = np.deg2rad(15)
ALONG_ROW = np.array([1.0, 0.0, 0.0])
ALONG_COLUMN = np.array([0.0, np.cos(ANGLE), np.sin(ANGLE)])  # oblique
NORMAL = np.cross(ALONG_ROW, ALONG_COLUMN)
MARK = (1, 4, 6)  # Z, Y, X
GREY = {"liver": 63, "kidney_right": 126, "kidney_left": 189, "spleen": 252}


def place_mm(z, y, x):
    """Where a voxel's centre is, worked by hand from the DICOM definition."""
    return ORIGIN_MM + z * SPACING_MM[0] * NORMAL + y * SPACING_MM[1] * ALONG_COLUMN + x * SPACING_MM[2] * ALONG_ROW


def scan(seed):
    voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
    voxels[MARK] = 1500
    return voxels


def mask(*, ct=False):
    """Each slice has its own organ, so that a wrong order cannot pass; the marked voxel is the liver in CT, else the spleen."""
    grey = np.zeros(SHAPE, np.uint8)
    grey[MARK] = 255 if ct else GREY["spleen"]
    if not ct:
        grey[0, 1, 2], grey[2, 2, 1], grey[4, 2, 5] = GREY["liver"], GREY["kidney_right"], GREY["kidney_left"]
    return grey


def write_slices(folder, voxels, name, *, modality="MR"):
    """One DICOM file per slice; by name the first slice lies on top, so names run against positions."""
    folder.mkdir(parents=True)
    series = pydicom.uid.generate_uid(entropy_srcs=[str(folder)])
    for z, pixels in enumerate(voxels):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = pydicom.uid.MRImageStorage if modality == "MR" else pydicom.uid.CTImageStorage
        dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(folder), str(z)])
        dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
            dataset.SOPClassUID,
            dataset.SOPInstanceUID,
        )
        dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientID = series, modality, "anonymous"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelSpacing, dataset.SliceThickness = list(SPACING_MM[1:]), SPACING_MM[0]
        dataset.ImageOrientationPatient = [round(float(value), 9) for value in (*ALONG_ROW, *ALONG_COLUMN)]
        dataset.ImagePositionPatient = [round(float(value), 6) for value in place_mm(z, 0, 0)]
        if modality == "CT":
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(folder / name.format(len(voxels) - z), enforce_file_format=True)


def write_masks(folder, grey, name):
    """PNG masks, named so that their order is that of the DICOM files."""
    folder.mkdir(parents=True)
    for z, pixels in enumerate(grey):
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / name.format(len(grey) - z)))


@pytest.fixture
def release(tmp_path):
    """Train_Sets with two MR patients (T2SPIR; the first with T1DUAL) and one CT patient, file names as in the release."""
    for number in (1, 13):
        patient = tmp_path / f"Train_Sets/MR/{number}"
        write_slices(patient / "T2SPIR/DICOM_anon", scan(number), "IMG-0002-{:05d}.dcm")
        write_masks(patient / "T2SPIR/Ground", mask(), "IMG-0002-{:05d}.png")
    patient = tmp_path / "Train_Sets/MR/1/T1DUAL"
    write_slices(patient / "DICOM_anon/InPhase", scan(50), "IMG-0004-{:04d}2.dcm")
    write_slices(patient / "DICOM_anon/OutPhase", scan(51), "IMG-0004-{:04d}1.dcm")
    write_masks(patient / "Ground", mask(), "IMG-0004-{:04d}2.png")
    write_slices(tmp_path / "Train_Sets/CT/2/DICOM_anon", scan(2), "i{:04d},0000b.dcm", modality="CT")
    write_masks(tmp_path / "Train_Sets/CT/2/Ground", mask(ct=True), "liver_GT_{:03d}.png")
    return tmp_path


@pytest.fixture
def convert(raw, release):
    def run(*more):
        return main(["convert", "chaos", "-i", str(release), "-d", "801", "--name", "Chaos", "--processes", "1", "--no-pictures", *more])

    return run


def test_masks_lie_on_the_slices_of_their_names(convert, raw, place_of, voxels_of):
    assert convert() == 0
    image, label = raw / "Dataset801_Chaos/imagesTr/chaos_mr_13_0000.nii.gz", raw / "Dataset801_Chaos/labelsTr/chaos_mr_13.nii.gz"
    assert np.array_equal(voxels_of(image), scan(13))
    np.testing.assert_allclose(place_of(image, 1500), place_mm(*MARK), atol=1e-3)
    for value, index in ((1, (0, 1, 2)), (2, (2, 2, 1)), (3, (4, 2, 5)), (4, MARK)):
        np.testing.assert_allclose(place_of(label, value), place_mm(*index), atol=1e-3)
    description = json.loads((raw / "Dataset801_Chaos/dataset.json").read_text())
    assert description["labels"] == {"background": 0, "liver": 1, "kidney_right": 2, "kidney_left": 3, "spleen": 4}
    assert description["channel_names"] == {"0": "T2SPIR"}
    assert "lies to the right" not in (raw / "Dataset801_Chaos/conversion.csv").read_text()


def test_slices_in_another_order_of_names(convert, raw, release, place_of):
    """Names that follow the positions: the masks still belong to the slices of their names."""
    folder = release / "Train_Sets/MR/13/T2SPIR"
    for kind, ending in (("DICOM_anon", "dcm"), ("Ground", "png")):
        for number in range(1, 1 + SHAPE[0]):
            (folder / kind / f"IMG-0002-{number:05d}.{ending}").rename(folder / kind / f"x{9 - number}.{ending}")
    assert convert() == 0
    label = raw / "Dataset801_Chaos/labelsTr/chaos_mr_13.nii.gz"
    np.testing.assert_allclose(place_of(label, 4), place_mm(*MARK), atol=1e-3)


def test_both_phases_as_channels(convert, raw, release, place_of, voxels_of):
    (release / "Train_Sets/MR/13").rename(release / "Train_Sets/13")
    assert convert("--sequence", "T1DUAL") == 0
    dataset = raw / "Dataset801_Chaos"
    assert np.array_equal(voxels_of(dataset / "imagesTr/chaos_mr_01_0000.nii.gz"), scan(50))
    assert np.array_equal(voxels_of(dataset / "imagesTr/chaos_mr_01_0001.nii.gz"), scan(51))
    assert json.loads((dataset / "dataset.json").read_text())["channel_names"] == {"0": "T1InPhase", "1": "T1OutPhase"}
    np.testing.assert_allclose(place_of(dataset / "labelsTr/chaos_mr_01.nii.gz", 4), place_mm(*MARK), atol=1e-3)


def test_masks_of_the_in_phase_serve_the_out_phase(convert, raw, release, place_of):
    (release / "Train_Sets/MR/13").rename(release / "Train_Sets/13")
    assert convert("--sequence", "T1OutPhase") == 0
    np.testing.assert_allclose(place_of(raw / "Dataset801_Chaos/labelsTr/chaos_mr_01.nii.gz", 4), place_mm(*MARK), atol=1e-3)


@pytest.mark.parametrize("one_bit", [False, True])
def test_ct_as_source_and_mr_as_target_share_the_liver(convert, raw, release, one_bit, place_of, voxels_of):
    if one_bit:
        write_one_bit_pngs(release / "Train_Sets/CT/2/Ground")
    target = ("--target-sequence", "T2SPIR", "--target-id", "802", "--target-name", "ChaosMR")
    assert convert("--sequence", "CT", *target) == 0
    for dataset, case, index in (("Dataset801_Chaos", "chaos_ct_02", MARK), ("Dataset802_ChaosMR", "chaos_mr_01", (0, 1, 2))):
        assert json.loads((raw / dataset / "dataset.json").read_text())["labels"] == {"background": 0, "liver": 1}
        np.testing.assert_allclose(place_of(raw / dataset / f"labelsTr/{case}.nii.gz", 1), place_mm(*index), atol=1e-3)
    assert np.array_equal(voxels_of(raw / "Dataset801_Chaos/imagesTr/chaos_ct_02_0000.nii.gz"), scan(2) - 1024)


def write_one_bit_pngs(folder):
    """The release's CT masks have one bit per pixel."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for z, pixels in enumerate(mask(ct=True)):
        rows, columns = pixels.shape
        header = struct.pack(">IIBBBBB", columns, rows, 1, 0, 0, 0, 0)
        lines = b"".join(b"\x00" + np.packbits(row > 0).tobytes() for row in pixels)
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
        (folder / f"liver_GT_{SHAPE[0] - z:03d}.png").write_bytes(content)


def test_test_sets_without_masks(raw, release):
    (release / "Train_Sets").rename(release / "Test_Sets")
    for folder in list(release.rglob("Ground")):
        folder.rename(release / f"away{folder.parent.name}{folder.parent.parent.name}")
    command = ["convert", "chaos", "-i", str(release / "Test_Sets"), "-d", "803", "--name", "Test", "--processes", "1", "--no-pictures"]
    assert main([*command, "--unlabelled"]) == 0
    assert sorted(path.name for path in (raw / "Dataset803_Test/imagesTr").iterdir()) == [
        "chaos_mr_01_0000.nii.gz",
        "chaos_mr_13_0000.nii.gz",
    ]


def fails(convert, capfd, *words):
    """Patient 13 is refused with these words, patient 1 is kept."""
    assert convert() == 1
    errors = capfd.readouterr().err
    for word in ("failed chaos_mr_13", *words):
        assert word in errors


def test_unknown_grey_value_fails_that_case_alone(convert, raw, release, capfd):
    file = release / "Train_Sets/MR/13/T2SPIR/Ground/IMG-0002-00003.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.full(SHAPE[1:], 100, np.uint8)), str(file))
    fails(convert, capfd, "also holds 100")
    assert (raw / "Dataset801_Chaos/labelsTr/chaos_mr_01.nii.gz").is_file()


def test_missing_mask_of_a_slice_fails(convert, release, capfd):
    (release / "Train_Sets/MR/13/T2SPIR/Ground/IMG-0002-00003.png").unlink()
    fails(convert, capfd, "4 masks (*.png) for 5 slices")


def test_mask_of_another_size_fails(convert, release, capfd):
    file = release / "Train_Sets/MR/13/T2SPIR/Ground/IMG-0002-00003.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((6, 6), np.uint8)), str(file))
    fails(convert, capfd, "IMG-0002-00003.png", "6 x 6")


def test_colour_mask_fails(convert, release, capfd):
    file = release / "Train_Sets/MR/13/T2SPIR/Ground/IMG-0002-00003.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((*SHAPE[1:], 3), np.uint8), isVector=True), str(file))
    fails(convert, capfd, "3 value(s) per pixel")


def test_damaged_mask_fails(convert, release, capfd):
    (release / "Train_Sets/MR/13/T2SPIR/Ground/IMG-0002-00003.png").write_bytes(b"no picture")
    fails(convert, capfd, "no PNG")


def test_other_modality_fails(convert, release, capfd):
    folder = release / "Train_Sets/MR/13/T2SPIR/DICOM_anon"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    write_slices(folder, scan(13), "IMG-0002-{:05d}.dcm", modality="CT")
    fails(convert, capfd, "modality MR")


def test_phases_on_different_grids_fail(convert, release, capfd):
    (release / "Train_Sets/MR/13").rename(release / "Train_Sets/13")
    folder = release / "Train_Sets/MR/1/T1DUAL/DICOM_anon/OutPhase"
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelSpacing = [1.5, 1.7]
        dataset.save_as(file)
    assert convert("--sequence", "T1DUAL") == 1
    assert "share one grid" in capfd.readouterr().err


def test_missing_ground_folder_is_refused(convert, release, error_of):
    (release / "Train_Sets/MR/13/T2SPIR/Ground").rename(release / "elsewhere")
    assert "'chaos_mr_13'" in error_of(convert())


def test_empty_folder_is_refused(tmp_path, error_of):
    (tmp_path / "empty").mkdir()
    assert "Train_Sets/MR" in error_of(main(["convert", "chaos", "-i", str(tmp_path / "empty"), "-d", "801", "--name", "C"]))


def test_split_of_the_ct_is_not_known(convert, error_of):
    assert "no published split" in error_of(convert("--sequence", "CT", "--paper-split"))


def test_ct_shows_the_liver_alone(convert, error_of):
    assert "'spleen'" in error_of(convert("--sequence", "CT", "--organs", "liver", "spleen"))


def test_folder_without_slices_fails(convert, release, capfd):
    for file in (release / "Train_Sets/MR/13/T2SPIR/DICOM_anon").iterdir():
        file.unlink()
    fails(convert, capfd, "found none")


def test_damaged_slice_fails(convert, release, capfd):
    (release / "Train_Sets/MR/13/T2SPIR/DICOM_anon/IMG-0002-00002.dcm").write_bytes(b"no DICOM")
    fails(convert, capfd, "IMG-0002-00002.dcm")
