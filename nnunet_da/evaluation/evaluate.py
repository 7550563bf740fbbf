"""Score a folder of predictions against a folder of references, per case, label and domain."""

import math
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import CaseFiles, method_name, pair_folders
from nnunet_da.evaluation.label_maps import UnreadableError, check_same_geometry, differing_geometry, read_geometry, read_label_map
from nnunet_da.evaluation.labels import Labels, boxes_of_values, find_dataset_json, labels_of_values, read_labels
from nnunet_da.evaluation.regrid import check_same_dimensions
from nnunet_da.evaluation.score import CaseScores, Scoring, score_case
from nnunet_da.evaluation.workers import default_processes, each_in, workers

__all__ = ["CaseScores", "Evaluation", "Scoring", "evaluate_folders"]


@dataclass(frozen=True)
class Evaluation:
    """All scores of one folder, and what could not be scored.

    Attributes:
        method: name of what made the predictions.
        labels: what was scored.
        cases: scores, sorted by case.
        failed: case -> why it could not be scored.
        unexpected_predictions: cases without a reference.
        not_expected: references whose prediction was not expected, as of other folds.
        scoring: the choices made.
        dataset_json: where the labels come from; None: the references' values.
    """

    method: str
    labels: Labels
    cases: list[CaseScores]
    failed: dict[str, str] = field(default_factory=dict)
    unexpected_predictions: list[str] = field(default_factory=list)
    not_expected: list[str] = field(default_factory=list)
    scoring: Scoring = field(default_factory=Scoring)
    dataset_json: Path | None = None

    def undefined(self) -> list[tuple[str, str, str]]:
        """(case, label, metric) of every value that is not defined."""
        return [
            (scores.files.case, label, metric)
            for scores in self.cases
            for label, metrics in scores.metrics.items()
            for metric, value in metrics.items()
            if math.isnan(value)
        ]


def evaluate_folders(
    references: Path,
    predictions: Path,
    *,
    images: Path | None = None,
    domains: str | Mapping[str, str] | None = None,
    method: str | None = None,
    dataset_json: Path | None = None,
    scoring: Scoring | None = None,
    only_predicted: bool = False,
    processes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every reference that has a prediction.

    A missing prediction and an unreadable file are listed in `failed`, and the other cases are scored.

    Args:
        references: folder of label maps, any format SimpleITK reads; the file name without ending is the case.
        predictions: folder of label maps with the same case names; the ending may differ. Stock nnU-Net's own folders will do.
        images: folder of the scans, `CASE_0000.ENDING` or `CASE.ENDING`; only noted, for later pictures.
        domains: one domain for all cases, or case -> domain; default the `DatasetXXX_NAME` in the references' path.
        method: default the trainer's folder name in the predictions' path, else the predictions' folder.
        dataset_json: labels and regions; default the one nnU-Net left with the predictions, their model or the references, else the
            references' values.
        scoring: tolerances, field of view, resampling.
        only_predicted: a reference without prediction is no failure, as it never is for nnU-Net's validation folders of single folds.
        processes: cases scored at a time; default one per core up to 8, one where there are few cases.
        progress: show a progress bar on a terminal.

    Raises:
        UserError: nothing can be scored, geometries differ, or a label map holds values it must not hold.
    """
    scoring = scoring or Scoring()
    paired = pair_folders(references, predictions, images, domains, only_predicted=only_predicted)
    failed = {case: f"no prediction in {predictions}" for case in paired.without_prediction}
    cases = _with_equal_geometry(paired.cases, failed, scoring)
    dataset_json = dataset_json or find_dataset_json(predictions, references)
    declared = read_labels(dataset_json) if dataset_json else None
    with workers(processes or default_processes(len(cases)), len(cases)) as pool:
        labels = declared or _labels_of_references(cases, references, pool)
        scores = _score_all(cases, labels, scoring, failed, pool, progress)
    if not scores:
        raise UserError(f"no case could be scored; the first of {len(failed)} reasons: {next(iter(failed.values()))}")
    return Evaluation(
        method or method_name(predictions),
        labels,
        scores,
        dict(sorted(failed.items())),
        paired.without_reference,
        paired.not_expected,
        scoring,
        dataset_json,
    )


def _with_equal_geometry(cases: list[CaseFiles], failed: dict[str, str], scoring: Scoring) -> list[CaseFiles]:
    """Compare all headers before any work: an unreadable header fails its case, a differing geometry is an error."""
    readable, differing = [], []
    for files in cases:
        try:
            geometries = read_geometry(files.reference), read_geometry(files.prediction)
        except UnreadableError as error:
            failed[files.case] = str(error)
            continue
        readable.append(files)
        if scoring.allow_resample:
            check_same_dimensions(*geometries, files.case)
        elif differing_geometry(*geometries):
            differing.append((files, geometries))
    if differing:
        files, geometries = differing[0]
        try:
            check_same_geometry(*geometries, files.case)
        except UserError as error:
            raise UserError(f"{error} So it is in {len(differing)} of {len(cases)} cases.") from None
    return readable


def _labels_of_references(cases: list[CaseFiles], references: Path, pool: ProcessPoolExecutor | None) -> Labels:
    found: list[set[int]] = []
    for _, values in each_in(pool, _values_in, [files.reference for files in cases]):
        with suppress(UnreadableError):  # scoring meets it again and lists it
            found.append(values())
    if found and not any(found):
        raise UserError(f"labels were expected in {references}, but every reference is empty: name the labels with --dataset-json.")
    return labels_of_values(set().union(*found))


def _values_in(file: Path) -> set[int]:
    return set(boxes_of_values(read_label_map(file)[0]))


def _score_all(
    cases: list[CaseFiles], labels: Labels, scoring: Scoring, failed: dict[str, str], pool: ProcessPoolExecutor | None, progress: bool
) -> list[CaseScores]:
    scores: list[CaseScores] = []
    with tqdm(total=len(cases), desc="cases", unit="case", disable=None if progress else True) as bar:
        for files, result in each_in(pool, partial(score_case, labels=labels, scoring=scoring), cases):
            try:
                scores.append(result())
            except UnreadableError as error:
                failed[files.case] = str(error)
            bar.update()
    return sorted(scores, key=lambda scored: scored.files.case)
