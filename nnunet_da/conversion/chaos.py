"""CHAOS (ISBI 2019), healthy abdomens in MR and CT, to nnU-Net datasets.

Layout of the release: `Train_Sets/MR/1/T2SPIR/DICOM_anon/*.dcm` with one mask `T2SPIR/Ground/*.png` per slice,
`T1DUAL/DICOM_anon/InPhase` and `OutPhase` with `T1DUAL/Ground`, `Train_Sets/CT/1/DICOM_anon` with `CT/1/Ground`. The masks belong to the
DICOM files in the order of the file names, not of the slices' places (as the challenge's own scoring code says), so each mask goes where
the header of its slice says.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import ABDOMEN, codes_for, refuse_no_folder
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import SimpleITK as sitk

    from nnunet_da.conversion.scan import Loaded, Scan

HELP = "CHAOS abdominal MR and CT (DICOM_anon folders with PNG masks in Ground)"

SEQUENCES = {  # channel name -> folder below the patient's
    "T2SPIR": {"T2SPIR": "T2SPIR/DICOM_anon"},
    "T1DUAL": {"T1InPhase": "T1DUAL/DICOM_anon/InPhase", "T1OutPhase": "T1DUAL/DICOM_anon/OutPhase"},
    "T1InPhase": {"T1InPhase": "T1DUAL/DICOM_anon/InPhase"},
    "T1OutPhase": {"T1OutPhase": "T1DUAL/DICOM_anon/OutPhase"},
    "CT": {"CT": "DICOM_anon"},
}
GREY = {"liver": 63, "kidney_right": 126, "kidney_left": 189, "spleen": 252}
GREY_CT = {"liver": 255}
Slice = tuple[Path, tuple[float, ...]]  # a DICOM file and its position
SLICE_OFFSET = 0.25  # of a voxel, between a slice's own position and the volume's even grid
TEST_CASES = tuple(f"chaos_mr_{number:02d}" for number in (1, 13, 32, 38))  # of the DAR-UNet study

VERSION = 1  # of the loaders here: raise it when they make something else


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "the release, or its folder Train_Sets", paper_split="the DAR-UNet study", target="see --target-sequence")
    parser.add_argument("--sequence", choices=SEQUENCES, default="T2SPIR", help="T1DUAL: both phases as two channels (default T2SPIR)")
    parser.add_argument("--target-sequence", choices=SEQUENCES, help="write this one as a second dataset, --target-id")
    parser.add_argument(
        "--organs",
        nargs="+",
        metavar="NAME",
        help=f"label values 1, 2, ... in this order (default: {' '.join(ABDOMEN)}, as in btcv; with CT, whose masks show no other, liver)",
    )


def run(options: argparse.Namespace) -> int:
    """Convert one sequence, or one as source and another as target."""
    if (options.target_sequence is None) != (options.target_id is None):
        raise UserError("a target dataset needs --target-sequence, --target-id and --target-name together")
    sequences = [sequence for sequence in (options.sequence, options.target_sequence) if sequence]
    organs = options.organs or list(GREY_CT if "CT" in sequences else ABDOMEN)
    parts = [_part(options.input, sequence, organs) for sequence in sequences]
    return convert_parts(options, load, parts, "nnunet-da convert chaos")


def load(scan: "Scan") -> "Loaded":
    """Read the DICOM series of each channel, and the masks; `scan.settings` are the modality and the `Codes`.

    Raises:
        UserError: as the DICOM reader, another modality or grid, or masks that do not fit the slices.
    """
    from nnunet_da.conversion.dicom import read_series
    from nnunet_da.conversion.images import refuse_other_grid
    from nnunet_da.conversion.public_labels import like, recoded, side_warnings
    from nnunet_da.conversion.scan import Loaded

    modality, codes = scan.settings
    slices = [_slices(folder, modality) for folder in scan.images]
    images = tuple(read_series([file for file, _ in of_channel]) for of_channel in slices)
    for folder, image in zip(scan.images, images, strict=True):
        refuse_other_grid(scan.images[0], images[0], folder, image)
    if scan.label is None:
        return Loaded(images)
    voxels, warnings = recoded(scan.label, _masks(scan.label, slices[0], images[0]), codes)
    label = like(images[0], voxels)
    return Loaded(images, label, warnings=(*warnings, *side_warnings(label, dict(codes.names))))


def _part(root: Path, sequence: str, organs: list[str]) -> Part:
    from nnunet_da.conversion.scan import Scan

    modality = "CT" if sequence == "CT" else "MR"
    codes = codes_for(organs, GREY_CT if sequence == "CT" else GREY)
    if sequence == "CT":
        codes = replace(codes, values=(*codes.values, (1, 1)))  # masks of one bit, in readers that do not stretch them to 255
    scans = []
    for patient in _patients(refuse_no_folder(root), modality):
        images = tuple(patient / folder for folder in SEQUENCES[sequence].values())
        ground = patient / next(iter(SEQUENCES[sequence].values())).split("DICOM_anon")[0] / "Ground"
        name = f"chaos_{modality.lower()}_{int(patient.name):02d}"
        scans.append(Scan(name, images, ground if ground.is_dir() else None, settings=(modality, codes)))
    return Part(scans, tuple(SEQUENCES[sequence]), dict(codes.names), TEST_CASES if modality == "MR" else ())


def _patients(root: Path, modality: str) -> list[Path]:
    folders = [root / "Train_Sets" / modality, root / modality, *([root] if root.name == modality else [])]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise UserError(f"expected Train_Sets/{modality}/NUMBER in {root}, found no folder {modality}: name the release's folder")
    return sorted((path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()), key=lambda path: int(path.name))


def _slices(folder: Path, modality: str) -> list[Slice]:
    """DICOM files of a folder by name, and where each one's first pixel lies (LPS, mm).

    Raises:
        UserError: none, one that cannot be read, or one of another modality.
    """
    import SimpleITK as sitk

    from nnunet_da.conversion.images import native_stderr_silenced

    reader, slices = sitk.ImageFileReader(), []
    reader.SetImageIO("GDCMImageIO")
    for file in sorted(path for path in folder.glob("*.dcm") if not path.name.startswith(".")):
        reader.SetFileName(str(file))
        try:
            with native_stderr_silenced():
                reader.ReadImageInformation()
        except RuntimeError:
            raise UserError(f"cannot read the DICOM slice {file}: it is damaged or no DICOM: copy it again") from None
        found = reader.GetMetaData("0008|0060").strip() if reader.HasMetaDataKey("0008|0060") else "none"
        if found != modality:
            raise UserError(f"expected a DICOM slice of modality {modality}, {file} is of modality {found}: is it misplaced?")
        slices.append((file, reader.GetOrigin()))
    if not slices:
        raise UserError(f"expected DICOM slices (*.dcm) in {folder}, found none: complete the release's folder")
    return slices


def _masks(folder: Path, slices: list[Slice], image: "sitk.Image") -> "np.ndarray":
    """Grey values (Z, Y, X) on the grid of the image: the n-th mask by name lies on the n-th DICOM file by name."""
    import numpy as np

    files = sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))
    if len(files) != len(slices):
        raise UserError(
            f"expected one mask per slice in {folder}, found {len(files)} masks (*.png) for {len(slices)} slices: copy them again"
        )
    voxels = np.zeros(image.GetSize()[::-1], np.uint8)
    for (slice_file, position_mm), file in zip(slices, files, strict=True):
        voxels[_place(slice_file, position_mm, image)] = _read_mask(file, voxels.shape[1:])
    return voxels


def _place(file: Path, position_mm: tuple[float, ...], image: "sitk.Image") -> int:
    """Index of a slice in the volume, by its position."""
    column, row, place = image.TransformPhysicalPointToContinuousIndex(position_mm)
    if max(abs(column), abs(row), abs(place - round(place))) > SLICE_OFFSET:
        raise UserError(f"the slice {file} does not lie on the even grid of its series: export the series again")
    return round(place)


def _read_mask(file: Path, shape: tuple[int, ...]) -> "np.ndarray":
    import SimpleITK as sitk

    from nnunet_da.conversion.images import native_stderr_silenced

    try:
        with native_stderr_silenced():
            mask = sitk.ReadImage(str(file))
    except RuntimeError:
        raise UserError(f"cannot read the mask {file}: it is damaged or no PNG: copy it again") from None
    values, size = mask.GetNumberOfComponentsPerPixel(), mask.GetSize()
    if values != 1 or size[::-1] != shape:
        raise UserError(
            f"a mask must be grey and as large as its slice, {shape[1]} x {shape[0]}, {file} has {values} value(s) per pixel and size"
            f" {' x '.join(map(str, size))}: is it of another scan?"
        )
    return sitk.GetArrayFromImage(mask)
