import builtins
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from nnunet_da.conversion.dicom import read_dicom
from nnunet_da.conversion.dicom_masks import filled_contours, read_dicom_mask
from nnunet_da.conversion.femur_crop import to_lps
from nnunet_da.errors import UserError

SHAPE = (9, 48, 40)  # no square: rows and columns must not be confused


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """A ring with an island in its hole on inner slices, and a block."""
    z, y, x = np.indices(SHAPE)
    radius = np.hypot(y - 20, x - 15)
    ring = ((radius < 10) & (radius > 5) | (radius < 2)) & (z > 1) & (z < 7)
    return {"Left Femur": ring, "Right Femur": (x > 30) & (y > 35) & (z == 4)}


@pytest.fixture(
    params=[(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0.9659258263, 0.2588190451), (-1, 0, 0, 0, 1, 0)], ids=["straight", "oblique", "from_below"]
)
def series(request, tmp_path, write_dicom) -> Path:
    """A scan whose pixels are not square, stacked upwards and downwards."""
    write_dicom(tmp_path / "scan", np.zeros(SHAPE, np.int16), request.param)
    return tmp_path / "scan"


def slices_of(folder: Path) -> list[pydicom.Dataset]:
    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    return sorted(datasets, key=lambda dataset: dataset.InstanceNumber)


def write_seg(path: Path, scan: Path, masks: dict[str, np.ndarray], omit_empty_frames: bool = True) -> Path:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Femur,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, name in enumerate(masks, start=1)
    ]
    segmentation = hd.seg.Segmentation(
        source_images=slices_of(scan),
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=omit_empty_frames,
    )
    segmentation.save_as(path)
    return path


def write_rtstruct(path: Path, scan: Path, contours: dict[str, list[np.ndarray]]) -> Path:
    """Contours in mm, as a planning system writes them: no reference to single images."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    structures = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    structures.SOPClassUID, structures.SOPInstanceUID, structures.Modality = (
        RTStructureSetStorage,
        meta.MediaStorageSOPInstanceUID,
        "RTSTRUCT",
    )
    frame = Dataset()
    frame.FrameOfReferenceUID = slices_of(scan)[0].FrameOfReferenceUID
    structures.ReferencedFrameOfReferenceSequence = Sequence([frame])
    structures.StructureSetROISequence, structures.ROIContourSequence = Sequence(), Sequence()
    for number, (name, polygons) in enumerate(contours.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for corners in polygons:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(corners)
            contour.ContourData = [f"{value:.6f}" for value in corners.ravel()]
            drawn.ContourSequence.append(contour)
        structures.StructureSetROISequence.append(roi)
        structures.ROIContourSequence.append(drawn)
    structures.save_as(path, enforce_file_format=True)
    return path


def grid_and_frame(scan: Path) -> tuple[sitk.Image, str]:
    found = read_dicom(scan)
    return to_lps(found.image), found.frame_of_reference


def expected_label(scan: Path, masks: dict[str, np.ndarray], values: dict[str, int]) -> np.ndarray:
    """By way of an image on the scan's own grid."""
    image = read_dicom(scan).image
    label = np.zeros(SHAPE, np.uint8)
    for name, value in values.items():
        label[masks[name]] = value
    whole = sitk.GetImageFromArray(label)
    whole.CopyInformation(image)
    return sitk.GetArrayFromImage(to_lps(whole))


@pytest.mark.parametrize("omit_empty_frames", [True, False])
def test_segmentation_on_every_grid(series, tmp_path, masks, omit_empty_frames):
    path = write_seg(tmp_path / "seg.dcm", series, masks, omit_empty_frames)
    grid, frame = grid_and_frame(series)
    mask = read_dicom_mask(path, grid, {1: ["Right Femur"], 2: ["1"]}, frame)
    assert np.array_equal(sitk.GetArrayFromImage(mask.image), expected_label(series, masks, {"Right Femur": 1, "Left Femur": 2}))
    assert mask.image.GetOrigin() == grid.GetOrigin()


def test_segment_on_a_single_slice(series, tmp_path, masks):
    path = write_seg(tmp_path / "seg.dcm", series, {"Right Femur": masks["Right Femur"]})
    grid, frame = grid_and_frame(series)
    found = sitk.GetArrayFromImage(read_dicom_mask(path, grid, {1: ["Right Femur"]}, frame).image)
    assert np.array_equal(found, expected_label(series, masks, {"Right Femur": 1}))


