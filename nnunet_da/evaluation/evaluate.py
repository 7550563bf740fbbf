"""Score a folder of predictions against a folder of references, per case, label and domain."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnunet_da.errors import UserError
from nnunet_da.evaluation.cases import CaseFiles, method_name, pair_folders
from nnunet_da.evaluation.label_maps import UnreadableError, check_same_geometry, read_geometry, read_label_map
from nnunet_da.evaluation.labels import Labels, labels_of_values, mask_of, read_labels, values_in
from nnunet_da.evaluation.overlap import Overlap, overlap
from nnunet_da.evaluation.surface import surface_distances

MOST_PROCESSES = 8


@dataclass(frozen=True)
class CaseScores:
    """One scored case: label key ("1", "(1, 2)") -> voxel counts, and -> metric name -> value (NaN where undefined)."""

    files: CaseFiles
    spacing_mm: tuple[float, ...]
    overlaps: dict[str, Overlap]
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """All scores of one folder, and what could not be scored."""

    method: str
    labels: Labels
    cases: list[CaseScores]
    failed: dict[str, str] = field(default_factory=dict)  # case -> reason
    unexpected_predictions: list[str] = field(default_factory=list)

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
    processes: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every reference that has a prediction.

    A missing prediction and an unreadable file are listed in `failed`, and the other cases are scored.

    Args:
        references: folder of label maps, any format SimpleITK reads; the file name without ending is the case.
        predictions: folder of label maps with the same case names; the ending may differ.
        images: folder of the scans, `CASE_0000.ENDING` or `CASE.ENDING`; only noted, for later pictures.
        domains: one domain for all cases, or case -> domain; default the `DatasetXXX_NAME` in the references' path.
        method: default the trainer's folder name in the predictions' path, else the predictions' folder.
        dataset_json: labels and regions; default the one nnUNetv2_predict leaves beside the predictions, else the references' values.
        processes: cases scored at a time; default one per core up to 8, one where there are few cases.
        progress: show a progress bar on a terminal.

    Raises:
        UserError: nothing can be scored, geometries differ, or a label map holds values it must not hold.
    """
    paired = pair_folders(references, predictions, images, domains)
    failed = {case: f"no prediction in {predictions}" for case in paired.without_prediction}
    cases = _with_equal_geometry(paired.cases, failed)
    labels = _labels_to_score(dataset_json, predictions, cases)
    scores = _score_all(cases, labels, failed, processes or _default_processes(len(cases)), progress)
    if not scores:
        raise UserError(f"no case could be scored; the first of {len(failed)} reasons: {next(iter(failed.values()))}")
    return Evaluation(method or method_name(predictions), labels, scores, dict(sorted(failed.items())), paired.without_reference)


def score_case(files: CaseFiles, labels: Labels) -> CaseScores:
    """Scores of one case for every label and region.

    Raises:
        UserError: a file is unreadable, the geometries differ, or a label map holds values it must not hold.
    """
    reference, geometry = read_label_map(files.reference)
    prediction, geometry_prediction = read_label_map(files.prediction)
    check_same_geometry(geometry, geometry_prediction, files.case)
    _check_values(reference, files.reference, labels, allow_ignore=True)
    _check_values(prediction, files.prediction, labels, allow_ignore=False)
    ignore = None if labels.ignore is None else reference == labels.ignore
    overlaps, metrics = {}, {}
    for label in labels.names:
        masks = mask_of(reference, label), mask_of(prediction, label)
        overlaps[str(label)] = overlap(*masks, geometry.spacing_mm, ignore=ignore)
        distances = surface_distances(*masks, geometry.spacing_mm, ignore=ignore)
        metrics[str(label)] = overlaps[str(label)].metrics() | distances.metrics()
    return CaseScores(files, geometry.spacing_mm, overlaps, metrics)


def _with_equal_geometry(cases: list[CaseFiles], failed: dict[str, str]) -> list[CaseFiles]:
    """Compare all headers before any work: an unreadable header fails its case, a differing geometry is an error."""
    readable = []
    for files in cases:
        try:
            geometry, geometry_prediction = read_geometry(files.reference), read_geometry(files.prediction)
        except UnreadableError as error:
            failed[files.case] = str(error)
            continue
        check_same_geometry(geometry, geometry_prediction, files.case)
        readable.append(files)
    return readable


def _labels_to_score(dataset_json: Path | None, predictions: Path, cases: list[CaseFiles]) -> Labels:
    beside = predictions / "dataset.json"
    if dataset_json is not None or beside.is_file():
        return read_labels(dataset_json or beside)
    values: set[int] = set()
    for files in cases:
        try:
            values |= values_in(read_label_map(files.reference)[0])
        except UnreadableError:
            continue  # scoring meets it again and lists it
    if values == {0}:
        raise UserError(
            f"labels were expected in {cases[0].reference.parent}, but every reference is empty: name the labels with --dataset-json."
        )
    return labels_of_values(values)


def _check_values(label_map: np.ndarray, file: Path, labels: Labels, *, allow_ignore: bool) -> None:
    if labels.allowed_values is None:
        return
    allowed = labels.allowed_values | ({labels.ignore} if allow_ignore and labels.ignore is not None else set())
    outside = sorted(values_in(label_map) - allowed)
    if outside:
        raise UserError(
            f"{file} must hold the labels {sorted(allowed)} of dataset.json, got {outside[:5]}: check the file and --dataset-json."
        )


def _default_processes(cases: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_PROCESSES, cases // 4))


def _score_all(cases: list[CaseFiles], labels: Labels, failed: dict[str, str], processes: int, progress: bool) -> list[CaseScores]:
    scores: list[CaseScores] = []
    with tqdm(total=len(cases), desc="cases", unit="case", disable=None if progress else True) as bar:
        for files, result in _results(cases, labels, processes):
            try:
                scores.append(result())
            except UnreadableError as error:
                failed[files.case] = str(error)
            except BrokenProcessPool as error:
                raise UserError("a worker process ended early, most likely out of memory: use fewer --processes.") from error
            bar.update()
    return sorted(scores, key=lambda scored: scored.files.case)


def _results(cases: list[CaseFiles], labels: Labels, processes: int) -> Iterator[tuple[CaseFiles, Callable[[], CaseScores]]]:
    """Each case with a call that returns its scores or raises what went wrong."""
    if processes == 1 or len(cases) < 2:
        yield from ((files, partial(score_case, files, labels)) for files in cases)
        return
    with ProcessPoolExecutor(min(processes, len(cases)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(score_case, files, labels): files for files in cases}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result
        finally:
            pool.shutdown(cancel_futures=True)  # the first wrong file ends it
