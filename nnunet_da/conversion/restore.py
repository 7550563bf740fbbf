"""Put what was predicted on converted scans back onto their original grid: crop, mirror and orientation undone, every voxel exact."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from nnunet_da.conversion.cases import files_by_stem
from nnunet_da.conversion.dataset import FILE_ENDING
from nnunet_da.conversion.images import GRID_TOLERANCE_VOXELS, Grid, grid_of, grid_offset_voxels, read_image
from nnunet_da.conversion.orientation import oriented_view
from nnunet_da.conversion.scan import Placement
from nnunet_da.conversion.standing import PLACEMENTS
from nnunet_da.conversion.written import write_nifti
from nnunet_da.errors import UserError
from nnunet_da.evaluation.workers import each
from nnunet_da.outputs import check_output


@dataclass(frozen=True)
class Place:
    """The grid a case was converted to, and where that lies on its original one; None where they are the same."""

    grid: Grid
    placement: Placement | None


@dataclass(frozen=True)
class Restoration:
    """How it ended: where, cases restored, cases of the conversion without a prediction, case -> why it was refused."""

    folder: Path
    done: tuple[str, ...]
    missing: tuple[str, ...]
    failed: dict[str, str]


def restore_folder(predictions: Path, converted: Path, output: Path, *, overwrite: bool = False, processes: int = 1) -> Restoration:
    """Restore every prediction of a folder.

    Args:
        predictions: images named like the cases: label maps, or maps of probabilities.
        converted: the dataset or folder that `convert` made.
        output: gets CASE.nii.gz; grid and orientation are the original scan's, the type is the prediction's.
        overwrite: replace files of an earlier run.
        processes: cases at a time.

    Raises:
        UserError: nothing to restore, a prediction of a case that was not converted, results in the way, or a full disk.
    """
    places = read_places(converted)
    files = files_by_stem(str(predictions))
    unknown = sorted(files.keys() - places.keys())
    if unknown:
        raise UserError(
            f"every prediction must be named like a case of {converted}, '{unknown[0]}' in {predictions} is none ({len(unknown)} in all):"
            " name the folder these scans were converted to with -c"
        )
    check_output(output, [f"{case}{FILE_ENDING}" for case in files], overwrite)
    output.mkdir(parents=True, exist_ok=True)
    jobs = [(case, file, places[case], output / f"{case}{FILE_ENDING}") for case, file in files.items()]
    failed = _restore_all(jobs, processes)
    done = tuple(case for case in files if case not in failed)
    return Restoration(output, done, tuple(sorted(places.keys() - files.keys())), failed)


def read_places(converted: Path) -> dict[str, Place]:
    """Case -> where it lies.

    Raises:
        UserError: the folder is no conversion, or an unfinished one.
    """
    file = converted / PLACEMENTS
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {case: _place(of_case) for case, of_case in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"-c must name a dataset or folder that `nnunet-da convert` finished, {file} cannot be read ({type(error).__name__}): "
            "correct -c, or convert again"
        ) from None


def restore(prediction: sitk.Image, place: Place) -> sitk.Image:
    """One prediction on the original grid, 0 outside the window that was converted.

    Args:
        prediction: on the converted grid, any type of voxel; its own geometry is checked, then replaced.
        place: of its case.

    Raises:
        UserError: the prediction lies on another grid, or the window does not fit the original scan.
    """
    refuse_other_place(prediction, place)
    placement = place.placement
    if placement is None:
        return prediction
    voxels = sitk.GetArrayViewFromImage(prediction)
    whole = np.zeros(placement.size_xyz[::-1], voxels.dtype)
    window = _window(oriented_view(whole, placement.direction, placement.orientation), placement, voxels.shape)
    window[...] = voxels[:, :, ::-1] if placement.mirrored else voxels
    restored = sitk.GetImageFromArray(whole)
    restored.SetSpacing(placement.spacing_mm_xyz)
    restored.SetOrigin(placement.origin_mm_xyz)
    restored.SetDirection(placement.direction)
    return restored


def refuse_other_place(prediction: sitk.Image, place: Place) -> None:
    """Raises UserError unless the prediction lies on its case's converted grid."""
    if grid_offset_voxels(place.grid, prediction) > GRID_TOLERANCE_VOXELS:
        raise UserError(
            f"a prediction must lie on the grid of its converted scan, {place.grid}, got {grid_of(prediction)}:"
            " predict from the converted scan"
        )


def _window(turned: np.ndarray, placement: Placement, shape: Sequence[int]) -> np.ndarray:
    """The part of the whole scan, in the orientation it was cropped in, that was converted."""
    starts = placement.start_xyz[::-1]
    if any(start < 0 or start + size > whole for start, size, whole in zip(starts, shape, turned.shape, strict=True)):
        raise UserError(
            f"the window of {tuple(shape)} voxels at {tuple(starts)} (Z, Y, X) must lie in the scan of {turned.shape}: convert again"
        )
    return turned[tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))]


def _restore_all(jobs: list[tuple[str, Path, Place, Path]], processes: int) -> dict[str, str]:
    failed: dict[str, str] = {}
    with tqdm(total=len(jobs), desc="restoring", unit="case", disable=None) as bar:
        for (case, *_), outcome in each(_restore_file, jobs, processes):
            reason = outcome()
            if reason:
                failed[case] = reason
            bar.update()
    return failed


def _restore_file(job: tuple[str, Path, Place, Path]) -> str:
    """Restore one file; returns why it was refused, or ""."""
    _, file, place, output = job
    try:
        prediction = read_image(file, (2, 3))
        restored = restore(prediction, place)
    except UserError as error:
        return str(error)
    as_it_is = place.placement is None and file.name.endswith(FILE_ENDING)
    _write_whole(output, partial(shutil.copyfile, file) if as_it_is else partial(write_nifti, restored))
    return ""


def _write_whole(output: Path, write: Callable[[Path], Any]) -> None:
    """Write to a temporary name, verify, rename."""
    part = output.with_name(f".part-{output.name}")  # its ending tells ITK the format
    try:
        write(part)
        part.replace(output)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror or error}): make room there, then run the command again with --overwrite"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _place(content: Mapping[str, Any]) -> Place:
    placement = content["placement"]
    return Place(Grid(**_tuples(content["grid"])), None if placement is None else Placement(**_tuples(placement)))


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
