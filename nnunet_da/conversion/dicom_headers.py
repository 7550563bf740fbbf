"""What a DICOM header says of one slice; what no volume can be made of is refused by file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.errors import UserError

KEYWORDS = (
    "SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "LossyImageCompression",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
STEEPEST, FARTHEST_HU = 1000, 100_000  # slope and intercept beyond these give no HU, but numbers that do not fit the voxels
PLAIN_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")  # implicit and explicit, little endian


@dataclass(frozen=True)
class SliceHeader:
    """One slice of a scan.

    Attributes:
        position_mm, row_direction, column_direction: of the centre of its first pixel, and along rows and columns; LPS.
        pixel_mm: between columns (x), between rows (y).
        columns, rows: size.
        stored_bits, signed: how values are stored.
        slope, intercept: stored value -> HU; None where the file has no rescale.
        plain_pixels_at: byte of the file at which uncompressed 16-bit pixels begin, None where they take a decoder.
        padding_hu: lowest and highest value that is declared to be no image, after rescaling; None where none is declared.
    """

    path: Path
    modality: str
    series_uid: str
    series_name: str
    frame_of_reference: str
    position_mm: tuple[float, float, float]
    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]
    pixel_mm: tuple[float, float]
    columns: int
    rows: int
    stored_bits: int
    signed: bool
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding_hu: tuple[float, float] | None
    lossy: bool
    transfer_syntax: str
    plain_pixels_at: int | None = None

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.row_direction, self.column_direction)


@dataclass(frozen=True)
class BadSlice:
    """A slice no volume can hold; a mistake only if its series is the one that is wanted."""

    path: Path
    series_uid: str
    series_name: str
    reason: str


def series_name(dataset: Any) -> str:
    """What a person calls the series."""
    return str(dataset.get("SeriesDescription") or f"series {dataset.get('SeriesNumber', '?')}")


def slice_header(path: Path, dataset: Any) -> SliceHeader:
    """Check and keep what a volume needs.

    Args:
        path: for the messages.
        dataset: pydicom's, with `KEYWORDS`.

    Raises:
        UserError: several frames, colour, no place in space, no HU.
        AttributeError, KeyError, TypeError, ValueError: a damaged or incomplete header.
    """
    _refuse_wrong_kind(path, dataset)
    row, column = _directions(path, dataset)
    between_rows, between_columns = _numbers(dataset, "PixelSpacing", 2)
    slope, intercept = _rescale(path, dataset)
    return SliceHeader(
        path=path,
        modality=str(dataset.get("Modality", "")),
        series_uid=str(dataset.SeriesInstanceUID),
        series_name=series_name(dataset),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        position_mm=position_mm(dataset),
        row_direction=row,
        column_direction=column,
        pixel_mm=(between_columns, between_rows),
        columns=int(dataset.Columns),
        rows=int(dataset.Rows),
        stored_bits=int(dataset.get("BitsStored", dataset.BitsAllocated)),
        signed=int(dataset.PixelRepresentation) == 1,
        slope=slope,
        intercept=intercept,
        rescale_type=str(dataset.get("RescaleType") or "HU"),
        padding_hu=_padding_hu(dataset, slope, intercept),
        lossy=str(dataset.get("LossyImageCompression", "00")) == "01",
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
    )


def _refuse_wrong_kind(path: Path, dataset: Any) -> None:
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise UserError(f"expected one slice per DICOM file, {path} has {dataset.NumberOfFrames} frames: split it, or export it as NIfTI")
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise UserError(f"expected grey values, {path} is in colour ({dataset.SamplesPerPixel} values per pixel): export the original scan")
    if "ModalityLUTSequence" in dataset:
        raise UserError(f"expected HU as slope and intercept, {path} has a look-up table in their place: export the original scan")
    missing = [name for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if not dataset.get(name)]
    if missing:
        raise UserError(
            f"a slice needs its place in space, {path} lacks {', '.join(missing)}: export the original scan, no scout or capture"
        )


def has_plain_pixels(dataset: Any) -> bool:
    """Whether pixels are little-endian 16-bit grey values without compression."""
    return (
        dataset.file_meta.TransferSyntaxUID in PLAIN_SYNTAXES
        and dataset.BitsAllocated == 16
        and dataset.HighBit == dataset.BitsStored - 1
        and dataset.PhotometricInterpretation == "MONOCHROME2"
    )


def position_mm(dataset: Any) -> tuple[float, float, float]:
    """Of the centre of the first pixel, LPS.

    Raises:
        KeyError, TypeError, ValueError: none, or no three finite numbers.
    """
    x, y, z = _numbers(dataset, "ImagePositionPatient", 3)
    return x, y, z


def _directions(path: Path, dataset: Any) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    values = _numbers(dataset, "ImageOrientationPatient", 6)
    row, column = values[:3], values[3:]
    lengths_and_product = [np.linalg.norm(row), np.linalg.norm(column), 1 + np.dot(row, column)]
    if not np.allclose(lengths_and_product, 1, atol=1e-3):
        raise UserError(f"row and column directions must be of length 1 and at right angles, got {values} in {path}: export it again")
    return (row[0], row[1], row[2]), (column[0], column[1], column[2])


def _rescale(path: Path, dataset: Any) -> tuple[float | None, float | None]:
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is None and intercept is None:
        return None, None
    if slope is None or intercept is None or not (0 < abs(float(slope)) <= STEEPEST and abs(float(intercept)) <= FARTHEST_HU):
        raise UserError(
            f"HU need a slope other than 0 (at most {STEEPEST}) and an intercept (at most {FARTHEST_HU}), {path} has slope {slope}, "
            f"intercept {intercept}: export it again"
        )
    return float(slope), float(intercept)


def _padding_hu(dataset: Any, slope: float | None, intercept: float | None) -> tuple[float, float] | None:
    if dataset.get("PixelPaddingValue") is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    stored = [_stored(value, dataset) for value in (dataset.PixelPaddingValue, dataset.PixelPaddingValue if limit is None else limit)]
    in_hu = sorted(value * (1.0 if slope is None else slope) + (intercept or 0.0) for value in stored)
    return in_hu[0], in_hu[1]


def _stored(value: int, dataset: Any) -> int:
    """A padding value as the pixels mean it: some writers store it unsigned where the pixels are signed."""
    bits = int(dataset.BitsAllocated)
    return int(value) - (1 << bits) if int(dataset.PixelRepresentation) == 1 and value >= 1 << (bits - 1) else int(value)


def _numbers(dataset: Any, keyword: str, count: int) -> list[float]:
    values = [float(value) for value in dataset[keyword].value]
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{keyword} must be {count} finite numbers, got {values}")
    if keyword == "PixelSpacing" and min(values) <= 0:
        raise ValueError(f"PixelSpacing must be above 0, got {values}")
    return values
