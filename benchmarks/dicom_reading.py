"""Reading a DICOM series with its headers checked, against SimpleITK's plain series reader on the same files in the same run.

SimpleITK finds and sorts the files (GetGDCMSeriesFileNames) and reads them; ours reads every header, checks the geometry and applies each
slice's own rescale. Uncompressed files, and the same slices in JPEG lossless, which both decode with GDCM. Memory is the peak of a fresh
process above what its imports take, in volumes of 16 bits (Linux).

usage: python benchmarks/dicom_reading.py [--slices 100] [--size 512] [--rounds 9] [--syntax "JPEG lossless"]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLosslessSV1, generate_uid

from nnunet_da.conversion.dicom import read_series
from nnunet_da.conversion.qct_load import load
from nnunet_da.conversion.qct_scans import QctSettings, Window
from nnunet_da.conversion.scan import Scan

LIMIT_TIME, LIMIT_VOLUMES = 1.3, 3.0
PRIVATE_ELEMENTS = 60  # a scanner's header has about 150 elements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--size", type=int, default=512, help="pixels per row and column")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--syntax", choices=("uncompressed", "JPEG lossless"), action="append", help="default both")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if options.peak:
        print(_peak_bytes(READERS[options.peak], options.folder))
        return
    for syntax in options.syntax or ("uncompressed", "JPEG lossless"):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_series(folder, options.slices, options.size, compressed=syntax != "uncompressed")
            print(f"{syntax}: {options.slices} slices of {options.size} x {options.size}")
            _print_times(folder, options.rounds)
            _print_memory(folder, options.slices * options.size**2 * 2)


def plain(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def converted(folder: Path) -> sitk.Image:
    """All that `convert qct` does before writing: also reorientation and crop."""
    return load(Scan("a", (folder,), settings=QctSettings(window=Window()))).images[0]


READERS: dict[str, Callable[[Path], sitk.Image]] = {"SimpleITK": plain, "read_series": read_series, "convert qct": converted}


def write_series(folder: Path, slices: int, size: int, compressed: bool = False) -> None:
    """Stored values of 12 bits with an offset of -1024, names in another order than the slices."""
    rng = np.random.default_rng(0)
    series, names = generate_uid(), rng.permutation(slices)
    for index in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.Modality = series, "1.2.3", "CT"
        slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-200, -200, 2.5 * index]
        slice_.PixelSpacing, slice_.SliceThickness, slice_.InstanceNumber = [0.78, 0.78], 2.5, index + 1
        slice_.Rows = slice_.Columns = size
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation, slice_.PixelRepresentation = 1, "MONOCHROME2", 0
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 12, 11
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, -1024, "HU"
        block = slice_.private_block(0x0009, "BENCHMARK", create=True)
        for element in range(PRIVATE_ELEMENTS):
            block.add_new(element, "LO", f"value {element}")
        stored = rng.integers(0, 4096, (size, size), dtype=np.uint16)
        slice_.PixelData = stored.tobytes()
        if compressed:
            _compress(slice_, stored)
        slice_.save_as(folder / f"IM{names[index]:04d}", enforce_file_format=True)


def _compress(slice_: FileDataset, stored: np.ndarray) -> None:
    """JPEG lossless by GDCM, for pydicom has no encoder of it."""
    with tempfile.TemporaryDirectory() as name:
        file = str(Path(name) / "slice.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(file)
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(stored))
        encoded = dcmread(file)
    assert encoded.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    slice_.BitsStored, slice_.HighBit = encoded.BitsStored, encoded.HighBit
    slice_.PixelData, slice_.file_meta.TransferSyntaxUID = encoded.PixelData, JPEGLosslessSV1
    slice_["PixelData"].VR = "OB"


def _print_times(folder: Path, rounds: int) -> None:
    expected = sitk.GetArrayFromImage(plain(folder))
    assert np.array_equal(sitk.GetArrayFromImage(read_series(folder)), expected)
    times: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, read in READERS.items():
            start = time.perf_counter()
            read(folder)
            times[name].append(time.perf_counter() - start)
    for name, of_reader in times.items():
        ratios = [a / b for a, b in zip(of_reader, times["SimpleITK"], strict=True)]
        limit = f" (limit {LIMIT_TIME})" if name == "read_series" else ""
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:12} {statistics.median(of_reader):6.3f} s, {statistics.median(ratios):.2f} times SimpleITK{limit}, {spread}")


def _print_memory(folder: Path, volume_bytes: int) -> None:
    for name in READERS:
        command = [sys.executable, __file__, "--peak", name, "--folder", str(folder)]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{name:12} peak {peak / volume_bytes:.2f} volumes (limit {LIMIT_VOLUMES:g})")


def _peak_bytes(read: Callable[[Path], sitk.Image], folder: Path) -> int:
    """Growth of the peak over what the process held before, imports and one small read included."""
    with tempfile.TemporaryDirectory() as small:
        write_series(Path(small), 2, 16)
        read(Path(small))
    before = _peak()
    image = read(folder)
    assert image.GetSize()[2] > 1
    return _peak() - before


def _peak() -> int:
    """Of this process alone: getrusage would count what the parent held when it started this one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
