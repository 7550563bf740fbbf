"""Which duplicates and which shared patients would leak: across train, test and target, and across folds."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from nnunet_da import paths
from nnunet_da.audit.scans import TEST, TRAIN, AuditScan
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import UserError

SCAN, PATIENT = "same scan", "same patient"
FOLDS_OF_NNUNET = 5

Folds = Sequence[tuple[frozenset[str], frozenset[str]]]  # (training cases, validation cases) of each fold


@dataclass(frozen=True)
class Leak:
    """Two scans that must not stand on two sides.

    Attributes:
        kind: `SCAN` or `PATIENT`.
        between: the two sides, in words.
        detail: how certain, or who.
    """

    kind: str
    first: AuditScan
    second: AuditScan
    between: str
    detail: str


def leaks_of(
    kind: str, pairs: Iterable[tuple[AuditScan, AuditScan, str]], folds: Mapping[str, Folds]
) -> tuple[list[Leak], list[tuple[AuditScan, AuditScan, str]]]:
    """Pairs that cross a border, and those that stay on one side."""
    leaks, harmless = [], []
    for first, second, detail in pairs:
        between = border(first, second, folds)
        if between:
            leaks.append(Leak(kind, first, second, between, detail))
        else:
            harmless.append((first, second, detail))
    return leaks, harmless


def border(first: AuditScan, second: AuditScan, folds: Mapping[str, Folds]) -> str:
    """What lies between two scans: datasets, train and test, folds; "" where they stand on one side.

    Args:
        folds: dataset -> its folds.
    """
    if first.dataset != second.dataset:
        sides = sorted(f"{scan.role} {scan.split}" for scan in (first, second))
        return f"{sides[0]} and {sides[1]}"
    if first.split != second.split:
        return f"{first.role} {TRAIN} and {first.role} {TEST}"
    for train, validation in folds.get(first.dataset, ()):
        if any(here.case in train and there.case in validation for here, there in ((first, second), (second, first))):
            return "training and validation of a fold"
    return ""


def in_both_parts(scans: Iterable[AuditScan], folds: Mapping[str, Folds]) -> list[Leak]:
    """Training cases that a fold names for training and for validation at once."""
    return [
        Leak(SCAN, scan, scan, "training and validation of a fold", "one case named in both")
        for scan in scans
        if scan.split == TRAIN and any(scan.case in train & validation for train, validation in folds.get(scan.dataset, ()))
    ]


def same_patient(scans: list[AuditScan]) -> Iterator[tuple[AuditScan, AuditScan, str]]:
    """Every pair of scans of one patient; names that differ in case and leading zeros alone are one, as they are for `convert sites`."""
    groups = defaultdict(list)
    for scan in scans:
        if scan.patient:
            groups[re.sub(r"(?<!\d)0+(?=\d)", "", scan.patient.casefold())].append(scan)
    for members in groups.values():
        for first, second in combinations(members, 2):
            spelled = dict.fromkeys((first.patient, second.patient))
            yield first, second, f"patient {' and '.join(spelled)}"


def folds_of(source: RawDataset) -> tuple[Folds, str]:
    """The folds of the source's training cases, and where they are known from.

    From splits_final.json where there is one, else the split that stock nnU-Net will make.

    Raises:
        UserError: splits_final.json cannot be understood.
    """
    file = _splits_file(source)
    cases = sorted(source.training_images())
    if file is not None:
        return _read(file), "splits_final.json"
    if len(cases) < FOLDS_OF_NNUNET:
        return [], "nothing: there are too few cases for nnU-Net's five folds"
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    return _pairs(generate_crossval_split(cases)), "the split that nnU-Net makes by itself (no splits_final.json found)"


def _splits_file(source: RawDataset) -> Path | None:
    try:
        file = paths.nnunet_preprocessed() / source.name / "splits_final.json"
    except UserError:
        return None
    return file if file.is_file() else None


def _read(file: Path) -> Folds:
    import json

    try:
        return _pairs(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} must be a list of folds with 'train' and 'val' as nnU-Net writes it ({error}): restore it") from error


def _pairs(splits: list[dict[str, list[str]]]) -> Folds:
    return [(frozenset(map(str, fold["train"])), frozenset(map(str, fold["val"]))) for fold in splits]
