"""A DICOM series as a volume in HU, its geometry checked: pydicom's headers show what ITK hides."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_da.conversion.dicom_files import by_series, headers_of
from nnunet_da.conversion.dicom_geometry import stacked
from nnunet_da.conversion.dicom_headers import BadSlice, SliceHeader
from nnunet_da.conversion.dicom_pixels import read_voxels
from nnunet_da.conversion.images import native_stderr_silenced
from nnunet_da.errors import UserError


@dataclass(frozen=True)
class DicomSeries:
    """A volume and what its headers tell.

    Attributes:
        image: HU, int16 where they fit, float32 where slope or intercept is no integer.
        name: the series' description.
        frame_of_reference: UID that masks of the scan share; "" where the files have none.
        padding_voxels: how many were declared to be no image and are now air.
        warnings: worth a person's look.
    """

    image: sitk.Image
    name: str
    frame_of_reference: str
    padding_voxels: int
    warnings: tuple[str, ...]


def read_series(source: Path | Sequence[Path], series: str | None = None) -> sitk.Image:
    """The volume of `read_dicom`, for formats that need no more."""
    return read_dicom(source, series).image


def read_dicom(source: Path | Sequence[Path], series: str | None = None) -> DicomSeries:
    """Read one series, in HU, its geometry checked.

    Rescale slope and intercept are applied slice by slice. Voxels declared as padding (PixelPaddingValue) become -1024 HU where they lie
    below that: they are no measurement. A declared padding value that tissue can have is left alone.

    Args:
        source: a folder (sub-folders included) or files.
        series: description (or a part of it) or UID, where there are several series.

    Raises:
        UserError: names the file or the series that cannot be read, and why.
    """
    headers = headers_of(source)
    slices, spacing_mm = stacked(choose_series(headers.slices, series, source))
    with native_stderr_silenced():
        voxels, padding_voxels = read_voxels(slices)
    volume = sitk.GetImageFromArray(voxels)
    first = slices[0]
    volume.SetOrigin(first.position_mm)
    volume.SetSpacing((*first.pixel_mm, spacing_mm))
    volume.SetDirection(np.column_stack([first.row_direction, first.column_direction, first.normal]).ravel().tolist())
    return DicomSeries(volume, first.series_name, first.frame_of_reference, padding_voxels, tuple(_warnings(slices, headers.passed_over)))


def choose_series(headers: Sequence[SliceHeader | BadSlice], series: str | None, source: Path | Sequence[Path]) -> list[SliceHeader]:
    """Slices of the one series there is, or of the one that is asked for.

    Raises:
        UserError: none or several, or a slice in it that no volume can hold.
    """
    found = list(by_series(headers))
    wanted = [group for group in found if series is None or _answers_to(group[0], series)]
    if len(wanted) == 1:
        return list(map(_usable, wanted[0]))
    listed = "; ".join(f"'{group[0].series_name}' ({len(group)} slices, UID {group[0].series_uid})" for group in found)
    asked = f" that answers to '{series}'" if series else ""
    where = source if isinstance(source, Path) else found[0][0].path.parent
    raise UserError(f"expected one DICOM series{asked} in {where}, found {len(wanted)} among: {listed}: choose one with --series")


def _usable(header: SliceHeader | BadSlice) -> SliceHeader:
    if isinstance(header, BadSlice):
        raise UserError(header.reason)
    return header


def _answers_to(header: SliceHeader | BadSlice, series: str) -> bool:
    return series == header.series_uid or series.lower() in header.series_name.lower()


def _warnings(slices: list[SliceHeader], passed_over: list[Path]) -> list[str]:
    rescales = {(header.slope, header.intercept) for header in slices}
    unit = slices[0].rescale_type
    first = passed_over[0].name if passed_over else ""
    findings = {
        f"modality is {slices[0].modality or 'not given'}, not CT": slices[0].modality != "CT",
        "no rescale slope and intercept: stored values are taken as HU": (None, None) in rescales,
        f"slices differ in rescale slope or intercept ({len(rescales)} pairs): each has its own applied": len(rescales) > 1,
        f"rescaled values are declared as '{unit}', not HU": unit.upper() not in ("HU", "US"),
        "negative rescale slope: values are turned round": any((header.slope or 1) < 0 for header in slices),
        f"{len(passed_over)} file(s) passed over that are no DICOM, such as {first}": bool(passed_over),
        "lossy compression: HU are not the scanner's": any(header.lossy for header in slices),
    }
    return [text for text, holds in findings.items() if holds]