def test_segment_with_empty_slices_between(series, tmp_path, masks):
    ring = masks["Left Femur"].copy()
    ring[[3, 5]] = False
    path = write_seg(tmp_path / "seg.dcm", series, {"Left Femur": ring})
    grid, frame = grid_and_frame(series)
    found = sitk.GetArrayFromImage(read_dicom_mask(path, grid, {1: ["Left Femur"]}, frame).image)
    assert np.array_equal(found, expected_label(series, {"Left Femur": ring}, {"Left Femur": 1}))


def test_rtstruct_of_rt_utils_gives_back_its_mask(tmp_path, masks, write_dicom):
    """Outlines through pixel centres, hole and island included. rt-utils itself needs square slices with square pixels."""
    rt_utils = pytest.importorskip("rt_utils")
    square = {name: mask[:, :40, :40] for name, mask in masks.items()}
    square["Right Femur"] = np.roll(masks["Right Femur"], -10, axis=1)[:, :40]
    write_dicom(tmp_path / "scan", np.zeros((9, 40, 40), np.int16), spacing_mm=(2.5, 0.75, 0.75))
    structures = rt_utils.RTStructBuilder.create_new(str(tmp_path / "scan"))
    for name, mask in square.items():
        structures.add_roi(mask=np.moveaxis(mask, 0, 2), name=name)
    structures.save(str(tmp_path / "rt.dcm"))
    grid, frame = grid_and_frame(tmp_path / "scan")
    for name, mask in square.items():
        found = sitk.GetArrayFromImage(read_dicom_mask(tmp_path / "rt.dcm", grid, {1: [name]}, frame).image)
        assert np.array_equal(found > 0, mask), name


def outline_mm(image: sitk.Image, xy: np.ndarray, z: int) -> np.ndarray:
    """Pixel coordinates (N, 2) of a slice in mm."""
    return np.array([image.TransformContinuousIndexToPhysicalPoint((float(x), float(y), float(z))) for x, y in xy])


def circle(centre, radius: float, corners: int = 360) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def test_rtstruct_on_pixels_that_are_not_square(series, tmp_path):
    image = read_dicom(series).image
    contours = [outline_mm(image, circle((14.3, 21.7), 9.0), z) for z in (2, 3, 5)]
    path = write_rtstruct(tmp_path / "rt.dcm", series, {"Femur": contours})
    grid, frame = grid_and_frame(series)
    mask = read_dicom_mask(path, grid, {1: ["Femur"]}, frame)
    z, y, x = np.indices(SHAPE)
    inside = (np.hypot(x - 14.3, y - 21.7) < 9.0 * np.cos(np.pi / 360) ** 0.5) & np.isin(z, (2, 3, 5))
    assert np.array_equal(sitk.GetArrayFromImage(mask.image), expected_label(series, {"a": inside}, {"a": 1}))
    assert any("1 slice(s) between" in text for text in mask.warnings)


def test_area_and_place_of_circles_are_not_biased():
    """Many circles at random places: mean area within 0.3 %, mean centre within 0.02 pixels of the true ones."""
    grid = sitk.Image(64, 64, 1, sitk.sitkUInt8)
    rng = np.random.default_rng(0)
    areas, offsets = [], []
    for _ in range(200):
        centre, radius = rng.uniform(28, 36, 2), rng.uniform(8, 20)
        filled = filled_contours([outline_mm(grid, circle(centre, radius), 0)], grid)[0]
        areas.append(filled.sum() / (np.pi * radius**2))
        offsets.append(np.argwhere(filled).mean(axis=0)[::-1] - centre)
    assert abs(np.mean(areas) - 1) < 0.003
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.02


def test_hole_and_island_by_hand():
    grid = sitk.Image(20, 20, 1, sitk.sitkUInt8)
    squares = [np.array([(a, a), (b, a), (b, b), (a, b)], float) for a, b in ((1.5, 17.5), (4.5, 14.5), (7.5, 10.5))]
    filled = filled_contours([outline_mm(grid, corners, 0) for corners in squares], grid)[0]
    assert filled.sum() == 16**2 - 10**2 + 3**2


def test_outline_through_pixel_centres_gives_back_the_mask_whatever_the_rounding():
    """Headers round positions; corners land a little beside the centres they stand for."""
    grid = sitk.Image(20, 20, 1, sitk.sitkUInt8)
    grid.SetOrigin((-120.1234567, 33.3333333, 5.0))
    grid.SetSpacing((0.7031249, 0.6835937, 2.5))
    corners = np.round(outline_mm(grid, np.array([(3, 5), (9, 5), (12, 8), (12, 14), (3, 14)], float), 0), 2)
    filled = filled_contours([corners], grid)[0]
    assert filled.sum() == 10 * 10 - (1 + 2 + 3)


