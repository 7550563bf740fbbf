"""Scanco AIM and ISQ files: stored voxels, grid and calibration, read with itk-ioscanco.

itk-ioscanco 1.0 turns voxels into HU while it reads: cut to whole numbers towards zero, with 0.7033 / cm for water where the file says
nothing, and in masks too (127 becomes 89). So its conversion is switched off here and the stored values are calibrated afterwards. It also
misreads frames of invalid voxels in compressed files, packed bits and floats; these are refused.
"""

import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.conversion.scanco_calibration import Calibration
from nnunet_da.errors import UserError

SUFFIX = re.compile(r"\.(aim|isq)(;\d+)?$", re.IGNORECASE)  # the scanner's computer numbers the versions of a file: D01.AIM;2
ISQ_START, AIM030_START = b"CTDATA-HEADER_V1", b"AIMDATA_V030   \0"
AIM_TYPES = {  # stored as: compressed?
    0x00010001: False,  # char
    0x00160001: False,  # unsigned char
    0x000D0001: False,  # unsigned char
    0x00020002: False,  # short
    0x00150001: True,  # two values, run lengths
    0x00080002: True,  # char, run lengths
}
TYPE_16_BIT = 0x00020002
NO_CALIBRATION = Calibration(0.0, None, None, None, "")


@dataclass(frozen=True)
class Header:
    """Grid and calibration of a file; sizes and positions are x, y, z, millimetres.

    Attributes:
        frame_xyz: voxels at each border that the scanner's software marks as invalid.
    """

    size_xyz: tuple[int, int, int]
    spacing_mm_xyz: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    calibration: Calibration
    frame_xyz: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class _Layout:
    """What the reader leaves out: kind of file, type of voxels, frame, and the header as text."""

    suffix: str
    data_type: int
    frame_xyz: tuple[int, int, int]
    text: bytes


def is_scanco(path: Path) -> bool:
    """By name: D0001234.AIM, c01.isq or D0001234.AIM;1."""
    return SUFFIX.search(path.name) is not None


def read_header(path: Path) -> Header:
    """Read all but the voxels.

    Raises:
        UserError: no AIM of version 020 or 030 and no ISQ, damaged, or a kind of voxels that cannot be read rightly.
    """
    layout = _layout(path)
    with _Reader(path, layout.suffix, "SS") as reader:
        return _header(reader, layout)


def read_stored(path: Path, *, mask: bool) -> tuple[Header, np.ndarray]:
    """Read the voxels (Z, Y, X) as they are stored: int16 of a scan, uint8 of a mask.

    Raises:
        UserError: as `read_header`, a truncated file, or a scan whose voxels are not 16 bit.
    """
    layout = _layout(path)
    if not mask and layout.data_type != TYPE_16_BIT:
        raise UserError(f"a scan must have voxels of 16 bit, {path} has others: is it a mask? Give masks with -l or --mask")
    with _Reader(path, layout.suffix, "UC" if mask else "SS") as reader:
        header = _header(reader, layout)
        return header, reader.voxels()


class _Reader:
    """One pass of itk-ioscanco over a file, under a name it accepts; its errors become one line."""

    def __init__(self, path: Path, suffix: str, pixel: str):
        self._path, self._suffix, self._pixel = path, suffix, pixel

    def __enter__(self) -> "_Reader":
        itk = _itk()
        self._folder = tempfile.TemporaryDirectory()
        link = Path(self._folder.name, f"scan{self._suffix}")
        link.symlink_to(self._path.resolve())
        self.io = itk.ScancoImageIO.New()
        self._reader = itk.ImageFileReader[itk.Image[getattr(itk, self._pixel), 3]].New()
        self._reader.SetImageIO(self.io)
        self._reader.SetFileName(str(link))
        try:
            self._guarded(self._reader.UpdateOutputInformation)
        except UserError:
            self._folder.cleanup()
            raise
        self.image = self._reader.GetOutput()
        self.metadata = {key: self.io.GetMetaDataDictionary()[key] for key in ("MuScaling", "MuWater", "RescaleSlope", "RescaleIntercept")}
        return self

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()

    def voxels(self) -> np.ndarray:
        self.io.SetMuScaling(1.0)  # switches its conversion to HU off
        self._guarded(self._reader.Update)
        return _itk().array_from_image(self.image)  # a copy: views dangle once the reader is gone

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except (RuntimeError, IndexError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1].removeprefix("ITK ERROR: ") if lines else "unknown reason"
            raise UserError(f"cannot read {self._path}: {reason}: it is truncated or damaged, copy it again") from None


