import io
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunet_da.conversion.checks import CaseFacts, ImageFacts
from nnunet_da.conversion.contact_sheet import COLUMNS, ROWS, write_contact_sheets
from nnunet_da.conversion.pictures import CELL, COLOURS, HEADER, PLANE, draw_case
from nnunet_da.conversion.records import CaseRecord
from nnunet_da.conversion.scan import Loaded, Placement

LABELS = {"background": 0, "femur": 1, "hip": 2}


def facts_of(image, label=None, warnings=()):
    voxels = sitk.GetArrayFromImage(image)
    facts = ImageFacts(image.GetSpacing()[::-1], voxels.shape, float(voxels.min()), float(voxels.max()), 0.0, warnings)
    counts = None if label is None else {int(value): 1 for value in np.unique(sitk.GetArrayFromImage(label))}
    return CaseFacts((facts,), counts, ())


def draw(image, label=None, case="case", channel="CT", warnings=(), labels=LABELS):
    png = draw_case(case, Loaded((image,), label), facts_of(image, label, warnings), channel, labels)
    return png, np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def body():
    """LPS, 100 x 60 x 80 mm in slices of 4 mm: a bright block at the patient's left, back and top."""
    voxels = np.full((20, 60, 100), -100, np.int16)
    voxels[12:18, 40:55, 70:95] = 1300
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 1.0, 4.0))
    return image, image > 500


def planes(pixels):
    """The three cells of a picture."""
    return [pixels[HEADER : HEADER + CELL, number * CELL : (number + 1) * CELL] for number in range(3)]


def centre(mask):
    """Mean row and column, from the middle of the cell."""
    return np.argwhere(mask).mean(axis=0) - (mask.shape[0] - 1) / 2


def outline_of(cell, colour=COLOURS[0]):
    return (np.abs(cell - colour).sum(axis=2) == 0) & (np.arange(CELL)[:, None] >= 0)


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SLA", "PIR"])
def test_planes_show_the_body_not_the_file(orientation):
    """However the file orders its voxels, left is on the right, the back at the bottom or on the right, and the head on top."""
    image, label = (sitk.DICOMOrient(volume, orientation) for volume in body())
    axial, coronal, sagittal = (centre(outline_of(cell)) for cell in planes(draw(image, label)[1]))
    assert axial == pytest.approx([2.7 * 17.5, 2.7 * 32.5], abs=3)  # row: back; column: left. 2.7 pixels per mm
    assert coronal == pytest.approx([-2.7 * 20, 2.7 * 32.5], abs=3)  # row: head
    assert sagittal == pytest.approx([-2.7 * 20, 2.7 * 17.5], abs=3)


def test_millimetres_are_alike_in_all_planes():
    image, label = body()
    sizes = [np.ptp(np.argwhere(outline_of(cell)), axis=0) + 1 for cell in planes(draw(image, label)[1])]
    scale = PLANE / 100  # pixels per mm: the widest side is 100 mm
    for size, millimetres in zip(sizes, ((15, 25), (24, 25), (24, 15)), strict=True):
        np.testing.assert_allclose(size, np.multiply(millimetres, scale), atol=3)


def test_every_label_has_its_colour():
    image, label = body()
    label = label + 2 * sitk.Cast(image < -500, sitk.sitkUInt8)
    label[10:30, 10:30, 14] = 2
    pixels = draw(image, label)[1]
    for colour in COLOURS[:2]:
        assert outline_of(planes(pixels)[0], colour).any()


def test_empty_label_and_no_label_show_the_middle():
    image, label = body()
    image[50, 30, 10] = 1300
    for other in (label * 0, None):
        axial = planes(draw(image, other)[1])[0]
        assert axial[CELL // 2, CELL // 2].min() > 100


def test_window_of_a_ct_is_fixed_and_of_others_their_own():
    image, _ = body()
    faint = sitk.Cast(image, sitk.sitkFloat32) * 1e-3
    assert draw(faint, channel="MR")[1].max() == 255
    middle = planes(draw(faint)[1])[0][CELL // 2, CELL // 2]
    assert middle.max() == middle.min() < 128


def test_mirrored_case_says_so():
    image, _ = body()
    placement = Placement(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection(), mirrored=True)
    pictures = {
        mirrored: draw_case(
            "case", Loaded((image,), side="right", placement=replace(placement, mirrored=mirrored)), facts_of(image), "CT", {}
        )
        for mirrored in (False, True)
    }
    assert pictures[True] != pictures[False]


def test_letters_are_nearer_to_their_own_plane():
    """The left of one plane and the right or front of the next must not read as one word."""
    pixels = draw(body()[0])[1]
    row = pixels[HEADER + CELL // 2 - 12 : HEADER + CELL // 2 + 12].max(axis=(0, 2))
    between = row[CELL - (CELL - PLANE) // 2 : CELL + (CELL - PLANE) // 2]  # from the edge of the first plane to that of the second
    letters = np.flatnonzero(between == 255)
    gap = np.diff(letters).max()
    assert gap > 2 * letters[0]


@pytest.mark.parametrize("case", ["a" * 300, "case"])
def test_long_texts_are_cut_off_within_the_picture(case):
    image, label = body()
    many = {"background": 0} | {f"organ number {value}": value for value in range(1, 40)}
    png, pixels = draw(image, label, case, warnings=("something is odd " * 30,), labels=many)
    assert pixels[:, -4:].max() == 0
    assert len(png) < 100_000


def test_noisy_picture_stays_small():
    voxels = np.random.default_rng(0).normal(300, 60, (64, 256, 256)).astype(np.int16)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 1.0, 4.0))
    assert len(draw(image)[0]) < 100_000


def test_flat_and_thin_images_are_drawn():
    flat = sitk.Image([30, 20], sitk.sitkInt16)
    flat.SetSpacing((0.5, 0.5))
    label = flat < 1
    assert draw(flat, label)[1].shape == (HEADER + CELL, 3 * CELL, 3)
    draw(sitk.Image([300, 300, 1], sitk.sitkUInt16), channel="MR")


def test_contact_sheets_take_every_case(tmp_path):
    image, label = body()
    png, _ = draw(image, label)
    (tmp_path / "conversion").mkdir()
    records = []
    for number in range(COLUMNS * ROWS + 3):
        name = f"conversion/c{number:02d}.png"
        (tmp_path / name).write_bytes(png)
        row = {"side": "left", "warnings": "odd" if number == 1 else ""}
        records.append(CaseRecord(f"c{number:02d}", {}, {name: ""}, [row], {}))
    pages = write_contact_sheets(tmp_path, records)
    assert [page.name for page in pages] == ["contact_sheet.png", "contact_sheet_2.png"]
    first, second = (Image.open(page) for page in pages)
    assert first.width > second.width
    assert first.height > 5 * second.height
    assert [page.name for page in write_contact_sheets(tmp_path, records[:2])] == ["contact_sheet.png"]
    assert not (tmp_path / "conversion" / "contact_sheet_2.png").exists()
