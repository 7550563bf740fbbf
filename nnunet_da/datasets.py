"""Raw nnU-Net datasets: found by id or name, listed without ever opening a label."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da import paths
from nnunet_da.errors import UserError


@dataclass(frozen=True)
class RawDataset:
    """One dataset below `nnUNet_raw`; the dataset is the domain.

    Attributes:
        folder: its folder, named `DatasetXXX_NAME`.
        description: its `dataset.json`.
    """

    folder: Path
    description: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def dataset_id(self) -> int:
        return id_of(self.name)

    @property
    def file_ending(self) -> str:
        return self.description["file_ending"]

    @property
    def num_channels(self) -> int:
        return len(self.description["channel_names"])

    def training_images(self) -> dict[str, list[Path]]:
        """Case -> one file per channel.

        Raises:
            UserError: no image at all, or a case whose number of channels is not dataset.json's.
        """
        images = self.scans("imagesTr")
        if not images:
            raise UserError(f"{self.name}/imagesTr must hold images CASE_0000{self.file_ending}, found none: convert the scans first")
        for case, files in images.items():
            if len(files) != self.num_channels:
                raise UserError(
                    f"case '{case}' of {self.name} must have {self.num_channels} channel(s) as in dataset.json, found {len(files)}:"
                    " add the missing file or correct dataset.json"
                )
        return images

    def training_labels(self) -> dict[str, Path]:
        """Case -> label map. For the source only: nothing that trains or plans may ask a target for this."""
        labels = {case: self.folder / "labelsTr" / f"{case}{self.file_ending}" for case in self.training_images()}
        missing = [case for case, file in labels.items() if not file.is_file()]
        if missing:
            raise UserError(
                f"every training case of the source {self.name} needs a label map in labelsTr, missing for '{missing[0]}'"
                f" ({len(missing)} in all): add them, or make this dataset a target"
            )
        return labels

    def scans(self, folder: str) -> dict[str, list[Path]]:
        """Case -> one file per channel, of `imagesTr` or `imagesTs`.

        Raises:
            UserError: dataset.json lists its training cases in another way than nnU-Net's.
        """
        if "dataset" in self.description and folder == "imagesTr":
            try:
                listed = self.description["dataset"].items()
                return {case: [self.folder / file for file in files["images"]] for case, files in listed}
            except (AttributeError, KeyError, TypeError):
                raise UserError(
                    f"'dataset' in {self.name}/dataset.json must name 'images' and 'label' of every case as nnU-Net wants it: correct it"
                ) from None
        pattern = re.compile(rf"(.+)_\d{{4}}{re.escape(self.file_ending)}")
        images: dict[str, list[Path]] = {}
        for file in sorted((self.folder / folder).glob(f"*{self.file_ending}")):
            match = pattern.fullmatch(file.name)
            if match:
                images.setdefault(match.group(1), []).append(file)
        return images


def id_of(name: str) -> int:
    """The number in `DatasetXXX_NAME`."""
    return int(name.removeprefix("Dataset").split("_", 1)[0])


def find_dataset(id_or_name: str | int) -> RawDataset:
    """Look a dataset up below `nnUNet_raw`.

    Args:
        id_or_name: 101, "101" or "Dataset101_NAME".

    Raises:
        UserError: none or several of that id, or dataset.json missing, unreadable or incomplete.
    """
    folder = _dataset_folder(str(id_or_name))
    if not re.match(r"Dataset\d{3}_", folder.name):
        raise UserError(f"a dataset's folder must be called DatasetXXX_NAME with three digits, got {folder.name}: rename it")
    description = read_json(folder / "dataset.json", f"{folder.name} needs its dataset.json")
    for key, kind in (("channel_names", dict), ("labels", dict), ("file_ending", str)):
        if not isinstance(description.get(key), kind):
            raise UserError(f"{folder.name}/dataset.json must hold '{key}' as nnU-Net wants it, got {description.get(key)!r}: correct it")
    values = [item for value in description["labels"].values() for item in (value if isinstance(value, list) else [value])]
    if not all(isinstance(value, int) for value in values):
        raise UserError(f"labels in {folder.name}/dataset.json must be whole numbers or lists of them, got {values}: correct them")
    return RawDataset(folder, description)


def other_names_of_id(folder_name: str) -> list[Path]:
    """Folders with the id of `DatasetXXX_NAME` under another name. Stock nnU-Net refuses that, in any of its three folders."""
    roots = filter(None, map(paths.optional, (paths.nnunet_raw, paths.nnunet_preprocessed, paths.nnunet_results)))
    prefix = folder_name.split("_", 1)[0]
    return [folder for root in roots for folder in sorted(root.glob(f"{prefix}_*")) if folder.name != folder_name]


def image_size(file: Path) -> tuple[int, ...]:
    """Size of an image from its header.

    Raises:
        UserError: the header cannot be read.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise UserError(f"the image {file} cannot be read: it is damaged or of an unknown format") from None
    return tuple(reader.GetSize())


def read_json(file: Path, why: str) -> dict[str, Any]:
    """Read a JSON object, with a one-line error that begins with `why`."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise UserError(f"{why}, but {file} does not exist") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{why}, but {file} cannot be read as JSON ({error}): restore or remake it") from error
    if not isinstance(content, dict):
        raise UserError(f"{why}, but {file} holds a {type(content).__name__}, not an object: restore or remake it")
    return content


def write_json(content: dict[str, Any], file: Path) -> None:
    """Write JSON to a temporary name, then rename: never half a file."""
    temporary = file.with_name(f".{file.name}.part")
    temporary.write_text(json.dumps(content, indent=4) + "\n")
    temporary.replace(file)


def _dataset_folder(id_or_name: str) -> Path:
    root = paths.nnunet_raw()
    if id_or_name.startswith("Dataset"):
        found = [root / id_or_name] if (root / id_or_name).is_dir() else []
    elif id_or_name.isascii() and id_or_name.isdecimal():
        found = sorted(folder for folder in root.glob(f"Dataset{int(id_or_name):03d}_*") if folder.is_dir())
    else:
        raise UserError(f"a dataset must be given as an id such as 101 or a name such as Dataset101_CENTRE, got '{id_or_name}'")
    if not found:
        present = ", ".join(folder.name for folder in sorted(root.glob("Dataset*"))) or "none"
        raise UserError(f"dataset '{id_or_name}' must stand in nnUNet_raw ({root}), found {present}: convert it or correct the id")
    if len(found) > 1:
        raise UserError(f"dataset id {id_or_name} must be unique in nnUNet_raw, found {', '.join(f.name for f in found)}: rename one")
    return found[0]
