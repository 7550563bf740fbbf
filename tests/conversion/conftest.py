"""Small scans on disk, and `convert nifti` as a user calls it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_da.cli.main import main

ANGLE = np.deg2rad(20)  # an oblique scan: turned about the first axis
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(ANGLE)), -float(np.sin(ANGLE)), 0.0, float(np.sin(ANGLE)), float(np.cos(ANGLE)))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty nnUNet_raw; the other two folders of nnU-Net are not set."""
    folder = tmp_path / "nnUNet_raw"
    folder.mkdir()
    monkeypatch.setenv("nnUNet_raw", str(folder))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    monkeypatch.delenv("nnUNet_results", raising=False)
    return folder


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write voxels (Z, Y, X) as an image with oblique direction and unequal spacing."""

    def write(path: Path, voxels: np.ndarray, spacing_xyz_mm=(0.7, 0.8, 2.5), origin=(-10.5, 20.25, 300.0), direction=OBLIQUE) -> Path:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(spacing_xyz_mm)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def voxels_of() -> Callable[[Path], np.ndarray]:
    """Voxels (Z, Y, X) of a file."""
    return lambda path: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def place_of() -> Callable[[Path, int], tuple[float, ...]]:
    """Physical position (LPS, mm) of the one voxel of a value."""

    def find(path: Path, value: int) -> tuple[float, ...]:
        image = sitk.ReadImage(str(path))
        ((z, y, x),) = np.argwhere(sitk.GetArrayFromImage(image) == value)
        return image.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))

    return find


@pytest.fixture
def error_of(raw: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of error of a refused command, which wrote nothing: give it the exit code."""

    def read(status: int, expected: int = 2) -> str:
        assert status == expected
        assert list(raw.iterdir()) == []
        (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        return line

    return read


@pytest.fixture
def scans(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Folder `images` with scans a and b, folder `labels` with their label maps (values 0 and 1)."""
    for number, name in enumerate("ab"):
        voxels = np.random.default_rng(number).integers(-1000, 1500, (6, 5, 4)).astype(np.int16)
        write_image(tmp_path / "images" / f"{name}.nii.gz", voxels)
        write_image(tmp_path / "labels" / f"{name}.nii.gz", (voxels > 0).astype(np.uint8))
    return tmp_path


@pytest.fixture
def convert(raw: Path, scans: Path) -> Callable[..., int]:
    """`nnunet-da convert nifti` with the scans' folders, id 101 and name A unless told otherwise."""

    def run(*more: str, images="images", labels: str | None = "labels", dataset_id="101", name="A") -> int:
        arguments = ["convert", "nifti", "-i", str(scans / images), "-d", dataset_id, "--name", name, "--processes", "1"]
        if labels:
            arguments += ["-l", str(scans / labels), *([] if any("label" in text for text in more) else ["--label", "femur=1"])]
        return main(arguments + list(more))

    return run


@pytest.fixture
def write_dicom() -> Callable[..., list[Path]]:
    """Write stored values (Z, Y, X) as a CT series, one file per slice in shuffled names; the files come back in the order of the slices.

    `orientation` is row and column direction; other keywords are attributes of every slice; `change(index, slice_)` spoils single ones.
    """
    pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(folder: Path, stored: np.ndarray, orientation=(1, 0, 0, 0, 1, 0), spacing_mm=(2.5, 0.8, 0.7), change=None, **attributes):
        folder.mkdir(parents=True, exist_ok=True)
        names = np.random.default_rng(0).permutation(len(stored))
        normal = np.cross(orientation[:3], orientation[3:])
        fixed = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
        fixed |= {"SOPClassUID": CTImageStorage, "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "KVP": 120}
        fixed |= {"PatientID": "P1", "PatientName": "P^1", "PatientBirthDate": "", "PatientSex": "F", "AccessionNumber": ""}
        fixed |= {"StudyID": "1", "StudyDate": "20200101", "StudyTime": "120000", "ReferringPhysicianName": "", "Manufacturer": "MAKER"}
        fixed |= {"SeriesDescription": "Hip 2.5mm STANDARD", "SeriesNumber": 3, "PositionReferenceIndicator": ""}
        fixed |= {"PixelSpacing": list(spacing_mm[1:]), "SliceThickness": spacing_mm[0], "SamplesPerPixel": 1}
        fixed |= {"ImageOrientationPatient": [f"{value:.10f}" for value in orientation], "PhotometricInterpretation": "MONOCHROME2"}
        signed = int(np.issubdtype(stored.dtype, np.signedinteger))
        fixed |= {"BitsAllocated": 16, "BitsStored": 16 if signed else 12, "HighBit": 15 if signed else 11, "PixelRepresentation": signed}
        fixed |= {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
        paths = []
        for index, plane in enumerate(stored):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"IM{names[index]:04d}"
            slice_ = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
            position = np.array([-120.25, -80.5, 31.0]) + index * spacing_mm[0] * normal
            own = {"SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "InstanceNumber": index + 1, "Rows": plane.shape[0]}
            own |= {"Columns": plane.shape[1], "ImagePositionPatient": [f"{value:.8f}" for value in position], "PixelData": plane.tobytes()}
            for keyword, value in (fixed | own | attributes).items():
                setattr(slice_, keyword, value)
            if change is not None:
                change(index, slice_)
            slice_.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
