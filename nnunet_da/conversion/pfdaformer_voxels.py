"""Read an array or tensor of the PF-DAformer release, undo its padding, and give it its place in space."""

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.pfdaformer import ArraySettings
from nnunet_da.conversion.scan import Loaded, Placement, Scan
from nnunet_da.errors import UserError

PADDED_SIZE = 192  # voxels per axis, to which the release pads symmetrically or crops

VERSION = 1  # of the loaders here: raise it when they make something else


def load(scan: Scan) -> Loaded:
    """Read image and label of one case; `scan.settings` are its `ArraySettings`.

    Padding is undone where it can be told from anatomy: whole planes of zeros in image and label, on an axis of 192 voxels, as many on both
    sides (one more on one side where the number is odd). The padded grid is kept as the placement, for `restore`.

    Raises:
        UserError: Python objects inside, not one volume, other shapes, no whole label values, or nothing but zeros.
    """
    settings: ArraySettings = scan.settings
    image = read_volume(scan.images[0], settings.axes)
    label = _whole(scan.label, read_volume(scan.label, settings.axes)) if scan.label else None
    if label is not None and label.shape != image.shape:
        raise UserError(
            f"image and label must have one shape, {scan.images[0]} has {image.shape} and {scan.label} {label.shape}: pair them right"
        )
    padded = _placed(image, settings)
    mask = None if label is None else _placed(label, settings)
    if settings.keep_padding:
        return Loaded((padded,), mask)
    kept, findings = without_padding(image != 0 if label is None else (image != 0) | (label != 0), scan.images[0])
    kept_xyz = kept[::-1]
    removed = " ".join(f"{part.start}+{size - part.stop}" for part, size in zip(kept, image.shape, strict=True))
    return Loaded(
        (padded[kept_xyz],),
        None if mask is None else mask[kept_xyz],
        warnings=findings,
        notes={"padding_removed_zyx": removed},
        placement=_placement(padded, kept),
    )


def read_volume(path: Path, axes: str) -> np.ndarray:
    """Voxels (Z, Y, X) of a .npy or .pt file; integers and whole numbers as int16 where they fit, others as float32.

    Args:
        path: one volume, with or without a leading channel axis of 1.
        axes: what its axes are.

    Raises:
        UserError: Python objects, several channels, no real numbers, NaN or infinity, or a damaged file.
    """
    voxels = _numpy_array(path) if path.suffix == ".npy" else _tensor(path)
    if voxels.ndim == 4 and voxels.shape[0] == 1:
        voxels = voxels[0]
    if voxels.ndim != 3 or voxels.size == 0:
        raise UserError(f"expected one volume, (1, Z, Y, X) or (Z, Y, X), {path} has the shape {voxels.shape}: save one volume per file")
    if voxels.dtype.kind not in "biuf" or (voxels.dtype.kind == "f" and not np.isfinite(voxels).all()):
        raise UserError(f"a volume must hold finite real numbers, {path} holds {voxels.dtype} with others among them: save it again")
    return _narrow(voxels.transpose([axes.index(axis) for axis in "zyx"]))


def without_padding(content: np.ndarray, path: Path) -> tuple[tuple[slice, ...], tuple[str, ...]]:
    """What is left of each axis when symmetric padding to 192 voxels is undone, and a warning where zeros remain.

    Args:
        content: (Z, Y, X), True where image or label is not 0.
        path: for the error.

    Raises:
        UserError: no voxel is True.
    """
    if not content.any():
        raise UserError(f"a volume must show something, {path} holds nothing but zeros: save it again")
    kept, findings = [], []
    for axis, name in enumerate("zyx"):
        size = content.shape[axis]
        filled = np.flatnonzero(content.any(axis=tuple({0, 1, 2} - {axis})))
        before, after = int(filled[0]), size - 1 - int(filled[-1])
        cut_before, cut_after = symmetric_part(before, after) if size == PADDED_SIZE else (0, 0)
        kept.append(slice(cut_before, size - cut_after))
        if size == PADDED_SIZE and (before, after) != (cut_before, cut_after):
            findings.append(
                f"{before} and {after} planes of zeros along {name}: only {cut_before} and {cut_after} can be symmetric padding"
            )
    return tuple(kept), tuple(findings)


def symmetric_part(before: int, after: int) -> tuple[int, int]:
    """How many planes of zeros on the two sides symmetric padding explains: as many on both, or one more where one side has more.

    >>> symmetric_part(60, 60), symmetric_part(60, 61), symmetric_part(60, 70)
    ((60, 60), (60, 61), (60, 61))
    """
    fewer = min(before, after)
    return min(before, fewer + 1), min(after, fewer + 1)


def _numpy_array(path: Path) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
    except Exception as error:  # damaged files fail in many ways, objects with a ValueError before they are opened
        raise UserError(
            f"expected an array of numbers, {path} is damaged or holds Python objects, which are never loaded ({error})"
        ) from None
    if not isinstance(content, np.ndarray):
        content.close()
        raise UserError(f"expected one array, {path} is an archive: save it with numpy.save")
    return content


def _tensor(path: Path) -> np.ndarray:
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # on unusual pickles, which are then refused
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the reasons torch gives advise loading it unsafely
        raise UserError(
            f"expected a tensor, {path} is damaged or holds Python objects, which are never loaded: save the tensor alone"
        ) from None
    if not isinstance(content, torch.Tensor) or content.layout != torch.strided or content.is_complex():
        raise UserError(f"expected a plain tensor of real numbers, {path} holds a {type(content).__name__}: save the tensor alone")
    content = content.detach()
    return (content.float() if content.dtype in (torch.float16, torch.bfloat16) else content).numpy()


def _narrow(voxels: np.ndarray) -> np.ndarray:
    """The smallest of int16, int32 and float32 that keeps the values; float64 loses what float32 cannot hold."""
    is_whole = voxels.dtype.kind in "biu" or (voxels == np.round(voxels)).all()
    fitting = (
        kind for kind in (np.int16, np.int32) if is_whole and np.iinfo(kind).min <= voxels.min() and voxels.max() <= np.iinfo(kind).max
    )
    return np.ascontiguousarray(voxels, dtype=next(fitting, np.float32))


def _whole(path: Path, voxels: np.ndarray) -> np.ndarray:
    if voxels.dtype.kind == "f":
        raise UserError(
            f"a label must hold whole numbers, {path} has others, such as {voxels[voxels != np.round(voxels)][:1]}: save it again"
        )
    return voxels


def _placed(voxels: np.ndarray, settings: ArraySettings) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(settings.spacing_mm[::-1])
    image.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(settings.orientation))
    return image


def _placement(padded: sitk.Image, kept: tuple[slice, ...]) -> Placement:
    z, y, x = (part.start for part in kept)
    return Placement(padded.GetSize(), padded.GetSpacing(), padded.GetOrigin(), padded.GetDirection(), start_xyz=(x, y, z))