def _itk() -> Any:
    try:
        import itk

        itk.ScancoImageIO  # noqa: B018 - loads the module
    except (ImportError, AttributeError):
        raise UserError("AIM and ISQ files need itk-ioscanco, which is not installed: pip install 'nnunet-da[hrpqct]'") from None
    return itk


def _header(reader: _Reader, layout: _Layout) -> Header:
    image, known = reader.image, reader.metadata
    size = tuple(int(image.GetLargestPossibleRegion().GetSize()[axis]) for axis in range(3))
    has_water, has_density = _has_calibration(layout)
    calibration = Calibration(
        float(known["MuScaling"]),
        float(known["MuWater"]) if has_water else None,
        float(known["RescaleSlope"]) if has_density else None,
        float(known["RescaleIntercept"]) if has_density else None,
        str(reader.io.GetRescaleUnits()),
    )
    spacing, origin = (tuple(float(value) for value in values) for values in (image.GetSpacing(), image.GetOrigin()))
    return Header(size, spacing, origin, calibration, layout.frame_xyz)  # type: ignore[arg-type]


def _has_calibration(layout: _Layout) -> tuple[bool, bool]:
    """Whether the file itself gives water and density: the reader fills in values of its own."""
    if layout.suffix == ".isq":
        found = b"Calibration     " in layout.text
        return found, found
    return b"HU: mu water" in layout.text, b"Density: slope" in layout.text and b"Density: intercept" in layout.text


def _layout(path: Path) -> _Layout:
    try:
        with path.open("rb") as file:
            start = file.read(512)
            layout = _isq_layout(start, file) if start.startswith(ISQ_START) else _aim_layout(path, start, file)
    except (struct.error, OverflowError):
        raise UserError(f"cannot read {path}: its header is truncated or damaged, copy it again") from None
    if layout.data_type not in AIM_TYPES:
        raise UserError(f"{path} stores voxels as type 0x{layout.data_type:08x}, which cannot be read: export it as char or short")
    if AIM_TYPES[layout.data_type] and any(layout.frame_xyz):
        raise UserError(f"{path} is compressed and has a frame of {layout.frame_xyz} voxels, which cannot be read: export it uncompressed")
    return layout


def _isq_layout(start: bytes, file: Any) -> _Layout:
    """The last number of the first block counts the blocks that follow before the voxels."""
    (blocks,) = struct.unpack_from("<i", start, 508)
    return _Layout(".isq", TYPE_16_BIT, (0, 0, 0), file.read(max(0, blocks) * 512))


def _aim_layout(path: Path, start: bytes, file: Any) -> _Layout:
    """Lengths of the parts, then a struct with type, position, size and frame, then the log as text."""
    is_030 = start.startswith(AIM030_START)
    if is_030:
        lengths, at, numbers, skipped = struct.unpack_from("<5q", start, 16), 16, "<3q", 12
    else:
        lengths, at, numbers, skipped = struct.unpack_from("<5i", start), 0, "<3i", 20
        if lengths[:2] != (20, 140):
            raise UserError(f"{path} is no AIM of version 020 or 030 and no ISQ, it starts with {start[:16]!r}: export it as one of these")
    at += lengths[0]
    (data_type,) = struct.unpack_from("<i", start, at + skipped)
    frame = struct.unpack_from(numbers, start, at + skipped + 4 + 2 * struct.calcsize(numbers))
    file.seek(at + lengths[1])
    return _Layout(".aim", data_type, frame, file.read(max(0, lengths[2])))