def test_contour_reaching_out_of_the_field_of_view():
    grid = sitk.Image(10, 12, 1, sitk.sitkUInt8)
    filled = filled_contours([outline_mm(grid, np.array([(-5, -5), (3.5, -5), (3.5, 30), (-5, 30)], float), 0)], grid)[0]
    assert filled[:, :4].all()
    assert not filled[:, 4:].any()


def test_masks_are_found_in_the_folder_of_the_scan(series, masks):
    write_seg(series / "seg.dcm", series, masks)
    grid, frame = grid_and_frame(series)
    assert sitk.GetArrayFromImage(read_dicom_mask(series, grid, {1: ["Left Femur"]}, frame).image).any()


def error_of(path: Path, grid: sitk.Image, names: dict[int, list[str]], frame: str) -> str:
    with pytest.raises(UserError) as caught:
        read_dicom_mask(path, grid, names, frame)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def plain_scan(tmp_path, write_dicom) -> Path:
    write_dicom(tmp_path / "scan", np.zeros(SHAPE, np.int16))
    return tmp_path / "scan"


def test_bad_segmentations(plain_scan, tmp_path, masks, write_dicom):
    path = write_seg(tmp_path / "seg.dcm", plain_scan, masks)
    grid, frame = grid_and_frame(plain_scan)
    assert "'Left Femur' (1)" in error_of(path, grid, {1: ["Hip"]}, frame)
    assert "frame of reference" in error_of(path, grid, {1: ["1"]}, "1.2.3")
    assert "voxels of its scan" in error_of(path, grid[:, :, 1:5], {1: ["Left Femur"]}, frame)
    moved = sitk.Image(grid)
    moved.SetOrigin(np.add(grid.GetOrigin(), (0.35, 0, 0)))
    assert "voxels of its scan" in error_of(path, moved, {1: ["Left Femur"]}, frame)
    overlapping = {"a": masks["Left Femur"], "b": masks["Left Femur"]}
    assert "overlap" in error_of(write_seg(tmp_path / "o.dcm", plain_scan, overlapping), grid, {1: ["a"], 2: ["b"]}, frame)
    assert "found none" in error_of(plain_scan, grid, {1: ["a"]}, frame)
    path.write_bytes(path.read_bytes()[:3000])
    assert str(path) in error_of(path, grid, {1: ["Left Femur"]}, frame)


def test_bad_structure_sets(plain_scan, tmp_path):
    grid, frame = grid_and_frame(plain_scan)
    ring = outline_mm(grid, circle((14, 21), 9.0), 3)
    moved, between = np.add(ring, (1, 0, 0)), np.add(ring, (0, 0, 1.2))
    contours = {"a": [ring], "b": [moved], "between": [between], "empty": []}
    path = write_rtstruct(tmp_path / "rt.dcm", plain_scan, contours)
    assert "overlap" in error_of(path, grid, {1: ["a"], 2: ["b"]}, frame)
    assert "slices of the scan" in error_of(path, grid, {1: ["between"]}, frame)
    assert "'empty'" in error_of(path, grid, {1: ["empty"]}, frame)
    assert "'a' (1)" in error_of(path, grid, {1: ["Femur"]}, frame)
    assert sitk.GetArrayFromImage(read_dicom_mask(path, grid, {1: ["a", "b"]}, frame).image).any()  # one label of two ROIs


def test_two_masks_in_a_folder(plain_scan, tmp_path, masks):
    (tmp_path / "masks").mkdir()
    for name in ("1.dcm", "2.dcm"):
        write_seg(tmp_path / "masks" / name, plain_scan, masks)
    grid, frame = grid_and_frame(plain_scan)
    assert "1.dcm, 2.dcm" in error_of(tmp_path / "masks", grid, {1: ["1"]}, frame)


@pytest.mark.parametrize("package", ["pydicom", "highdicom"])
def test_missing_package_is_named_with_its_extra(plain_scan, tmp_path, masks, monkeypatch, package):
    path = write_seg(tmp_path / "seg.dcm", plain_scan, masks)
    grid, frame = grid_and_frame(plain_scan)
    real_import = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == package:
            raise ImportError(f"No module named '{package}'")
        return real_import(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    text = error_of(path, grid, {1: ["Left Femur"]}, frame)
    assert package in text
    assert "nnunet-da[dicom]" in text
