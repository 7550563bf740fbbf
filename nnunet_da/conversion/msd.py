"""Tasks of the Medical Segmentation Decathlon to a nnU-Net dataset.

Layout of the release: `dataset.json` with `modality`, `labels`, `training` and `test`, and the folders `imagesTr`, `labelsTr`,
`imagesTs`; images of several channels (brain tumours, prostate) are 4D files, which become one file per channel. macOS's `._` files are
passed over: only files that dataset.json lists are read.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import refuse_no_folder
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from nnunet_da.conversion.scan import Loaded, Scan

HELP = "Medical Segmentation Decathlon (a task's folder with dataset.json), 4D images split into channels"

VERSION = 1  # of the loaders here: raise it when they make something else


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "a task's folder, such as Task04_Hippocampus", channel_name=False)
    parser.add_argument("--no-challenge-test", action="store_true", help="leave out the scans of imagesTs, which have no labels")


def run(options: argparse.Namespace) -> int:
    """Convert."""
    from nnunet_da.datasets import read_json

    root = refuse_no_folder(options.input)
    content = read_json(root / "dataset.json", "a task of the Decathlon has a dataset.json (without one, use `convert nifti`)")
    channels, labels = _numbered(content, "modality"), _numbered(content, "labels")
    declared = {name: value for value, name in enumerate(labels) if value}
    part = Part(_scans(root, content, len(channels), not options.no_challenge_test), tuple(channels), declared)
    return convert_parts(options, load, [part], "nnunet-da convert msd")


def load(scan: "Scan") -> "Loaded":
    """Read one image, split into its channels where it is 4D, and its label.

    Raises:
        UserError: a file that cannot be read, another number of channels than dataset.json declares, or another grid.
    """
    from nnunet_da.conversion.images import read_image, refuse_other_grid
    from nnunet_da.conversion.scan import Loaded

    path, channels = scan.images[0], len(scan.images)
    images = (read_image(path),) if channels == 1 else read_channels(path, channels)
    unchanged = (path if channels == 1 and path.name.endswith(".nii.gz") else None,) * channels
    if scan.label is None:
        return Loaded(images, unchanged=unchanged)
    label = read_image(scan.label)
    refuse_other_grid(path, images[0], scan.label, label)
    return Loaded(images, label, unchanged=unchanged)


def read_channels(path: Path, channels: int) -> tuple["sitk.Image", ...]:
    """The 3D images of a 4D NIfTI file, each on the file's grid.

    Raises:
        UserError: not 4D, another number of channels, truncated, damaged, or voxels that are not finite.
    """
    import SimpleITK as sitk

    from nnunet_da.conversion.images import native_stderr_silenced
    from nnunet_da.conversion.nifti_voxels import refuse_damaged_nifti

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with native_stderr_silenced():
            reader.ReadImageInformation()
            size = reader.GetSize()
            if len(size) != 4 or size[3] != channels:
                raise UserError(f"dataset.json declares {channels} channels, so {path} must be 4D with as many, it has size {size}")
            refuse_damaged_nifti(path, {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()})
            image = reader.Execute()
    except RuntimeError:
        raise UserError(f"cannot read the image {path}: it is truncated, damaged or of an unknown format: copy it again") from None
    return tuple(image[:, :, :, channel] for channel in range(channels))


def _numbered(content: dict[str, Any], key: str) -> list[str]:
    """Names in the order of their numbers "0", "1", ..."""
    named = content.get(key)
    if not isinstance(named, dict) or not named or set(named) != {str(number) for number in range(len(named))}:
        raise UserError(f'dataset.json must hold "{key}" with names for "0", "1", ... without gaps, got {named!r}: correct it')
    return [str(named[str(number)]) for number in range(len(named))]


def _scans(root: Path, content: dict[str, Any], channels: int, with_test: bool) -> list["Scan"]:
    from nnunet_da.conversion.scan import TEST, Scan

    scans = []
    for entry in _listed(content, "training", dict):
        path = _inside(root, entry.get("image"))
        scans.append(Scan(_case(path), (path,) * channels, _inside(root, entry.get("label"))))
    for entry in _listed(content, "test", str) if with_test else []:
        path = _inside(root, entry)
        scans.append(Scan(_case(path), (path,) * channels, split=TEST))
    return scans


def _listed(content: dict[str, Any], key: str, kind: type) -> list[Any]:
    entries = content.get(key, [])
    entries = entries if isinstance(entries, list) else [entries]
    files = [[entry.get("image"), entry.get("label")] if isinstance(entry, dict) else [entry] for entry in entries]
    whole = all(isinstance(entry, kind) for entry in entries) and all(isinstance(name, str) for of_entry in files for name in of_entry)
    if not whole:
        example = '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}' if kind is dict else '"./imagesTs/a.nii.gz"'
        raise UserError(f'dataset.json must list "{key}" as entries such as {example}: take the one that came with the task')
    return entries


def _inside(root: Path, text: Any) -> Path:
    """A file that dataset.json names, which must lie in the task's folder."""
    path = root / str(text)
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"dataset.json must name files inside {root}, it names {text}: correct it")
    if not path.is_file():
        raise UserError(f"dataset.json lists {text}, which is not in {root}: complete the task's folder, or correct the list")
    return path


def _case(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
