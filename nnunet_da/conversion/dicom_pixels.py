"""Pixels of DICOM slices in HU: plain ones straight from the file, all others decoded by SimpleITK (GDCM)."""

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.dicom_headers import FARTHEST_HU, SliceHeader
from nnunet_da.errors import UserError

AIR_HU = -1024  # what a scanner stores for air; padding lies below
SLICES_AT_A_TIME = 16
INT16 = np.iinfo(np.int16)


def read_voxels(slices: list[SliceHeader]) -> tuple[np.ndarray, int]:
    """HU of a series: slope and intercept of each slice applied, declared padding made air.

    Args:
        slices: of equal size.

    Returns:
        Voxels (Z, Y, X) in the order of the slices, int16 where they fit, else int32, float32 where a slope or intercept has fractions;
        and how many were padding.

    Raises:
        UserError: names the file whose pixels cannot be decoded.
    """
    volume = np.empty((len(slices), slices[0].rows, slices[0].columns), np.int16)
    fractions = _has_fractions(slices)
    for start in range(0, len(slices), SLICES_AT_A_TIME):  # a few at a time: no second volume
        some = slices[start : start + SLICES_AT_A_TIME]
        for offset, plane in enumerate(_plain_planes(some, fractions) or _decoded_planes(some, fractions)):
            volume = volume.astype(np.promote_types(volume.dtype, _narrowest(plane, some[offset])), copy=False)
            volume[start + offset] = plane
    return volume, sum(_clear_padding(plane, header) for plane, header in zip(volume, slices, strict=True))


def _has_fractions(slices: list[SliceHeader]) -> bool:
    return any(number is not None and number != round(number) for header in slices for number in (header.slope, header.intercept))


def _plain_planes(slices: list[SliceHeader], fractions: bool) -> list[np.ndarray]:
    """HU of slices whose pixels stand in their files as plain 16-bit numbers; none where a single one takes a decoder."""
    if any(header.plain_pixels_at is None for header in slices):
        return []
    stored = [_stored(header) for header in slices]
    if not all(_within_bits(plane, header) for plane, header in zip(stored, slices, strict=True)):
        return []
    return [_rescaled(plane, header, fractions) for plane, header in zip(stored, slices, strict=True)]


def _stored(header: SliceHeader) -> np.ndarray:
    count, dtype = header.rows * header.columns, "<i2" if header.signed else "<u2"
    return np.fromfile(header.path, dtype, count, offset=header.plain_pixels_at or 0).reshape(header.rows, header.columns)


def _within_bits(stored: np.ndarray, header: SliceHeader) -> bool:
    """Old files keep an overlay in the bits that the pixels leave free; GDCM knows how to remove it."""
    largest = 1 << (header.stored_bits - header.signed)
    return bool(stored.max() < largest and stored.min() >= (-largest if header.signed else 0))


def _rescaled(stored: np.ndarray, header: SliceHeader, fractions: bool) -> np.ndarray:
    slope, intercept = 1.0 if header.slope is None else header.slope, header.intercept or 0.0
    if fractions:
        return (stored * slope + intercept).astype(np.float32)
    return stored.astype(np.int32) * int(slope) + int(intercept)


def _decoded_planes(slices: list[SliceHeader], fractions: bool) -> np.ndarray:
    return sitk.GetArrayFromImage(_read_slices(slices, _pixel_type(slices, fractions)))


def _pixel_type(slices: list[SliceHeader], fractions: bool) -> int:
    """SimpleITK takes the type of the first slice for all, which cuts off what others have beyond it."""
    if fractions:
        return sitk.sitkFloat32
    alike = len({(header.slope, header.intercept, header.stored_bits, header.signed) for header in slices}) == 1
    return sitk.sitkUnknown if alike else sitk.sitkInt32


def _read_slices(slices: list[SliceHeader], pixel_type: int) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(pixel_type)
    reader.SetFileNames([str(header.path) for header in slices])
    try:
        return reader.Execute()
    except RuntimeError:
        if len(slices) > 1:
            for header in slices:
                _read_slices([header], pixel_type)
        header = slices[0]
        raise UserError(
            f"cannot decode the pixels of {header.path}: damaged, or of a compression that SimpleITK does not know "
            f"(transfer syntax {_syntax_name(header)}): copy it again, or decompress it with dcmdjpeg or gdcmconv --raw"
        ) from None


def _narrowest(voxels: np.ndarray, header: SliceHeader) -> type:
    """int16 where the integers fit, else int32; float32 for other numbers."""
    if voxels.dtype == np.int16:
        return np.int16
    low, high = voxels.min(), voxels.max()
    if not -FARTHEST_HU <= low <= high <= FARTHEST_HU:
        raise UserError(f"HU lie within {FARTHEST_HU} of 0, {header.path} holds {low:g} to {high:g} after its rescale: export it again")
    if np.issubdtype(voxels.dtype, np.floating):
        return np.float32
    return np.int16 if INT16.min <= low and high <= INT16.max else np.int32


def _clear_padding(plane: np.ndarray, header: SliceHeader) -> int:
    """Make declared padding air, in place; the number of its voxels."""
    if header.padding_hu is None or header.padding_hu[0] >= AIR_HU:
        return 0
    padding = (plane >= header.padding_hu[0]) & (plane <= header.padding_hu[1]) & (plane < AIR_HU)
    plane[padding] = AIR_HU
    return int(padding.sum())


def _syntax_name(header: SliceHeader) -> str:
    from pydicom.uid import UID

    return UID(header.transfer_syntax).name
