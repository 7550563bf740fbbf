"""Predictions go back to where their scans came from, every voxel exact."""

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main
from nnunet_da.conversion.dataset import DatasetSpecification
from nnunet_da.conversion.engine import convert_scans
from nnunet_da.conversion.images import grid_of
from nnunet_da.conversion.orientation import orientation_of, oriented_view
from nnunet_da.conversion.restore import Place, restore
from nnunet_da.conversion.scan import Loaded, Placement, Scan
from nnunet_da.errors import UserError

ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "IS")) for letters in itertools.product(*axes)
]  # all 48, mirrored ones included


def oblique(orientation, degrees):
    """The direction of an image in some orientation, turned by small angles about all axes."""
    x, y, z = np.deg2rad(degrees)
    turns = [
        [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]],
        [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]],
        [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]],
    ]
    axes = np.zeros((3, 3))
    for column, letter in enumerate(orientation):
        axes["LPS".index(letter) if letter in "LPS" else "RAI".index(letter), column] = 1 if letter in "LPS" else -1
    return tuple((np.array(turns[0]) @ turns[1] @ turns[2] @ axes).ravel())


def label_image(orientation, seed=0):
    """A random label map of uneven size and spacing."""
    rng = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(rng.integers(0, 3, rng.integers(8, 14, 3)).astype(np.uint8))
    image.SetSpacing(tuple(rng.uniform(0.3, 3, 3)))
    image.SetOrigin(tuple(rng.uniform(-200, 200, 3)))
    image.SetDirection(oblique(orientation, rng.uniform(-20, 20, 3)))
    return image


def crop(original, orientation, start, size, mirrored):
    """A window as a converter cuts it, by SimpleITK alone, and where it lies."""
    turned = sitk.DICOMOrient(original, orientation) if orientation else original
    window = sitk.RegionOfInterest(turned, size, start)
    if mirrored:
        flipped = sitk.GetImageFromArray(sitk.GetArrayFromImage(window)[:, :, ::-1])
        flipped.CopyInformation(window)
        window = flipped
    placement = Placement(
        original.GetSize(), original.GetSpacing(), original.GetOrigin(), original.GetDirection(), orientation, start, mirrored
    )
    return window, Place(grid_of(window), placement)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_view_is_what_dicom_orient_gives(orientation):
    for seed, target in enumerate(("LPS", "RAS", "SAL", "IPR")):
        image = label_image(orientation, seed)
        view = oriented_view(sitk.GetArrayFromImage(image), image.GetDirection(), target)
        assert np.array_equal(view, sitk.GetArrayFromImage(sitk.DICOMOrient(image, target)))


