from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ImplicitVRLittleEndian

from nnunet_da.conversion.dicom import read_dicom, read_series
from nnunet_da.errors import UserError

ANGLE = np.deg2rad(12)
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(ANGLE)), float(np.sin(ANGLE)))  # row direction, column direction
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
ORIGIN = (-120.25, -80.5, 31.0)  # what write_dicom gives the first slice; pixels of 0.7 x 0.8 mm, slices 2.5 mm apart


@pytest.fixture
def stored() -> np.ndarray:
    """Stored values (Z, Y, X) of 12 bits; HU are 1024 lower."""
    return np.random.default_rng(5).integers(0, 4096, (7, 72, 64)).astype(np.uint16)


def error_of(source: Path, series: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read_dicom(source, series)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("orientation", [STRAIGHT, OBLIQUE])
def test_voxels_and_positions_worked_by_hand(tmp_path, stored, write_dicom, orientation):
    write_dicom(tmp_path / "a", stored, orientation)
    image = read_series(tmp_path / "a")
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(image), stored.astype(np.int16) - 1024)
    normal = np.cross(orientation[:3], orientation[3:])
    x, y, z = 13, 9, 5
    expected = np.array(ORIGIN) + x * 0.7 * np.array(orientation[:3]) + y * 0.8 * np.array(orientation[3:]) + z * 2.5 * normal
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((x, y, z)), expected, atol=1e-4)


def test_same_as_simpleitk_reads(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, OBLIQUE)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "a"))
    expected = sitk.ReadImage(names)
    image = read_series(tmp_path / "a")
    assert np.array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(image.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing(), expected.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), expected.GetDirection(), atol=1e-6)


def test_slices_stacked_downwards_come_out_upwards(tmp_path, stored, write_dicom):
    """Row and column directions may make the normal point to the feet; the file order never matters."""
    write_dicom(tmp_path / "a", stored, (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    image = read_series(tmp_path / "a")
    assert np.array_equal(sitk.GetArrayFromImage(image), stored.astype(np.int16) - 1024)
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((0, 0, 6)), np.array(ORIGIN) - [0, 0, 15], atol=1e-4)


def test_signed_pixels(tmp_path, stored, write_dicom):
    signed = stored.astype(np.int16) - 2000
    write_dicom(tmp_path / "a", signed, RescaleIntercept=0)
    image = read_series(tmp_path / "a")
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(sitk.GetArrayFromImage(image), signed)


def test_fractional_slope_gives_float32(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, RescaleSlope=0.5)
    image = read_series(tmp_path / "a")
    assert image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), stored * 0.5 - 1024)


def test_each_slice_has_its_own_rescale(tmp_path, stored, write_dicom):
    """SimpleITK's own series reader takes the voxel type from one slice and cuts the fractions of the others."""
    slopes = [1, 1.5, 0.25, 1, 2, 1, 1]
    write_dicom(tmp_path / "a", stored, change=lambda index, slice_: setattr(slice_, "RescaleSlope", slopes[index]))
    series = read_dicom(tmp_path / "a")
    np.testing.assert_allclose(sitk.GetArrayFromImage(series.image), stored * np.reshape(slopes, (7, 1, 1)) - 1024)
    assert any("differ in rescale" in text for text in series.warnings)


def test_missing_rescale_is_seen(tmp_path, stored, write_dicom):
    def drop(index, slice_):
        del slice_.RescaleSlope, slice_.RescaleIntercept

    write_dicom(tmp_path / "a", stored, change=drop)
    series = read_dicom(tmp_path / "a")
    assert np.array_equal(sitk.GetArrayFromImage(series.image), stored)
    assert any("no rescale" in text for text in series.warnings)


def test_wrong_rescale_is_refused(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored, change=lambda index, slice_: setattr(slice_, "RescaleSlope", 0 if index == 3 else 1))
    assert str(paths[3]) in error_of(tmp_path / "a")


def test_overlay_in_the_free_bits_is_no_pixel(tmp_path, stored, write_dicom):
    """Old scanners drew overlays into bits 13 to 16."""
    with_overlay = stored.copy()
    with_overlay[2, 3:9, 4:7] |= 1 << 14
    write_dicom(tmp_path / "a", with_overlay)
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), stored.astype(np.int16) - 1024)


def test_big_endian(tmp_path, stored, write_dicom):
    for path in write_dicom(tmp_path / "a", stored):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), stored.astype(np.int16) - 1024)


