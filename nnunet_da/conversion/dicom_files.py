"""DICOM files of a folder and their headers, read without the pixels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunet_da.conversion.dicom_headers import KEYWORDS, BadSlice, SliceHeader, has_plain_pixels, position_mm, series_name, slice_header
from nnunet_da.errors import UserError

NOT_SCANS = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "REG", "SR", "PR", "KO", "FID", "DOC")  # modalities that lie beside a scan
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
IMPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
POSITION = 0x00200032  # ImagePositionPatient


def import_pydicom() -> ModuleType:
    """pydicom, an optional package.

    Raises:
        UserError: not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UserError(f"reading DICOM needs the package pydicom, which is missing ({error}): pip install 'nnunet-da[dicom]'") from None
    return pydicom


def dicom_files(source: Path | Sequence[Path]) -> list[Path]:
    """Files of a folder and its sub-folders, hidden ones and DICOMDIR left out; a file or a sequence of files as it is."""
    if not isinstance(source, Path):
        return sorted(source)
    if source.is_file():
        return [source]
    found = (Path(folder) / name for folder, _, names in os.walk(source) for name in names)
    return sorted(path for path in found if not path.name.startswith(".") and path.name.upper() != "DICOMDIR")


def headers_of(source: Path | Sequence[Path]) -> list[SliceHeader | BadSlice]:
    """Headers of every slice; files that are not DICOM, and DICOM objects that are no image, are passed over.

    Raises:
        UserError: no slice at all, or a damaged file.
    """
    reader = _HeaderReader()
    headers = [header for path in dicom_files(source) if (header := reader.read(path)) is not None]
    if not headers:
        shown = source if isinstance(source, Path) else f"{len(source)} files"
        raise UserError(f"expected a DICOM series in {shown}, found no file of one: name the folder that holds the slices")
    return headers


def by_series(headers: Sequence[SliceHeader | BadSlice]) -> Iterator[list[SliceHeader | BadSlice]]:
    """Slices of each series, in the order of their first files."""
    for uid in dict.fromkeys(header.series_uid for header in headers):
        yield [header for header in headers if header.series_uid == uid]


class _HeaderReader:
    """Slices of a series differ in little but position: what is equal byte for byte is understood and checked once."""

    def __init__(self) -> None:
        self.pydicom = import_pydicom()
        self.last: tuple[Any, SliceHeader | None] = (None, None)
        self.plain = False  # whether the last one's pixels take no decoder

    def read(self, path: Path) -> SliceHeader | BadSlice | None:
        """Header of one slice, None where a file is not DICOM or no image.

        Raises:
            UserError: damaged.
        """
        found = self._dataset(path)
        if found is None or _is_no_scan(found[0]):
            return None
        dataset, pixels_at = found
        if "SeriesInstanceUID" not in dataset or "Rows" not in dataset:
            raise UserError(f"the DICOM slice {path} is damaged or truncated, it lacks its series or its size: copy it again")
        try:
            header = self._header(path, dataset)
            _refuse_truncated(header, int(dataset.BitsAllocated), path.stat().st_size - pixels_at)
            return replace(header, plain_pixels_at=pixels_at) if self.plain else header
        except UserError as error:
            return BadSlice(path, str(dataset.SeriesInstanceUID), series_name(dataset), str(error))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"the DICOM slice {path} has a header that makes no sense ({_last_line(error)}): export it again"
            return BadSlice(path, str(dataset.SeriesInstanceUID), series_name(dataset), reason)

    def _dataset(self, path: Path) -> tuple[Any, int] | None:
        """Header, and the byte at which the pixels begin."""
        try:
            with path.open("rb") as stream:
                dataset = self.pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(KEYWORDS))
                return dataset, stream.tell() + (
                    8 if dataset.file_meta.TransferSyntaxUID == IMPLICIT else 12
                )  # behind the element's header
        except self.pydicom.errors.InvalidDicomError:
            if path.suffix.lower() in DICOM_SUFFIXES:
                raise UserError(f"expected a DICOM file, but {path} has no DICOM header: copy it again, or move it away") from None
            return None
        except Exception as error:  # pydicom raises whatever the damaged bytes lead to
            raise UserError(f"cannot read the DICOM header of {path}, it is damaged ({_last_line(error)}): copy it again") from None

    def _header(self, path: Path, dataset: Any) -> SliceHeader:
        raw = [(tag, dataset.get_item(tag).value) for tag in dataset.keys() if tag != POSITION]  # noqa: SIM118
        key = dataset.file_meta.TransferSyntaxUID, raw
        if self.last[0] == key and self.last[1] is not None and dataset.get("ImagePositionPatient"):
            return replace(self.last[1], path=path, position_mm=position_mm(dataset))
        header = slice_header(path, dataset)
        self.last, self.plain = (key, header), has_plain_pixels(dataset)
        return header


def _is_no_scan(dataset: Any) -> bool:
    return dataset.get("Modality") in NOT_SCANS or "Image Storage" not in dataset.file_meta.MediaStorageSOPClassUID.name


def _refuse_truncated(header: SliceHeader, bits_allocated: int, bytes_left: int) -> None:
    """ITK fills what is missing of uncompressed pixels; a damaged compressed slice is noticed when it is decoded."""
    if header.transfer_syntax == DEFLATED:
        return
    compressed = import_pydicom().uid.UID(header.transfer_syntax).is_compressed
    expected = 1 if compressed else header.rows * header.columns * bits_allocated // 8
    if bytes_left < expected:
        raise UserError(
            f"the DICOM slice {header.path} is truncated: expected {expected} bytes of pixels, {bytes_left} are left: copy it again"
        )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
