"""What a format hands to the engine: which scans there are, and what it made of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import SimpleITK as sitk

TRAINING, TEST = "training", "test"


@dataclass(frozen=True)
class Scan:
    """One case to convert. Made without opening a voxel, sent to a worker process.

    Attributes:
        case: nnU-Net's case name, unique in its dataset.
        images: one per channel, a file or a folder of slices; what the log calls its input.
        label: file or folder the label comes from, None for an unlabelled scan.
        split: `TRAINING` (imagesTr) or `TEST` (imagesTs).
        settings: whatever else the format needs for this case; picklable, and part of what a second run compares.
    """

    case: str
    images: tuple[Path, ...]
    label: Path | None = None
    split: str = TRAINING
    settings: Any = None


@dataclass(frozen=True)
class Placement:
    """Where a converted scan lies on its original grid; all `restore` needs.

    Attributes:
        size_xyz, spacing_mm_xyz, origin_mm_xyz, direction: the original image's, in SimpleITK's order.
        orientation: the DICOM orientation the scan was brought to before cropping, such as "LPS"; "" where it was left as it was.
        start_xyz: first voxel of the crop on the reoriented grid.
        mirrored: whether the crop was flipped along its first axis (left-right) afterwards.
    """

    size_xyz: tuple[int, int, int]
    spacing_mm_xyz: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    direction: tuple[float, ...]
    orientation: str = ""
    start_xyz: tuple[int, int, int] = (0, 0, 0)
    mirrored: bool = False


@dataclass(frozen=True)
class Loaded:
    """What a format made of one scan, in memory, on the grid nnU-Net shall see.

    Attributes:
        images: one per channel, 3D (or 2D), one real value per voxel, all on one grid.
        label: integers on the same grid, None for an unlabelled scan.
        side: "left" or "right", the side of the body the scan shows, "" where that means nothing.
        warnings: worth a person's look, stop nothing.
        notes: further columns of conversion.csv: name -> text, such as "window" or "density_slope".
        placement: for `restore`; None where the grid is the original one.
        unchanged: per channel a .nii.gz that may be copied byte for byte in place of writing the image, or None.
    """

    images: tuple[sitk.Image, ...]
    label: sitk.Image | None = None
    side: str = ""
    warnings: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    placement: Placement | None = None
    unchanged: tuple[Path | None, ...] = ()
