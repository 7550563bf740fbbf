"""Whether an image file says where left and right are: many formats need not, NIfTI may say it twice, and ITK guesses without a word."""

import re
from pathlib import Path

import numpy as np

from nnunet_da.conversion.nifti_header import NiftiHeader, read_nifti_header
from nnunet_da.errors import UserError

SAME_PLACE_VOXELS = 0.01  # headers are in single precision
HEADER_BYTES = 1 << 14
NEVER_SAY = (".tif", ".tiff", ".gipl", ".gipl.gz", ".vtk")
NRRD_SPACE = re.compile(rb"^space\s*:\s*[lr]", re.IGNORECASE | re.MULTILINE)  # "left-posterior-superior", "RAS"
META_AXES = re.compile(rb"^(TransformMatrix|Orientation|Rotation)\s*=", re.MULTILINE)
META_UNKNOWN = re.compile(rb"^AnatomicalOrientation\s*=\s*\?", re.MULTILINE)
UNKNOWN = "the file does not say which side is left: x, y, z are taken to grow to the patient's left, back and head"


def orientation_warnings(path: Path, sides_matter: bool = False) -> tuple[str, ...]:
    """What a person should know before trusting left and right of an image file.

    Args:
        path: an image that could be read.
        sides_matter: refuse a file that names two orientations, rather than warn.

    Raises:
        UserError: a NIfTI file whose two orientations point to different sides of the body.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".nia")):
        return _nifti_warnings(path, sides_matter)
    return () if _says_sides(name, path) else (UNKNOWN,)


def _says_sides(name: str, path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(HEADER_BYTES)
    if name.endswith((".nrrd", ".nhdr")):
        return bool(NRRD_SPACE.search(re.split(rb"\r?\n\r?\n", start)[0]))
    if name.endswith((".mha", ".mhd")):
        return bool(META_AXES.search(start)) and not META_UNKNOWN.search(start)
    return not name.endswith(NEVER_SAY)


def _nifti_warnings(path: Path, sides_matter: bool) -> tuple[str, ...]:
    header = read_nifti_header(path)
    if header is None or not (header.qform_code or header.sform_code):
        return (UNKNOWN,)
    if not (header.qform_code and header.sform_code):
        return ()
    apart = _largest_distance_voxels(header)
    if apart <= SAME_PLACE_VOXELS:
        return ()
    if sides_matter and _sides_differ(header):
        raise UserError(
            f"a scan must lie one way, but qform and sform of {path} point to different sides of the body, so that left and right are "
            "unknown: set the wrong one's code to 0"
        )
    return (f"qform and sform lie up to {apart:.3g} voxels apart: the sform counts, look at left and right",)


def _largest_distance_voxels(header: NiftiHeader) -> float:
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*np.subtract(header.size, 1), 1]
    distances = np.linalg.norm(corners @ (header.qform - header.sform).T, axis=1)
    return float(distances.max()) / min(header.spacing_mm)


def _sides_differ(header: NiftiHeader) -> bool:
    """Whether an axis of the file points the other way, or along another axis of the body."""
    ways = []
    for form in (header.qform, header.sform):
        axes = form[:, :3] / np.linalg.norm(form[:, :3], axis=0)
        ways.append(np.sign(axes) * (np.abs(axes) == np.abs(axes).max(axis=0)))
    return not np.array_equal(*ways)
