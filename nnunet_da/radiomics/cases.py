"""Which images, references and predictions belong together, and which labels are measured."""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import method_name, pair_folders
from nnunet_da.evaluation.label_maps import UnreadableError, read_label_map
from nnunet_da.evaluation.labels import Label, Labels, find_dataset_json, labels_of_values, read_labels
from nnunet_da.evaluation.results import LAYOUT, MANIFEST_FILE


@dataclass(frozen=True)
class RadiomicsCase:
    """Three files on one grid."""

    case: str
    domain: str
    image: Path
    reference: Path
    prediction: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        return self.image, self.reference, self.prediction


@dataclass(frozen=True)
class Cohort:
    """Cases of one method, and those that cannot be measured with the reason."""

    method: str
    labels: Labels
    cases: list[RadiomicsCase]
    failed: dict[str, str] = field(default_factory=dict)


def cohort_of_evaluations(folders: Sequence[Path]) -> Cohort:
    """Cases of the evaluations of one method, for instance one per domain.

    Args:
        folders: folders that `nnunet-da evaluate --images ...` wrote, or their evaluation.json.

    Raises:
        UserError: no evaluation, another layout, several methods or label sets, a case twice, or an evaluation without images.
    """
    manifests = [(folder, _read_manifest(folder)) for folder in folders]
    methods, label_sets = {manifest["method"] for _, manifest in manifests}, [manifest["labels"] for _, manifest in manifests]
    if len(methods) > 1 or any(labels != label_sets[0] for labels in label_sets):
        raise UserError(
            f"evaluations of one method with one set of labels were expected, got {', '.join(sorted(methods))} with {label_sets}: "
            "run radiomics for each."
        )
    cases = [_case(entry, folder) for folder, manifest in manifests for entry in manifest["cases"]]
    failed = {
        f"{(folder.parent if folder.is_file() else folder).name}/{case}": reason
        for folder, manifest in manifests
        for case, reason in manifest["failed"].items()
    }
    _check_unique(cases)
    if not cases:
        raise UserError(f"at least one scored case was expected in {', '.join(map(str, folders))}, got none: evaluate predictions first.")
    labels = Labels({_label(key): name for key, name in label_sets[0].items()}, ignore=_ignore(cases[0]))
    return Cohort(methods.pop(), labels, cases, failed)


def cohort_of_folders(
    images: Path,
    references: Path,
    predictions: Path,
    domains: str | Mapping[str, str] | None = None,
    dataset_json: Path | None = None,
) -> Cohort:
    """Cases with a file in each of three folders; arguments as in `nnunet_da.evaluation.evaluate.evaluate_folders`.

    Raises:
        UserError: a folder is missing or empty, nothing belongs together, or no label is there.
    """
    paired = pair_folders(references, predictions, images, domains)
    failed = {case: f"no prediction in {predictions}" for case in paired.without_prediction}
    failed |= {files.case: f"no image in {images}" for files in paired.cases if files.image is None}
    cases = [
        RadiomicsCase(files.case, files.domain, files.image, files.reference, files.prediction)
        for files in paired.cases
        if files.image is not None
    ]
    if not cases:
        raise UserError(
            f"images CASE_0000.ENDING or CASE.ENDING of the references' cases were expected in {images}, got none: check --images."
        )
    dataset_json = dataset_json or find_dataset_json(predictions, references)
    labels = read_labels(dataset_json) if dataset_json else _labels_of_references(cases)
    return Cohort(method_name(predictions), labels, cases, failed)


def _read_manifest(folder: Path) -> dict:
    file = folder if folder.is_file() else folder / MANIFEST_FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        if manifest["layout"] != LAYOUT:
            raise ValueError(f"layout {manifest['layout']}")
        return {name: manifest[name] for name in ("method", "labels", "cases")} | {"failed": manifest.get("failed", {})}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} must be the evaluation.json (layout {LAYOUT}) of nnunet-da evaluate, got {type(error).__name__}: {error}. "
            "Name the folder that evaluate wrote."
        ) from error


def _case(entry: Mapping[str, str | None], folder: Path) -> RadiomicsCase:
    base = folder.parent if folder.is_file() else folder
    image, reference, prediction = (entry.get(name) for name in ("image", "reference", "prediction"))
    if not image:
        raise UserError(f"features need the scans, but {folder} names none for {entry['case']}: run evaluate again with --images.")
    return RadiomicsCase(str(entry["case"]), str(entry["domain"]), base / image, base / str(reference), base / str(prediction))


def _check_unique(cases: Sequence[RadiomicsCase]) -> None:
    seen: set[tuple[str, str]] = set()
    for case in cases:
        if (case.domain, case.case) in seen:
            raise UserError(f"each case once was expected, got {case.case} of {case.domain} twice: name each evaluation once.")
        seen.add((case.domain, case.case))


def _label(key: str) -> Label:
    """1 of "1", (1, 2) of "(1, 2)"."""
    try:
        value = ast.literal_eval(key)
    except (ValueError, SyntaxError) as error:
        raise UserError(f'labels like "1" or "(1, 2)" were expected in evaluation.json, got "{key}": evaluate again.') from error
    return tuple(int(part) for part in value) if isinstance(value, tuple) else int(value)


def _ignore(case: RadiomicsCase) -> int | None:
    dataset_json = find_dataset_json(case.prediction.parent, case.reference.parent)
    return read_labels(dataset_json).ignore if dataset_json else None


def _labels_of_references(cases: Sequence[RadiomicsCase]) -> Labels:
    values: set[int] = set()
    for case in cases:
        try:
            values |= {int(value) for value in np.unique(read_label_map(case.reference)[0])}
        except UnreadableError:
            continue  # measuring meets it again and lists it
    if not values - {0}:
        raise UserError(
            f"labels were expected in {cases[0].reference.parent}, but every reference is empty: name them with --dataset-json."
        )
    return labels_of_values(values)
