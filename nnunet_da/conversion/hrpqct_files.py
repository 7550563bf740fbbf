"""Match AIM and ISQ files and their masks to cases by name; only headers are read here."""

import argparse
import glob
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.conversion import scanco
from nnunet_da.conversion.cases import IMAGE_SUFFIXES, case_name
from nnunet_da.conversion.patient_splits import SPLITS, write_patient_splits
from nnunet_da.conversion.scan import Scan
from nnunet_da.errors import UserError

SCAN_SUFFIXES = (".aim", ".isq")
Labels = list[tuple[str, int | None]]  # name, value in the file; None: every voxel but 0


@dataclass(frozen=True)
class Mask:
    """One file that gives labels; its size and time are here so that a second run sees a change."""

    path: Path
    bytes: int
    time_ns: int
    values: tuple[tuple[int | None, int], ...]  # value in the file (None: every voxel but 0), label


@dataclass(frozen=True)
class Settings:
    """What to make of a scan: unit, water for files without, one slice or all, masks in the order they are laid down."""

    density: bool = False
    mu_water_per_cm: float | None = None
    slice_index: int | None = None
    masks: tuple[Mask, ...] = ()


def label_values(options: argparse.Namespace) -> Labels:
    """Labels in the order of their numbers, from --label or --mask.

    Raises:
        UserError: neither where one is needed, both, or a name or value twice.
    """
    if options.labels and options.mask:
        raise UserError("labels come from one file per case (-l) or from one per label (--mask), got both: leave one out")
    if bool(options.labels) != bool(options.label):
        raise UserError("-l and --label NAME=VALUE belong together, such as --label bone=127: give both or neither")
    labels: Labels = [(name, None) for name in _mask_sources(options.mask)]
    for text in options.label:
        match = re.fullmatch(r"\s*([^=]+?)\s*=\s*(\d+)\s*", text)
        if not match or int(match[2]) == 0:
            raise UserError(
                f"a label must be declared as NAME=VALUE with its value in the files, 1 or more, such as bone=127, got '{text}'"
            )
        labels.append((match[1], int(match[2])))
    _refuse_repeated("name", [name for name, _ in labels])
    _refuse_repeated("value", [value for _, value in labels if value is not None])
    return labels


def find_scans(options: argparse.Namespace, labels: Labels) -> list[Scan]:
    """One scan per file, or per slice; only headers are read.

    Raises:
        UserError: nothing found, two files of one case, a mask without scan or the other way round, or an unreadable header.
    """
    images = find_files(options.images, scan=True)
    sources = _mask_sources(options.mask) or ({"": options.labels} if options.labels else {})
    files = {name: find_files(source, scan=False) for name, source in sources.items()}
    for name, found in files.items():
        _refuse_unmatched(images, found, f"mask of {name}" if name else "label")
    numbers = [(value, index) for index, (_, value) in enumerate(labels, start=1)]
    scans = []
    for case, path in images.items():
        masks = tuple(_mask(files[name][case], tuple(numbers) if not name else (numbers[index],)) for index, name in enumerate(sources))
        for slice_index in range(scanco.read_header(path).size_xyz[2]) if options.slices else (None,):
            settings = Settings(options.density, options.mu_water, slice_index, masks)
            name = case if slice_index is None else f"{case}_z{slice_index:04d}"
            scans.append(Scan(name, (path,), masks[0].path if masks else None, settings=settings))
    return scans


def find_files(source: str, *, scan: bool) -> dict[str, Path]:
    """Case name -> file, of a folder or of a pattern with one * for the case; of a numbered file (D01.AIM;2) the newest.

    Raises:
        UserError: nothing found, two files of one case, or no such folder.
    """
    folder = Path(source)
    if "*" not in source and not folder.is_dir():
        raise UserError(f"expected a folder of AIM or ISQ files, got {source}, which is {'a file' if folder.exists() else 'not there'}")
    parts = (source if "*" in source else f"{source.rstrip('/')}/*").split("*")
    if len(parts) != 2:
        raise UserError(f"a pattern must hold one *, which stands for the case name, got '{source}'")
    suffixes = SCAN_SUFFIXES if scan else (".aim", *IMAGE_SUFFIXES)
    of_case = re.compile("([^/]+)".join(map(re.escape, parts)))
    found: dict[str, tuple[str, Path]] = {}
    for path in _candidates("*".join(map(glob.escape, parts))):
        name, _ = _version(path)
        match = of_case.fullmatch(name)
        suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)
        if match and suffix and path.is_file() and not path.name.startswith("."):
            stem = match[1][: -len(suffix)] if match[1].lower().endswith(suffix) else match[1]
            case = case_name(stem)
            if case in found and found[case][0] != name:
                raise UserError(f"the case '{case}' has two files, {found[case][1]} and {path}: keep one, or give a pattern that finds one")
            found[case] = (name, path)
    if not found:
        raise UserError(f"no {'AIM or ISQ files' if scan else 'AIM files or images'} in {source}")
    return {case: path for case, (_, path) in sorted(found.items())}


def write_slice_folds(folder: Path, scans: Sequence[Scan], converted: Sequence[str], folds: int) -> None:
    """Slices of one scan stay together: write splits_final.json by scan, which stock planning copies to where training looks."""
    path_of = {scan.case: str(scan.images[0]) for scan in scans}
    written = write_patient_splits(folder, {case: path_of[case] for case in converted if case in path_of}, folds)
    if written:
        print(f"folds {folder / SPLITS}: {written}, by scan; with several scans per person see `nnunet-da convert sites`")
    else:
        print("one scan cannot be split into folds: nnU-Net would validate on slices beside those it trains on")


def _refuse_repeated(kind: str, items: Sequence[object]) -> None:
    repeated = [item for item, count in Counter(items).items() if count > 1]
    if repeated:
        raise UserError(f"the label {kind} '{repeated[0]}' is declared twice: keep one")


def _mask_sources(texts: Sequence[str]) -> dict[str, str]:
    """Label name -> folder or pattern of --mask."""
    sources: dict[str, str] = {}
    for text in texts:
        name, found, source = text.partition("=")
        if not (name.strip() and found and source) or name.strip() in sources:
            raise UserError(f"a mask must be given as NAME=FOLDER or NAME=PATTERN, each name once, got '{text}'")
        sources[name.strip()] = source
    return sources


def _refuse_unmatched(images: dict[str, Path], files: dict[str, Path], what: str) -> None:
    for have, lack, texts in ((images, files, ("scan", what)), (files, images, (what, "scan"))):
        missing = sorted(have.keys() - lack.keys())
        if missing:
            raise UserError(
                f"every {texts[0]} needs a {texts[1]} of the same case name, none for {have[missing[0]]} ({len(missing)} in all)"
            )


def _mask(path: Path, values: tuple[tuple[int | None, int], ...]) -> Mask:
    state = path.stat()
    return Mask(path, state.st_size, state.st_mtime_ns, values)


def _candidates(pattern: str) -> list[Path]:
    return sorted((Path(found) for found in {*glob.glob(pattern), *glob.glob(f"{pattern};*")}), key=_version)


def _version(path: Path) -> tuple[str, int]:
    """Path without the number that the scanner's computer adds, and that number."""
    match = re.fullmatch(r"(.+);(\d+)", str(path))
    return (match[1], int(match[2])) if match else (str(path), 0)
