"""Damage in NIfTI files that ITK hides: it fills missing voxels with whatever is in memory and turns NaN and infinity into 0."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nnunet_da.errors import UserError

BLOCK_BYTES = 1 << 22  # whole float64 voxels
FLOAT_TYPES = {16: "f4", 64: "f8"}  # NIfTI's datatype codes
BIG_ENDIAN_START = b"\x00\x00\x01\x5c"  # a header starts with its length, 348


def refuse_damaged_nifti(path: Path, header: Mapping[str, str]) -> None:
    """Read the stored voxels of a NIfTI file to their end.

    Args:
        path: .nii, .nii.gz or .hdr.
        header: ITK's metadata of the file.

    Raises:
        UserError: fewer bytes than the header promises, a broken checksum, or NaN or infinite voxels.
    """
    data_path = _data_path(path)
    voxels = int(np.prod([int(header[f"dim[{axis}]"]) for axis in range(1, 1 + int(header["dim[0]"]))], dtype=np.int64))
    expected = voxels * int(header["bitpix"]) // 8
    try:
        with open_nifti(data_path) as stream:
            stream.read(int(float(header["vox_offset"])))
            found, broken = _measure(_blocks(stream), expected, _float_type(path, int(header["datatype"])))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"the file {data_path} is truncated or damaged ({error}): copy or export it again") from None
    if found < expected:
        raise UserError(
            f"the file {data_path} is truncated: its header promises {expected} bytes of voxels, it holds {found}: copy it again"
        )
    if broken:
        raise UserError(f"an image must hold finite values, {path} has {broken} NaN or infinite voxels: export or mask it again")


def _measure(blocks: Iterator[bytes], expected: int, float_type: np.dtype | None) -> tuple[int, int]:
    """Bytes found, and voxels among the expected bytes that are not finite."""
    found = broken = 0
    for block in blocks:
        voxels = block[: max(0, expected - found)]
        if float_type is not None:
            values = np.frombuffer(voxels, float_type, len(voxels) // float_type.itemsize)
            broken += values.size - int(np.isfinite(values).sum())
        found += len(block)
    return found, broken


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The rest of a stream; reading a gzip stream to its end also checks its checksum."""
    return iter(lambda: stream.read(BLOCK_BYTES), b"")


def _float_type(path: Path, datatype: int) -> np.dtype | None:
    if datatype not in FLOAT_TYPES:
        return None
    with open_nifti(path) as stream:
        order = ">" if stream.read(4) == BIG_ENDIAN_START else "<"
    return np.dtype(order + FLOAT_TYPES[datatype])


def _data_path(path: Path) -> Path:
    """The file with the voxels: the .img beside a .hdr, else the file itself."""
    if path.suffix.lower() != ".hdr":
        return path
    candidates = [path.with_suffix(suffix) for suffix in (".img", ".img.gz", ".IMG")]
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def open_nifti(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where they are packed, whatever its name."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]
