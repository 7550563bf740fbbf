"""Which files belong to one case, and what domain and method they stand for."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_da.errors import UserError
from nnunet_da.evaluation.label_maps import find_cases

UNNAMED_DOMAIN = "unnamed"


@dataclass(frozen=True)
class CaseFiles:
    """One case to score."""

    case: str
    reference: Path
    prediction: Path
    image: Path | None
    domain: str


@dataclass(frozen=True)
class PairedFolders:
    """Cases with reference and prediction, and the names of those that have one alone.

    Attributes:
        cases: with both.
        without_prediction: a prediction was expected.
        without_reference: predictions alone.
        not_expected: references alone, where only some cases were to be predicted.
    """

    cases: list[CaseFiles]
    without_prediction: list[str]
    without_reference: list[str]
    not_expected: list[str]


def pair_folders(
    references: Path,
    predictions: Path,
    images: Path | None,
    domains: str | Mapping[str, str] | None,
    *,
    only_predicted: bool = False,
) -> PairedFolders:
    """Match files by case name; see `evaluate_folders` for the arguments.

    nnU-Net's `fold_X/validation` and `crossval_results_folds_X` hold the cases of their folds: references of others are not missed there.

    Raises:
        UserError: a folder is missing or empty, no case is in both, or a case has no domain.
    """
    found_references, found_predictions = find_cases(references), find_cases(predictions)
    found_images = find_cases(images) if images else {}
    common = [case for case in found_references if case in found_predictions]
    if not common:
        raise UserError(f"cases of one name in {references} and {predictions} were expected, got none in common: check both folders.")
    domain_of = _domains_of(common, domains, references)
    alone = sorted(set(found_references) - set(common))
    some = only_predicted or _holds_some_folds(predictions)
    return PairedFolders(
        [
            CaseFiles(
                case,
                found_references[case],
                found_predictions[case],
                found_images.get(f"{case}_0000", found_images.get(case)),
                domain_of[case],
            )
            for case in common
        ],
        without_prediction=[] if some else alone,
        without_reference=sorted(set(found_predictions) - set(common)),
        not_expected=alone if some else [],
    )


def read_domains(file: Path) -> dict[str, str]:
    """Case -> domain from a CSV with the columns `case` and `domain`. Raises UserError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(row["case"].strip(), row["domain"].strip()) for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise UserError(f"{file} must be a CSV with the columns case and domain, got {type(error).__name__}: {error}.") from error
    domains = dict(rows)
    twice = next((case for case, domain in rows if domains[case] != domain), None)
    if twice is not None:
        raise UserError(f"{file} must name one domain per case, got two for {twice}: correct it.")
    return domains


def method_name(predictions: Path) -> str:
    """nnU-Net's TRAINER__PLANS__CONFIGURATION where it is in the path, else the folder's own name."""
    parts = predictions.resolve().parts
    return next((part for part in reversed(parts) if part.count("__") == 2), parts[-1])


def _holds_some_folds(predictions: Path) -> bool:
    return (
        re.search(r"/(fold_(\d+|all)/validation|crossval_results_folds_)[^/]*(/postprocessed)?$", predictions.resolve().as_posix())
        is not None
    )


def _domains_of(cases: list[str], domains: str | Mapping[str, str] | None, references: Path) -> dict[str, str]:
    if domains is None or isinstance(domains, str):
        return dict.fromkeys(cases, domains or _dataset_name(references))
    without = [case for case in cases if not domains.get(case)]
    if without:
        raise UserError(
            f"every case needs a domain, but {len(without)} of {len(cases)} have none, first {without[0]}: add them to --domains."
        )
    return {case: domains[case] for case in cases}


def _dataset_name(folder: Path) -> str:
    return next((part for part in reversed(folder.resolve().parts) if re.fullmatch(r"Dataset\d{3}_.+", part)), UNNAMED_DOMAIN)
