"""The TotalSegmentator data sets, CT and MR, to a nnU-Net dataset of the classes you choose.

Layout of the releases (CT v1 and v2, MR): `s0001/ct.nii.gz` (MR: `mri.nii.gz`), `s0001/segmentations/CLASS.nii.gz`, and `meta.csv`, which
has the institute, the scanner and the release's split of each subject.
"""

import argparse
import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.conversion.public_cases import Part
from nnunet_da.conversion.public_files import refuse_no_folder
from nnunet_da.conversion.public_sets import add_set_arguments, convert_parts
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.public_labels import Classes
    from nnunet_da.conversion.scan import Scan
    from nnunet_da.conversion.tables import Row

HELP = "TotalSegmentator CT and MR (s0001/ct.nii.gz, s0001/segmentations/femur_left.nii.gz), the classes you choose"

IMAGE_FILES = {"ct": "ct.nii.gz", "mr": "mri.nii.gz"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser, "the release: meta.csv and a folder per subject")
    parser.add_argument(
        "--classes",
        nargs="+",
        required=True,
        metavar="CLASS",
        help="label values 1, 2, ... in this order; NAME=CLASS+CLASS unites several, such as lumbar_spine=vertebrae_L1+vertebrae_L2",
    )
    parser.add_argument("--modality", choices=IMAGE_FILES, help="where a folder holds both (default: the one there is)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="subjects of meta.csv alone, such as institute=A; repeat"
    )
    parser.add_argument("--official-split", action="store_true", help="hold out the subjects that meta.csv calls 'test'")
    parser.add_argument("--keep-empty", action="store_true", help="keep scans that show none of the classes (default: leave them out)")


def run(options: argparse.Namespace) -> int:
    """Convert."""
    from nnunet_da.conversion.public_labels import load_masks

    classes = parse_classes(options.classes)
    modality, scans = _scans(options, classes)
    labels = {name: value for value, (name, _) in enumerate(classes, start=1)}
    return convert_parts(options, load_masks, [Part(scans, (modality.upper(),), labels)], "nnunet-da convert totalsegmentator")


def parse_classes(texts: Sequence[str]) -> "Classes":
    """Our names, and the classes each unites.

    Raises:
        UserError: an empty name, or one that comes twice.
    """
    split = [text.partition("=") for text in texts]
    classes = tuple((name, tuple((united or name).split("+"))) for name, _, united in split)
    names, singles = [name for name, _ in classes], [single for _, united in classes for single in united]
    if not all(names + singles) or len(set(names)) < len(names) or len(set(singles)) < len(singles):
        raise UserError(f"classes must be CLASS or NAME=CLASS+CLASS, each once, got {' '.join(texts)}")
    return classes


def _scans(options: argparse.Namespace, classes: "Classes") -> tuple[str, list["Scan"]]:
    from nnunet_da.conversion.scan import TEST, Scan

    modality, images = _images(refuse_no_folder(options.input), options.modality)
    rows = _meta(options.input / "meta.csv") if options.where or options.official_split else {}
    missing = sorted(images.keys() - rows.keys()) if rows else []
    if missing:
        raise UserError(f"meta.csv must have a row per subject, none for '{missing[0]}' ({len(missing)} in all): complete it")
    subjects = [subject for subject in images if all(_answers(rows[subject], text) for text in options.where)]
    scans = [Scan(subject, (images[subject],), images[subject].parent / "segmentations", settings=classes) for subject in subjects]
    for scan in scans:
        _refuse_missing_masks(scan)
    if options.official_split:
        scans = [replace(scan, split=TEST) if rows[scan.case]["split"] == "test" else scan for scan in scans]
    return modality, scans if options.keep_empty else _not_empty(scans, options.processes)


def _images(root: Path, modality: str | None) -> tuple[str, dict[str, Path]]:
    found = {kind: {path.parent.name: path for path in sorted(root.glob(f"*/{name}"))} for kind, name in IMAGE_FILES.items()}
    kinds = [kind for kind in found if found[kind] and modality in (None, kind)]
    if len(kinds) != 1:
        what = "both" if kinds else f"neither, or not {modality}" if modality else "neither"
        raise UserError(
            f"expected SUBJECT/ct.nii.gz or SUBJECT/mri.nii.gz in {root}, found {what}: name the release's folder or --modality"
        )
    return kinds[0], found[kinds[0]]


def _meta(file: Path) -> dict[str, "Row"]:
    """Subject -> row of the release's table, which `--where` and `--official-split` need."""
    from nnunet_da.conversion.tables import read_table

    return {row["image_id"]: row for row in read_table(file, "the release's table", ["image_id"]).rows}


def _answers(row: "Row", text: str) -> bool:
    column, _, value = text.partition("=")
    if column.casefold() not in row.values or not value:
        raise UserError(f"--where must be COLUMN=VALUE with a column of meta.csv ({', '.join(row.values)}), got '{text}'")
    return row[column] == value


def _refuse_missing_masks(scan: "Scan") -> None:
    assert scan.label is not None
    files = [scan.label / f"{single}.nii.gz" for _, united in scan.settings for single in united]
    for file in files:
        if not file.is_file():
            there = [path.name.removesuffix(".nii.gz") for path in scan.label.glob("*.nii.gz")]
            near = ", ".join(difflib.get_close_matches(file.name.removesuffix(".nii.gz"), there, 3)) or f"one of {len(there)} others"
            raise UserError(f"every subject needs a mask per class, {file} is not there: did you mean {near}?")


def _not_empty(scans: list["Scan"], processes: int) -> list["Scan"]:
    """Scans that show a class; the masks of the others are all 0."""
    from tqdm import tqdm

    from nnunet_da.conversion.public_labels import shows_anything
    from nnunet_da.evaluation.workers import each

    found = tqdm(each(shows_anything, scans, processes), total=len(scans), desc="looking for the classes", unit="case", disable=None)
    showing = {scan.case for scan, result in found if result()}
    if len(showing) < len(scans):
        print(f"{len(scans) - len(showing)} of {len(scans)} scans show none of the classes and are left out (--keep-empty keeps them)")
    return [scan for scan in scans if scan.case in showing]
