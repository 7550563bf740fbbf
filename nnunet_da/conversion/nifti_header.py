"""What a NIfTI header says of the grid: ITK shows one of its two orientations, and turns a spacing of 0 into 1 mm."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from nnunet_da.conversion.nifti_voxels import BIG_ENDIAN_START, open_nifti

BYTES = 348
FIELDS = {  # name -> (type, byte), NIfTI-1
    "dim": ("8i2", 40),
    "pixdim": ("8f4", 76),
    "codes": ("2i2", 252),  # of qform and sform
    "quatern": ("3f4", 256),
    "qoffset": ("3f4", 268),
    "srow": ("(3,4)f4", 280),
    "magic": ("S3", 344),
}


@dataclass(frozen=True)
class NiftiHeader:
    """Grid of a NIfTI-1 file.

    Attributes:
        size, spacing_mm: of its first three axes, x, y, z.
        qform_code, sform_code: 0 where the file does not state that orientation.
        qform, sform: (3, 4), voxel indices to mm, RAS.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    qform_code: int
    sform_code: int
    qform: np.ndarray
    sform: np.ndarray


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a .nii, .nii.gz or .hdr, None for another format (Analyze, NIfTI as text)."""
    with open_nifti(path) as stream:
        start = stream.read(BYTES)
    if len(start) < BYTES:
        return None
    order = ">" if start.startswith(BIG_ENDIAN_START) else "<"
    names, formats, offsets = zip(*((name, _ordered(kind, order), at) for name, (kind, at) in FIELDS.items()), strict=True)
    fields = np.frombuffer(start, np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": BYTES}))[0]
    if fields["magic"] not in (b"n+1", b"ni1"):
        return None
    q_code, s_code = (int(code) for code in fields["codes"])
    size, spacing = tuple(fields["dim"][1:4].tolist()), tuple(fields["pixdim"][1:4].tolist())
    return NiftiHeader(size, spacing, q_code, s_code, _qform(fields), fields["srow"].astype(float))


def _ordered(kind: str, order: str) -> str:
    """A field's type with its byte order, which numpy wants behind the shape."""
    shape, element = kind[:-2], kind[-2:]
    return f"{shape}{order}{element}"


def _qform(fields: np.void) -> np.ndarray:
    """Rotation by the unit quaternion a, b, c, d; the third axis turned round where pixdim[0] is below 0."""
    imaginary = fields["quatern"].astype(float)
    real = np.sqrt(max(0.0, 1 - (imaginary**2).sum()))
    steps = fields["pixdim"][1:4] * [1, 1, -1 if fields["pixdim"][0] < 0 else 1]
    return np.column_stack([Rotation.from_quat([*imaginary, real]).as_matrix() * steps, fields["qoffset"].astype(float)])
