"""Which scans `convert qct` has before it, and what is to be done with each; no image is opened here."""

import argparse
import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.conversion.arrays import ARRAY_SUFFIXES, checked_orientation, read_spacings
from nnunet_da.conversion.calibration import Calibration, read_rods
from nnunet_da.conversion.cases import IMAGE_SUFFIXES, case_name
from nnunet_da.conversion.dicom_files import DICOM_SUFFIXES, begins_like_dicom
from nnunet_da.conversion.femur_crop import LEFT, RIGHT, Window
from nnunet_da.conversion.qct import SIDES
from nnunet_da.conversion.scan import TEST, TRAINING, Scan
from nnunet_da.errors import UserError

FILE_SUFFIXES = (*IMAGE_SUFFIXES, *ARRAY_SUFFIXES)


@dataclass(frozen=True)
class QctSettings:
    """How one scan is converted.

    Attributes:
        side: "left" or "right".
        both_sides: whether the scan's other side is converted too.
        window: what is cut out, None for the whole field of view.
        label_sources: per label value 1, 2, ... the values, segments or ROIs it is made of.
        other_sources: those of the other side, background here.
        drop_other_labels: whether values that nobody named are background too.
        series: DICOM series to take.
        spacing_mm: Z, Y, X of a NumPy volume.
        orientation: of a NumPy volume.
        calibration: HU -> density.
        write_density: whether voxels become mg/cm3.
    """

    side: str = LEFT
    both_sides: bool = False
    window: Window | None = None
    label_sources: tuple[tuple[str, ...], ...] = ()
    other_sources: tuple[str, ...] = ()
    drop_other_labels: bool = False
    series: str | None = None
    spacing_mm: tuple[float, float, float] | None = None
    orientation: str = "LPS"
    calibration: Calibration | None = None
    write_density: bool = False


def dataset_labels(options: argparse.Namespace) -> dict[str, int]:
    """Names and values of the dataset's labels, in the order in which they are named.

    Raises:
        UserError: the two sides name different labels.
    """
    left, right = _sources(options.label), _sources(options.label_right)
    if left and right and left.keys() != right.keys():
        raise UserError(
            f"both sides need the same labels, --label names {', '.join(left)}, --label-right {', '.join(right)}: name the same"
        )
    return {"background": 0} | {name: value for value, name in enumerate(left or right, start=1)}


def find_scans(options: argparse.Namespace) -> list[Scan]:
    """Every case of every side and split.

    Raises:
        UserError: nothing found, image or label missing, a case twice, or no spacing or calibration for one.
    """
    scans = list(_scans_of(options, options.images, options.labels, TRAINING))
    if options.test_images:
        scans += _scans_of(options, options.test_images, options.test_labels, TEST)
    seen: dict[str, Scan] = {}
    for scan in scans:
        other = seen.setdefault(scan.case, scan)
        if other is not scan:
            raise UserError(
                f"every case needs a name of its own, '{scan.case}' comes from {other.images[0]} and {scan.images[0]}: rename one"
            )
    return scans


def _scans_of(options: argparse.Namespace, images: str, labels: str | None, split: str) -> Iterator[Scan]:
    image_of = entries(images)
    label_of = entries(labels, masks=True) if labels else {}
    if labels and Path(images).is_file() and Path(labels).is_file():
        label_of = {name: Path(labels) for name in image_of}
    if labels:
        _refuse_unmatched(image_of, label_of)
    settings = _Settings(options)
    for name, image in image_of.items():
        for side in SIDES[options.side]:
            case = case_name(name) + (f"_{side}" if options.side == "both" else "")
            yield Scan(case, (image,), label_of.get(name), split, settings.of(name, image, side))


