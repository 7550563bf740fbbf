"""Scores of the hold-out: every fold's model, their mean and spread, and the ensemble, per cohort."""

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.datasets import RawDataset, find_dataset
from nnunet_da.errors import UserError
from nnunet_da.evaluation.evaluate import evaluate_folders
from nnunet_da.evaluation.label_maps import find_cases
from nnunet_da.evaluation.score import CaseScores, Scoring
from nnunet_da.radiomics.agreement import agreement, determination
from nnunet_da.vnet_femur.split import cohort_of, read_record

ENSEMBLE = "ensemble"
METRICS = {"dice": "dice", "sensitivity": "recall", "specificity": "specificity"}  # ours -> as in metrics.csv


@dataclass(frozen=True)
class Scores:
    """One model on the hold-out of one cohort; NaN where a number is not defined.

    Attributes:
        dice, sensitivity, specificity: means over the cases.
        r2_regression, r2_p: squared correlation of predicted with true volume, and the p value of its slope (3 cases or more).
        r2_identity: 1 - residual over total sum of squares against the line of identity.
        bias_mm3, loa_low_mm3, loa_high_mm3: Bland and Altman's mean difference, prediction minus reference, and 95 % limits.
    """

    dice: float
    sensitivity: float
    specificity: float
    r2_regression: float
    r2_p: float
    r2_identity: float
    bias_mm3: float
    loa_low_mm3: float
    loa_high_mm3: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True)
class CohortScores:
    """All models of one cohort.

    Attributes:
        cohort: its name.
        cases: of the hold-out.
        planned_folds: how many the split has.
        models: `fold_K` or `ensemble` -> scores.
        per_case: model -> case -> metric -> value (fraction or mm3).
        field_of_view_voxels: mean number of voxels that specificity counts.
    """

    cohort: str
    cases: list[str]
    planned_folds: int
    models: dict[str, Scores]
    per_case: dict[str, dict[str, dict[str, float]]]
    field_of_view_voxels: float

    @property
    def fold_models(self) -> list[Scores]:
        return [scores for name, scores in self.models.items() if name != ENSEMBLE]

    def over_folds(self) -> tuple[Scores, Scores]:
        """Mean and standard deviation (n - 1) over the fold models; no p value has a mean."""
        values = np.array([[getattr(scores, name) for name in Scores.names()] for scores in self.fold_models])
        values[:, Scores.names().index("r2_p")] = np.nan
        spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
        return Scores(*map(float, values.mean(axis=0))), Scores(*map(float, spread))


def score_cohorts(
    dataset_id: str, predictions: dict[str, Path], *, field_of_view_mm: float | None = None, label: str | None = None, processes: int = 1
) -> list[CohortScores]:
    """Score the predictions of every cohort that is given.

    Args:
        dataset_id: the dataset that was split; its own label maps are the reference.
        predictions: cohort -> folder with `fold_K` and, optionally, `ensemble`.
        field_of_view_mm: specificity counts a box around the reference with this margin; None the whole image.
        label: name of the label, needed where the dataset has several.
        processes: cases at a time.

    Raises:
        UserError: no split, no such cohort, a folder of another fold or with other cases than the hold-out, unreadable files.
    """
    dataset = find_dataset(dataset_id)
    record, scoring, key = read_record(dataset), Scoring(field_of_view_mm=field_of_view_mm), _label_key(dataset, label)
    models = {cohort: _models(folder, cohort, cohort_of(record, cohort)) for cohort, folder in predictions.items()}
    return [_score_cohort(dataset, record, cohort, found, scoring, key, processes) for cohort, found in models.items()]


def scores_of(per_case: dict[str, dict[str, float]]) -> Scores:
    """Means, both R2 and Bland-Altman of case -> metric -> value."""
    columns = {name: np.array([values[name] for values in per_case.values()]) for name in next(iter(per_case.values()))}
    reference, predicted = columns["reference_volume_mm3"], columns["volume_mm3"]
    fit, agreed = determination(reference, predicted), agreement(reference, predicted)
    dice, sensitivity, specificity = (_mean(columns[name]) for name in METRICS)
    volume = (fit.r2_correlation, fit.r2_p, fit.r2_identity, agreed.bias, agreed.loa_low, agreed.loa_high)
    return Scores(dice, sensitivity, specificity, *volume)


