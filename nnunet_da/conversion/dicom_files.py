"""DICOM files of a folder and their headers, read without the pixels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunet_da.conversion.cases import IMAGE_SUFFIXES
from nnunet_da.conversion.dicom_headers import KEYWORDS, BadSlice, SliceHeader, has_plain_pixels, position_mm, series_name, slice_header
from nnunet_da.errors import UserError

NOT_SCANS = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "REG", "SR", "PR", "KO", "FID", "DOC")  # modalities that lie beside a scan
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
OTHER_SUFFIXES = (*IMAGE_SUFFIXES, ".txt", ".log", ".md", ".csv", ".json", ".xml", ".html", ".pdf", ".png", ".jpg", ".jpeg")  # no slice
WITHOUT_PREAMBLE = (b"\x02\x00", b"\x08\x00")  # the groups such a file begins with, little endian
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
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


def begins_like_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM, or begins with one of its groups where the preamble is missing.

    Raises:
        UserError: unreadable.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): allow it, or move the file away") from None
    return start[128:] == b"DICM" or start.startswith(WITHOUT_PREAMBLE)


@dataclass(frozen=True)
class Headers:
    """Headers of every slice, and files that are neither DICOM nor of a known other kind: a damaged slice may be among them."""

    slices: list[SliceHeader | BadSlice]
    passed_over: list[Path]


def headers_of(source: Path | Sequence[Path]) -> Headers:
    """Headers of every slice; files that are not DICOM, and DICOM objects that are no image, are passed over.

    Raises:
        UserError: no slice at all, or a damaged file.
    """
    reader = _HeaderReader()
    slices = [header for path in dicom_files(source) if (header := reader.read(path)) is not None]
    if not slices:
        shown = source if isinstance(source, Path) else f"{len(source)} files"
        raise UserError(f"expected a DICOM series in {shown}, found no file of one: name the folder that holds the slices")
    return Headers(slices, [path for path in reader.not_dicom if not path.name.lower().endswith(OTHER_SUFFIXES)])


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
        self.not_dicom: list[Path] = []

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

    def _dataset(self, path: Path, force: bool = False) -> tuple[Any, int] | None:
        """Header, and the byte at which the pixels begin; `force` for files without preamble."""
        try:
            with path.open("rb") as stream:
                dataset = self.pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(KEYWORDS), force=force)
                _complete_file_meta(dataset)
                pixels_at = stream.tell() + (8 if dataset.file_meta.TransferSyntaxUID == IMPLICIT else 12)  # behind the element's header
                return dataset, pixels_at
        except self.pydicom.errors.InvalidDicomError:
            if begins_like_dicom(path):
                return self._dataset(path, force=True)
            if path.suffix.lower() in DICOM_SUFFIXES or not path.stat().st_size:
                what = "no DICOM header" if path.stat().st_size else "no content"
                raise UserError(f"expected a DICOM file, but {path} has {what}: copy it again, or move it away") from None
            self.not_dicom.append(path)
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


def _complete_file_meta(dataset: Any) -> None:
    """What a file without the meta header, or with a part of it, says further down; its pixels cannot be compressed."""
    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta:
        implicit, little_endian = dataset.original_encoding
        meta.TransferSyntaxUID = IMPLICIT if implicit else EXPLICIT if little_endian else BIG_ENDIAN
    if "MediaStorageSOPClassUID" not in meta and "SOPClassUID" in dataset:
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID


def _is_no_scan(dataset: Any) -> bool:
    kind = dataset.file_meta.get("MediaStorageSOPClassUID")
    return dataset.get("Modality") in NOT_SCANS or (kind is not None and "Image Storage" not in kind.name)


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