class _Settings:
    """The options as they are for one case; tables are read once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.spacings = read_spacings(options.spacing_csv) if options.spacing_csv else {}
        self.rods = read_rods(options.phantom_rods) if options.phantom_rods else {}
        self.orientation = checked_orientation(options.orientation)
        width, height = options.window_mm or (160.0, 160.0)
        self.window = None if options.no_crop else Window(width, height, options.window_voxels, *options.centre)
        left = _sources(options.label or options.label_right)
        right = _sources(options.label_right or options.label)
        self.sources = {LEFT: left, RIGHT: {name: right[name] for name in left}}

    def of(self, name: str, image: Path, side: str) -> QctSettings:
        own, other = self.sources[side], self.sources[RIGHT if side == LEFT else LEFT]
        own_sources = tuple(own.values())
        return QctSettings(
            side=side,
            both_sides=self.options.side == "both",
            window=self.window,
            label_sources=own_sources,
            other_sources=tuple(source for group in other.values() for source in group if not any(source in mine for mine in own_sources)),
            drop_other_labels=self.options.drop_other_labels,
            series=self.options.series,
            spacing_mm=self._spacing_mm(name, image),
            orientation=self.orientation,
            calibration=self._calibration(name),
            write_density=self.options.write_density,
        )

    def _spacing_mm(self, name: str, image: Path) -> tuple[float, float, float] | None:
        if image.suffix.lower() not in ARRAY_SUFFIXES:
            return None
        z, y, x = self.options.spacing_mm or self.spacings.get(name) or (0.0, 0.0, 0.0)
        if not min(z, y, x) > 0:
            table = f"{self.options.spacing_csv} has no line for it" if self.options.spacing_csv else "none above 0 is given"
            raise UserError(f"a NumPy volume needs its spacing, for '{name}' {table}: give --spacing-mm Z Y X or --spacing-csv")
        return z, y, x

    def _calibration(self, name: str) -> Calibration | None:
        if self.options.density:
            return Calibration(*self.options.density)
        if not self.rods:
            return None
        found = self.rods.get(name) or self.rods.get("")
        if found is None:
            raise UserError(f"every case needs its phantom rods, {self.options.phantom_rods} has none for '{name}': add them")
        return found


def entries(source: str, masks: bool = False) -> dict[str, Path]:
    """Name of each case -> its file, or the folder with its DICOM files.

    Args:
        source: a folder of files, a folder with one folder per case, the folder of a single series, a single file, or a pattern with one *.
        masks: whether single DICOM files of a folder are cases, rather than slices of one.

    Raises:
        UserError: nothing found, files and folders side by side, or two entries of one name.
    """
    suffixes = (*FILE_SUFFIXES, *DICOM_SUFFIXES) if masks or "*" in source else FILE_SUFFIXES
    pairs = list(_matching(source, suffixes) if "*" in source else _inside(Path(source), suffixes))
    if not pairs:
        raise UserError(f"no scans in {source}: expected image files ({', '.join(FILE_SUFFIXES)}) or folders of DICOM files")
    found: dict[str, Path] = {}
    for name, path in pairs:
        if name in found:
            raise UserError(f"the case '{name}' is there twice, {found[name]} and {path}: keep one")
        found[name] = path
    return found


def _matching(source: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    pattern = os.path.normpath(source)
    if pattern.count("*") != 1:
        raise UserError(f"a pattern must hold one *, which stands for the case name, got '{source}'")
    of_case = re.compile(re.escape(pattern).replace(r"\*", "([^/]+)"))
    for found in sorted(glob.glob(pattern)):
        path, match = Path(found), of_case.fullmatch(found)
        if match and (path.is_dir() or path.name.lower().endswith(suffixes)):
            yield _stem(match[1], suffixes), path


def _inside(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    if folder.is_file() and folder.name.lower().endswith(suffixes):
        yield _stem(folder.name, suffixes), folder
        return
    if not folder.is_dir():
        kind = "a file of another kind" if folder.exists() else "not there"
        raise UserError(f"expected a folder of scans or an image file, got {folder}, which is {kind}")
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    files = [path for path in visible if path.is_file() and path.name.lower().endswith(suffixes)]
    folders = [path for path in visible if path.is_dir()]
    loose = files or [path for path in visible if path.is_file() and _may_be_slice(path)] if folders else []
    if loose:  # a folder beside files is no case, so an empty one does no harm
        folders = [path for path in folders if any(path.iterdir())]
    if loose and folders:
        raise UserError(
            f"{folder} holds {len(loose)} scan file(s) ({loose[0].name}) and folders ({folders[0].name}): give each case a folder, "
            f"or use a pattern such as '{folder}/*/CT'"
        )
    if not files and not folders and visible:
        yield folder.resolve().name, folder  # the slices of one series
    yield from ((_stem(path.name, suffixes), path) for path in files)
    yield from ((path.name, path) for path in folders)


def _may_be_slice(path: Path) -> bool:
    return path.name.lower().endswith(DICOM_SUFFIXES) or begins_like_dicom(path)


def _stem(name: str, suffixes: tuple[str, ...]) -> str:
    """The name without its ending and nnU-Net's channel suffix."""
    ending = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return re.sub(r"(?<=.)_0000$", "", name[: len(name) - len(ending)])


def _refuse_unmatched(image_of: Mapping[str, Path], label_of: Mapping[str, Path]) -> None:
    advice = "add it, or convert the unlabelled scans without -l"
    for these, those, text in ((image_of, label_of, "an image needs a label"), (label_of, image_of, "a label needs an image")):
        alone = [name for name in these if name not in those]
        if alone:
            raise UserError(f"{text} of the same name, there is none for {these[alone[0]]} ({len(alone)} in all): {advice}")


def _sources(pairs: list[str]) -> dict[str, tuple[str, ...]]:
    """Label name -> its sources, from texts NAME=SOURCE."""
    sources: dict[str, tuple[str, ...]] = {}
    for text in pairs:
        name, equals, source = (part.strip() for part in text.partition("="))
        if not (name and equals and source) or name == "background":
            raise UserError(f"a label must be given as NAME=SOURCE, such as femur=1 or femur='Left Femur', got '{text}'")
        if any(source in others for others in sources.values()):
            raise UserError(f"'{source}' is the source of two labels: give it to one of them")
        sources[name] = (*sources.get(name, ()), source)
    return sources
