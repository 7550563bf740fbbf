"""Match image and label files to cases by their names; no file is opened here."""

import glob
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.errors import UserError

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nia", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".gipl.gz", ".gipl", ".mnc", ".vtk", ".tiff", ".tif")


def case_name(name: str) -> str:
    """The case's name for a file's or folder's: letters of any alphabet, digits, '_', '-' and '.' stay, the rest becomes '_'."""
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("_") or "case"


@dataclass(frozen=True)
class Case:
    """One scan on disk: an image per channel, and perhaps a label map."""

    name: str
    images: tuple[Path, ...]
    label: Path | None = None


def find_cases(image_sources: Sequence[str], label_source: str | None, channel_names: Sequence[str]) -> list[Case]:
    """Match image and label files by name, tolerating nnU-Net's channel suffix (`_0000`).

    Args:
        image_sources: one folder or pattern per channel, or a single one with the channels as suffixes `_0000`, `_0001`, ...
        label_source: folder or pattern of label maps, named like the cases.
        channel_names: one per channel.

    Raises:
        UserError: nothing found, two files of one case, a channel or label missing, or a label without image.
    """
    labels = files_by_stem(label_source) if label_source else {}
    channels = _channels(image_sources, set(labels), channel_names)
    label_of = {_matching_name(stem, channels[0]): path for stem, path in labels.items()}
    _refuse_unmatched(channels, label_of if label_source else None, channel_names, image_sources)
    return [Case(case_name(name), tuple(files[name] for files in channels), label_of.get(name)) for name in sorted(channels[0])]


def files_by_stem(source: str) -> dict[str, Path]:
    """Image files of a folder by name without ending, or the files a pattern finds by what its * stands for."""
    pairs = list(_pattern_files(source) if "*" in source else _folder_files(source))
    if not pairs:
        raise UserError(f"no image files in {source}: expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    files: dict[str, Path] = {}
    for stem, path in pairs:
        if stem in files:
            raise UserError(f"the case '{stem}' has two files, {files[stem]} and {path}: keep one")
        files[stem] = path
    return files


def _folder_files(source: str) -> Iterator[tuple[str, Path]]:
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"expected a folder of images, got {source}, which is {'a file' if folder.exists() else 'not there'}")
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), None)
        if suffix and path.is_file() and not path.name.startswith("."):
            yield path.name[: -len(suffix)], path


def _pattern_files(source: str) -> Iterator[tuple[str, Path]]:
    pattern = os.path.normpath(source)
    if pattern.count("*") != 1:
        raise UserError(f"a pattern must hold one *, which stands for the case name, got '{source}'")
    of_case = re.compile(re.escape(pattern).replace(r"\*", "([^/]+)"))
    for found in sorted(glob.glob(pattern)):
        match = of_case.fullmatch(found)
        if match and found.lower().endswith(IMAGE_SUFFIXES):
            yield match[1], Path(found)


def _channels(sources: Sequence[str], label_stems: set[str], channel_names: Sequence[str]) -> list[dict[str, Path]]:
    """Per channel: case name -> file."""
    count = len(channel_names)
    if len(sources) not in (1, count):
        raise UserError(
            f"{len(sources)} image folders need as many channel names, got {count} ({', '.join(channel_names)}): add --channel-name"
        )
    files = [files_by_stem(source) for source in sources]
    if len(sources) == count:
        return [_named(of_channel, channel, label_stems) for channel, of_channel in enumerate(files)]
    return _split_by_suffix(files[0], count, sources[0])


def _named(files: dict[str, Path], channel: int, label_stems: set[str]) -> dict[str, Path]:
    """Drop the suffix of this channel from the names, and refuse what may be several channels in one folder."""
    named: dict[str, Path] = {}
    for stem, path in files.items():
        base, suffix = _split_suffix(stem)
        name = base if suffix in (0, channel) and stem not in label_stems else stem
        if name != stem and f"{base}_{suffix + 1:04d}" in files:
            raise UserError(
                f"{path.name} and {base}_{suffix + 1:04d} look like two channels of one case: name each channel with --channel-name, "
                "or rename the files if the numbers count cases"
            )
        if name in named:
            raise UserError(f"the case '{name}' has two files, {named[name]} and {path}: keep one")
        named[name] = path
    return named


def _split_by_suffix(files: dict[str, Path], count: int, source: str) -> list[dict[str, Path]]:
    channels: list[dict[str, Path]] = [{} for _ in range(count)]
    for stem, path in files.items():
        base, suffix = _split_suffix(stem)
        if not 0 <= suffix < count:
            raise UserError(f"{count} channels in one folder need names ending in _0000 to _{count - 1:04d}, got {path.name} in {source}")
        channels[suffix][base] = path
    return channels


def _split_suffix(stem: str) -> tuple[str, int]:
    """Name and channel number, -1 where the name ends in none."""
    match = re.fullmatch(r"(.+)_(\d{4})", stem)
    return (match[1], int(match[2])) if match else (stem, -1)


def _matching_name(stem: str, cases: dict[str, Path]) -> str:
    base, suffix = _split_suffix(stem)
    return base if stem not in cases and suffix == 0 else stem


def _refuse_unmatched(
    channels: list[dict[str, Path]], label_of: dict[str, Path] | None, channel_names: Sequence[str], sources: Sequence[str]
) -> None:
    every = set().union(*channels)
    for files, name in zip(channels, channel_names, strict=True):
        _refuse_missing(every - files.keys(), f"channel {name}", f"in {', '.join(sources)}")
    if label_of is not None:
        without_image = sorted(label_of.keys() - every)
        if without_image:
            raise UserError(f"a label needs an image of the same name, none for {label_of[without_image[0]]} ({len(without_image)} in all)")
        _refuse_missing(every - label_of.keys(), "label", "(leave out -l for an unlabelled dataset)")


def _refuse_missing(names: set[str], what: str, where: str) -> None:
    if names:
        raise UserError(f"every case needs a {what}, missing for {len(names)} case(s) such as '{min(names)}' {where}")