@pytest.mark.parametrize("compression", [None, pydicom.uid.RLELossless])
def test_values_beyond_16_bits_are_kept(tmp_path, stored, write_dicom, compression):
    stored[4, 5, 6] = 4000
    paths = write_dicom(tmp_path / "a", stored, RescaleSlope=10)
    if compression:
        compressed(paths, compression)
    image = read_series(tmp_path / "a")
    assert image.GetPixelID() == sitk.sitkInt32
    assert image[6, 5, 4] == 38976


def test_compressed_slices_of_different_range(tmp_path, stored, write_dicom):
    """SimpleITK's series reader would force the last ones into the 16 bits of the first."""
    slopes = [1, 1, 1, 1, 1, 1, 20]
    compressed(
        write_dicom(tmp_path / "a", stored, change=lambda i, slice_: setattr(slice_, "RescaleSlope", slopes[i])), "1.2.840.10008.1.2.5"
    )
    expected = stored.astype(np.int32) * np.reshape(slopes, (7, 1, 1)) - 1024
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), expected)


@pytest.mark.parametrize("written", ["unsigned", ""])
def test_declared_padding_becomes_air_and_is_counted(tmp_path, write_dicom, written):
    stored = np.random.default_rng(1).integers(-1000, 1500, (4, 16, 16)).astype(np.int16)
    stored[:, :3] = -2000
    stored[2, 5, 5] = -1200  # noise below air that nobody declared
    unsigned = 63536  # -2000 in 16 bits, as some writers have it
    change = (
        {"change": lambda index, slice_: slice_.add_new("PixelPaddingValue", "US", unsigned)} if written else {"PixelPaddingValue": -2000}
    )
    write_dicom(tmp_path / "a", stored, RescaleIntercept=0, **change)
    series = read_dicom(tmp_path / "a")
    expected = np.where(stored == -2000, -1024, stored)
    assert np.array_equal(sitk.GetArrayFromImage(series.image), expected)
    assert series.padding_voxels == 4 * 3 * 16


def test_range_of_padding_ends_at_air(tmp_path, write_dicom):
    stored = np.zeros((2, 8, 8), np.int16)
    stored[:, 0], stored[:, 1], stored[:, 2] = -2000, -1500, -1000
    write_dicom(tmp_path / "a", stored, RescaleIntercept=0, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-900)
    series = read_dicom(tmp_path / "a")
    assert sitk.GetArrayFromImage(series.image)[0, :4, 0].tolist() == [-1024, -1024, -1000, 0]
    assert series.padding_voxels == 32


def test_padding_value_that_tissue_has_is_left(tmp_path, write_dicom):
    stored = np.zeros((3, 8, 8), np.int16)
    write_dicom(tmp_path / "a", stored, RescaleIntercept=0, PixelPaddingValue=0)
    series = read_dicom(tmp_path / "a")
    assert not sitk.GetArrayFromImage(series.image).any()
    assert series.padding_voxels == 0


def test_empty_file_is_a_lost_slice(tmp_path, stored, write_dicom):
    """The last slice: nothing in the geometry of the others would tell."""
    paths = write_dicom(tmp_path / "a", stored)
    paths[-1].write_bytes(b"")
    text = error_of(tmp_path / "a")
    assert "no content" in text
    assert str(paths[-1]) in text


def test_unknown_files_passed_over_are_counted(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[0].write_bytes(b"damaged " * 100)
    (tmp_path / "a" / "notes.txt").write_text("of a known other kind")
    series = read_dicom(tmp_path / "a")
    assert series.image.GetSize()[2] == 6
    assert [text for text in series.warnings if "passed over" in text] == [
        f"1 file(s) passed over that are no DICOM, such as {paths[0].name}"
    ]


def test_slice_without_preamble_is_read(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[0].write_bytes(paths[0].read_bytes()[132:])
    series = read_dicom(tmp_path / "a")
    assert np.array_equal(sitk.GetArrayFromImage(series.image), stored.astype(np.int16) - 1024)
    assert series.warnings == ()


def test_files_without_meta_header_are_read(tmp_path, stored, write_dicom):
    for path in write_dicom(tmp_path / "a", stored):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta
        dataset.preamble = None
        pydicom.dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
        assert path.read_bytes().startswith(b"\x08\x00")
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), stored.astype(np.int16) - 1024)


def test_meta_header_without_class_takes_that_of_the_slice(tmp_path, stored, write_dicom):
    for path in write_dicom(tmp_path / "a", stored):
        dataset = pydicom.dcmread(path)
        del dataset.file_meta.MediaStorageSOPClassUID
        pydicom.dcmwrite(path, dataset)
    assert read_series(tmp_path / "a").GetSize()[2] == 7