def _score_cohort(
    dataset: RawDataset, record: dict[str, Any], cohort: str, models: dict[str, Path], scoring: Scoring, key: str, processes: int
) -> CohortScores:
    part = record["cohorts"][cohort]
    per_case, voxels = {}, []
    for model, folder in models.items():
        evaluation = evaluate_folders(
            dataset.folder / "labelsTr",
            folder,
            domains=cohort,
            method=model,
            dataset_json=dataset.folder / "dataset.json",
            scoring=scoring,
            only_predicted=True,
            processes=processes,
        )
        if evaluation.failed:
            case, why = next(iter(evaluation.failed.items()))
            raise UserError(f"every case of the hold-out must be scored, '{case}' of {folder} could not be: {why}")
        per_case[model] = {scored.files.case: _values(scored, key) for scored in evaluation.cases}
        voxels += [scored.field_of_view_voxels for scored in evaluation.cases]
    scores = {model: scores_of(values) for model, values in per_case.items()}
    return CohortScores(cohort, part["hold_out"], len(part["folds"]), scores, per_case, float(np.mean(voxels)))


def _values(scored: CaseScores, key: str) -> dict[str, float]:
    metrics = scored.metrics[key]
    volumes = {"volume_mm3": metrics["volume_mm3"], "reference_volume_mm3": metrics["volume_mm3"] - metrics["volume_error_mm3"]}
    return {name: metrics[theirs] for name, theirs in METRICS.items()} | volumes


def _mean(values: np.ndarray) -> float:
    """Over the cases where the value is defined; NaN where it is in none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _models(folder: Path, cohort: str, part: dict[str, Any]) -> dict[str, Path]:
    """Model -> its folder, folds in order, the ensemble last; every one of them holds the hold-out and nothing else."""
    if not folder.is_dir():
        raise UserError(f"a folder of predictions was expected for the cohort {cohort}, but {folder} is none: check -p")
    found = {int(name[5:]): path for path in folder.iterdir() if re.fullmatch(r"fold_\d+", name := path.name)}
    foreign = sorted(set(found) - set(part["folds"]))
    if foreign:
        raise UserError(
            f"the cohort {cohort} has the folds {part['folds'][0]} to {part['folds'][-1]}, {folder} holds fold_{foreign[0]}:"
            " predict with the cohort's own folds"
        )
    if not found:
        raise UserError(f"predictions of fold models were expected in {folder}, in folders fold_{part['folds'][0]} and so on, got none")
    models = {f"fold_{fold}": found[fold] for fold in sorted(found)}
    models |= {ENSEMBLE: folder / ENSEMBLE} if (folder / ENSEMBLE).is_dir() else {}
    for path in models.values():
        _check_cases(set(find_cases(path)), set(part["hold_out"]), path, cohort)
    return models


def _check_cases(predicted: set[str], held_out: set[str], folder: Path, cohort: str) -> None:
    for cases, said in ((held_out - predicted, "is missing"), (predicted - held_out, "is not of it")):
        if cases:
            raise UserError(
                f"{folder} must hold the hold-out of the cohort {cohort} ({len(held_out)} cases) and nothing else, '{min(cases)}' {said}:"
                f" predict what `nnunet-da vnet-femur hold-out --cohort {cohort}` writes"
            )


def _label_key(dataset: RawDataset, label: str | None) -> str:
    """Key of the label in the scores."""
    labels = {name: value for name, value in dataset.description["labels"].items() if name not in ("background", "ignore")}
    if label is None and len(labels) == 1:
        label = next(iter(labels))
    if label not in labels:
        raise UserError(f"one label is scored, {dataset.name} has {', '.join(labels)}: name it with --label, got {label or 'none'}")
    value = labels[label]
    return str(tuple(value)) if isinstance(value, list) else str(value)