@pytest.mark.parametrize("original_orientation", ORIENTATIONS)
def test_restored_window_is_the_originals(original_orientation):
    """Any orientation, an oblique direction, a random crop, mirrored or not."""
    for seed, (mirrored, orientation) in enumerate(itertools.product((False, True), ("LPS", "RAS", ""))):
        original = label_image(original_orientation, seed)
        rng = np.random.default_rng(seed)
        turned = sitk.DICOMOrient(original, orientation) if orientation else original
        start = tuple(int(rng.integers(0, size // 2)) for size in turned.GetSize())
        size = tuple(int(rng.integers(2, whole - first + 1)) for whole, first in zip(turned.GetSize(), start, strict=True))
        window, place = crop(original, orientation, start, size, mirrored)
        restored = restore(window, place)
        assert grid_of(restored) == grid_of(original)
        assert restored.GetPixelID() == original.GetPixelID()
        inside = sitk.Paste(turned * 0, sitk.RegionOfInterest(turned, size, start), size, (0, 0, 0), start)
        expected = sitk.DICOMOrient(inside, orientation_of(original.GetDirection()))
        assert np.array_equal(sitk.GetArrayFromImage(restored), sitk.GetArrayFromImage(expected))


def test_place_worked_by_hand():
    """A scan whose x axis points to the right and z axis down; the window is mirrored."""
    original = sitk.Image([4, 3, 2], sitk.sitkUInt8)
    original.SetDirection((-1.0, 0, 0, 0, 1, 0, 0, 0, -1))
    prediction = sitk.Image([2, 3, 2], sitk.sitkUInt8)  # x 1 and 2 of the scan in LPS
    prediction[0, 2, 1] = 7
    placement = Placement((4, 3, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), original.GetDirection(), "LPS", (1, 0, 0), True)
    restored = restore(prediction, Place(grid_of(prediction), placement))
    # mirrored back: x 1 of the window, 2 of the scan in LPS, 3 - 2 = 1 as stored; y 2; z 1 in LPS, 0 as stored
    assert np.argwhere(sitk.GetArrayFromImage(restored)).tolist() == [[0, 2, 1]]


def test_maps_of_probability_are_restored_too():
    original = sitk.Cast(label_image("RAS"), sitk.sitkFloat32) / 3
    window, place = crop(original, "LPS", (1, 2, 3), (4, 3, 2), True)
    restored = restore(window, place)
    assert restored.GetPixelID() == original.GetPixelID()
    whole, kept = sitk.GetArrayFromImage(original), sitk.GetArrayFromImage(restored)
    assert np.array_equal(kept[kept > 0], whole[kept > 0])
    assert kept.sum() == pytest.approx(sitk.GetArrayFromImage(window).sum())


def test_prediction_on_another_grid_is_refused():
    window, place = crop(label_image("LPS"), "LPS", (1, 1, 1), (4, 4, 4), False)
    window.SetOrigin((0.0, 0.0, 0.0))
    with pytest.raises(UserError, match="must lie on the grid of its converted scan"):
        restore(window, place)


def test_window_outside_the_scan_is_refused():
    window, place = crop(label_image("LPS"), "LPS", (1, 1, 1), (4, 4, 4), False)
    wrong = Placement(**{**vars(place.placement), "start_xyz": (-1, 0, 0)})
    with pytest.raises(UserError, match="must lie in the scan"):
        restore(window, Place(place.grid, wrong))


def load_cropped(scan):
    """Turn to LPS, cut a window and mirror it."""
    image = sitk.ReadImage(str(scan.images[0]))
    window, place = crop(image, "LPS", (1, 1, 0), (2, 3, 4), True)
    return Loaded((window,), side="right", placement=place.placement)


@pytest.fixture
def converted(scans, tmp_path):
    """Scans a and b converted to a folder: cropped and mirrored."""
    convert_scans(
        [Scan(case, (scans / "images" / f"{case}.nii.gz",)) for case in "ab"], load_cropped, tmp_path / "converted", pictures=False
    )
    return tmp_path / "converted"


@pytest.fixture
def predictions(converted, tmp_path):
    """What a perfect model predicts: bone where the converted scan is above 0 HU."""
    (tmp_path / "predictions").mkdir()
    for case in "ab":
        image = sitk.ReadImage(str(converted / f"{case}_0000.nii.gz"))
        sitk.WriteImage(image > 0, str(tmp_path / "predictions" / f"{case}.nii.gz"))
    (tmp_path / "predictions" / "dataset.json").write_text("{}")  # nnU-Net leaves such files too
    return tmp_path / "predictions"


def restore_command(predictions, converted, *more):
    output = predictions.parent / "restored"
    return main(["restore", "-i", str(predictions), "-c", str(converted), "-o", str(output), "--processes", "1", *more]), output


def test_command_restores_a_folder(predictions, converted, scans, capsys):
    status, output = restore_command(predictions, converted)
    assert status == 0
    assert sorted(path.name for path in output.iterdir()) == ["a.nii.gz", "b.nii.gz"]
    for case in "ab":
        restored, original = (sitk.ReadImage(str(folder / f"{case}.nii.gz")) for folder in (output, scans / "images"))
        np.testing.assert_allclose(restored.TransformIndexToPhysicalPoint((3, 4, 5)), original.TransformIndexToPhysicalPoint((3, 4, 5)))
        voxels, bone = sitk.GetArrayFromImage(restored), sitk.GetArrayFromImage(original) > 0
        turned = oriented_view(voxels, original.GetDirection(), "LPS")[0:4, 1:4, 1:3]
        assert np.array_equal(turned, oriented_view(bone, original.GetDirection(), "LPS")[0:4, 1:4, 1:3])
        assert voxels.sum() == turned.sum()


def test_results_in_the_way_are_kept(predictions, converted, capsys):
    restore_command(predictions, converted)
    assert restore_command(predictions, converted)[0] == 2
    assert "--overwrite" in capsys.readouterr().err
    assert restore_command(predictions, converted, "--overwrite")[0] == 0


def test_missing_predictions_are_named(predictions, converted, capsys):
    (predictions / "b.nii.gz").unlink()
    assert restore_command(predictions, converted)[0] == 0
    assert "no prediction for 1 converted cases: b" in capsys.readouterr().out


def test_unknown_predictions_are_refused(predictions, converted, capsys):
    (predictions / "b.nii.gz").rename(predictions / "c.nii.gz")
    status, output = restore_command(predictions, converted)
    assert status == 2
    assert "'c'" in capsys.readouterr().err
    assert not output.exists()


def test_one_bad_prediction_does_not_stop_the_others(predictions, converted, capsys):
    (predictions / "a.nii.gz").write_bytes(b"hello")
    status, output = restore_command(predictions, converted)
    assert status == 1
    assert [path.name for path in output.iterdir()] == ["b.nii.gz"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("failed a: ")
    assert lines[1] == "error: 1 of 2 predictions were refused"


def test_folder_that_is_no_conversion_is_refused(predictions, scans, capsys):
    assert restore_command(predictions, scans / "images")[0] == 2
    assert "correct -c" in capsys.readouterr().err


def test_prediction_of_a_scan_with_its_own_grid_is_copied(convert, raw, scans):
    assert convert(labels=None) == 0
    status, output = restore_command(scans / "labels", raw / "Dataset101_A")
    assert status == 0
    assert (output / "a.nii.gz").read_bytes() == (scans / "labels" / "a.nii.gz").read_bytes()


def test_placements_say_where_each_case_lies(raw, scans):
    dataset = DatasetSpecification(101, "A", ("CT",), {"background": 0})
    convert_scans([Scan("a", (scans / "images" / "a.nii.gz",))], load_cropped, dataset, pictures=False)
    place = json.loads((dataset.folder / "conversion" / "placements.json").read_text())["a"]
    assert place["grid"]["size"] == [2, 3, 4]
    assert place["placement"]["size_xyz"] == [4, 5, 6]
    assert place["placement"]["mirrored"] is True