def test_file_that_ends_in_its_meta_header_is_named(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[-1].write_bytes(paths[-1].read_bytes()[:150])
    assert str(paths[-1]) in error_of(tmp_path / "a")


def test_two_stacks_in_one_series(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, change=lambda index, slice_: shifted(slice_, z=75 * (index > 3)))
    assert "two stacks" in error_of(tmp_path / "a")


@pytest.mark.parametrize("attributes", [{"RescaleSlope": 40000}, {"RescaleIntercept": 2e9}, {"RescaleSlope": 900}])
def test_numbers_that_are_no_hu(tmp_path, stored, write_dicom, attributes):
    write_dicom(tmp_path / "a", stored, **attributes)
    text = error_of(tmp_path / "a")
    assert "HU" in text
    assert str(tmp_path / "a") in text


def test_negative_slope_is_seen(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, RescaleSlope=-1)
    assert any("negative rescale slope" in text for text in read_dicom(tmp_path / "a").warnings)


def test_other_files_and_masks_beside_the_slices_are_passed_over(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a" / "CT", stored)
    (tmp_path / "a" / "notes.txt").write_text("no DICOM")
    write_dicom(tmp_path / "a" / "RT", stored[:1], Modality="RTSTRUCT")
    assert read_series(tmp_path / "a").GetSize() == (64, 72, 7)


def test_no_dicom(tmp_path):
    (tmp_path / "a").mkdir()
    assert "found no file" in error_of(tmp_path / "a")
    (tmp_path / "a" / "b.dcm").write_bytes(b"nothing")
    assert "b.dcm" in error_of(tmp_path / "a")


def test_several_series_are_named_and_one_can_be_chosen(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a" / "1", stored)
    write_dicom(tmp_path / "a" / "2", stored[:3], SeriesDescription="Hip BONE")
    text = error_of(tmp_path / "a")
    for words in ("'Hip 2.5mm STANDARD' (7 slices", "'Hip BONE' (3 slices", "--series"):
        assert words in text
    assert read_series(tmp_path / "a", "bone").GetSize()[2] == 3
    uid = pydicom.dcmread(tmp_path / "a" / "1" / "IM0000").SeriesInstanceUID
    assert read_series(tmp_path / "a", uid).GetSize()[2] == 7
    assert "found 2" in error_of(tmp_path / "a", "hip")
    assert "found 0" in error_of(tmp_path / "a", "knee")


def test_a_screenshot_among_the_series_can_be_passed_by(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a" / "1", stored)
    write_dicom(tmp_path / "a" / "2", stored[:1], SeriesDescription="Dose Report", ImagePositionPatient=None, SamplesPerPixel=3)
    assert "'Dose Report' (1 slices" in error_of(tmp_path / "a")
    assert read_series(tmp_path / "a", "hip").GetSize()[2] == 7
    assert "colour" in error_of(tmp_path / "a", "dose")


def shifted(slice_, x=0.0, y=0.0, z=0.0) -> None:
    slice_.ImagePositionPatient = [float(a) + b for a, b in zip(slice_.ImagePositionPatient, (x, y, z), strict=True)]


def test_missing_slice_is_named_by_its_neighbours(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[4].unlink()
    text = error_of(tmp_path / "a")
    assert "1 slice(s) missing" in text
    assert str(paths[3]) in text
    assert str(paths[5]) in text


def test_uneven_distances(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored, change=lambda index, slice_: shifted(slice_, z=0.6 * (index > 4)))
    text = error_of(tmp_path / "a")
    assert "uneven" in text
    assert str(paths[4]) in text


def test_rounded_positions_are_fine(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, change=lambda index, slice_: shifted(slice_, z=0.01 * (-1) ** index))
    assert read_series(tmp_path / "a").GetSpacing()[2] == pytest.approx(2.5, abs=0.01)


def test_position_twice(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored, change=lambda index, slice_: shifted(slice_, z=-2.5 * (index > 4)))
    text = error_of(tmp_path / "a")
    assert str(paths[4]) in text
    assert str(paths[5]) in text


def test_several_phases_are_called_4d(tmp_path, stored, write_dicom):
    def second_phase(index, slice_):
        slice_.SeriesInstanceUID = "1.2.3"

    write_dicom(tmp_path / "a" / "1", stored, change=second_phase)
    write_dicom(tmp_path / "a" / "2", stored, change=second_phase)
    assert "4D" in error_of(tmp_path / "a")


def test_gantry_tilt(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, change=lambda index, slice_: shifted(slice_, y=index * 2.5 * np.tan(np.deg2rad(15))))
    text = error_of(tmp_path / "a")
    assert "15.00 degrees" in text
    assert str(tmp_path / "a") in text


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("PixelSpacing", [0.9, 0.9], "pixel spacing"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "orientation"),
        ("NumberOfFrames", 4, "frames"),
        ("SamplesPerPixel", 3, "colour"),
        ("ImagePositionPatient", None, "ImagePositionPatient"),
        ("RescaleIntercept", None, "intercept"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "right angles"),
    ],
)
def test_one_wrong_slice_is_named(tmp_path, stored, write_dicom, attribute, value, words):
    def spoil(index, slice_):
        if index == 3:
            setattr(slice_, attribute, value)

    paths = write_dicom(tmp_path / "a", stored, change=spoil)
    text = error_of(tmp_path / "a")
    assert words in text
    assert str(paths[3]) in text


def test_slice_of_another_size(tmp_path, stored, write_dicom):
    def crop(index, slice_):
        if index == 3:
            slice_.Rows, slice_.Columns, slice_.PixelData = 8, 8, bytes(128)

    paths = write_dicom(tmp_path / "a", stored, change=crop)
    assert str(paths[3]) in error_of(tmp_path / "a")


def test_truncated_pixels(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    text = error_of(tmp_path / "a")
    assert "truncated" in text
    assert str(paths[2]) in text


def test_truncated_header(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    paths[2].write_bytes(paths[2].read_bytes()[:700])
    assert str(paths[2]) in error_of(tmp_path / "a")


def test_one_slice_is_no_volume(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored[:1])
    assert "at least 2 slices" in error_of(tmp_path / "a")


def test_implicit_headers(tmp_path, stored, write_dicom):
    write_dicom(tmp_path / "a", stored, change=lambda index, slice_: setattr(slice_.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian))
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), stored.astype(np.int16) - 1024)


def compressed(paths: list[Path], syntax: str) -> None:
    for path in paths:
        dataset = pydicom.dcmread(path)
        if syntax == pydicom.uid.JPEGLosslessSV1:
            _jpeg_lossless(dataset)
        else:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)


def _jpeg_lossless(dataset: pydicom.Dataset) -> None:
    """pydicom cannot encode it, GDCM can."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(f"{dataset.filename}.dcm")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(dataset.pixel_array))
    encoded = pydicom.dcmread(f"{dataset.filename}.dcm")
    Path(f"{dataset.filename}.dcm").unlink()
    dataset.PixelData, dataset.file_meta.TransferSyntaxUID = encoded.PixelData, encoded.file_meta.TransferSyntaxUID
    dataset["PixelData"].VR = "OB"
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1


COMPRESSIONS = {"RLE": pydicom.uid.RLELossless, "JPEG 2000": pydicom.uid.JPEG2000Lossless, "JPEG": pydicom.uid.JPEGLosslessSV1}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_lossless_compression_is_read_by_simpleitk_itself(tmp_path, stored, write_dicom, name):
    compressed(write_dicom(tmp_path / "a", stored), COMPRESSIONS[name])
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a")), stored.astype(np.int16) - 1024)


def test_jpeg_ls(tmp_path, write_dicom):
    """From pydicom's own test files: no encoder is at hand."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    if not (folder / "MR_small_jpeg_ls_lossless.dcm").is_file():
        pytest.skip("pydicom is installed without its test files")
    plain, encoded = (pydicom.dcmread(folder / name) for name in ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"))

    def encode(index, slice_):
        slice_.PixelData, slice_.file_meta.TransferSyntaxUID = encoded.PixelData, encoded.file_meta.TransferSyntaxUID
        slice_["PixelData"].VR = "OB"

    write_dicom(tmp_path / "a", np.stack([plain.pixel_array.astype(np.int16)] * 2), RescaleIntercept=0, change=encode)
    assert np.array_equal(sitk.GetArrayFromImage(read_series(tmp_path / "a"))[1], plain.pixel_array)


def test_unknown_compression_names_file_and_syntax(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    compressed(paths, pydicom.uid.RLELossless)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        dataset.save_as(path)
    text = error_of(tmp_path / "a")
    assert str(tmp_path / "a") in text
    assert "High-Throughput" in text


def test_compressed_pixels_cut_short(tmp_path, stored, write_dicom):
    paths = write_dicom(tmp_path / "a", stored)
    compressed(paths, pydicom.uid.RLELossless)
    paths[2].write_bytes(paths[2].read_bytes()[:-300])
    assert str(paths[2]) in error_of(tmp_path / "a")
