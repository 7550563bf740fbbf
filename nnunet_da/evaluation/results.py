"""Write an evaluation: metrics.csv, summary.json and evaluation.json."""

import csv
import io
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_da.evaluation.evaluate import Evaluation
from nnunet_da.evaluation.overlap import Overlap
from nnunet_da.evaluation.score import CaseScores, Scoring
from nnunet_da.outputs import check_output, relative, versions_of

RESULTS = METRICS_FILE, SUMMARY_FILE, MANIFEST_FILE = "metrics.csv", "summary.json", "evaluation.json"
COLUMNS = ("case", "domain", "label", "metric", "value", "unit")
LAYOUT = 1  # of metrics.csv and evaluation.json


def write_results(evaluation: Evaluation, folder: Path, *, command: str = "", overwrite: bool = False) -> None:
    """Write the three files; each appears whole or not at all.

    Args:
        evaluation: scores.
        folder: made where it is missing.
        command: how it was called, for the records.
        overwrite: replace an earlier evaluation.

    Raises:
        UserError: the folder holds results already and `overwrite` is False.
    """
    check_output(folder, RESULTS, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        METRICS_FILE: metrics_csv(evaluation),
        SUMMARY_FILE: json.dumps(summary(evaluation), indent=4, sort_keys=True),
        MANIFEST_FILE: json.dumps(manifest(evaluation, folder, command), indent=2),
    }
    for name, text in texts.items():
        (folder / f".{name}.tmp").write_text(text, encoding="utf-8")
    for name in texts:
        os.replace(folder / f".{name}.tmp", folder / name)


def unit_of(metric: str) -> str:
    """mm, mm3 or fraction, from the metric's name; `nsd_1mm` is a fraction at 1 mm."""
    return "mm3" if metric.endswith("_mm3") else "mm" if metric.endswith("_mm") else "fraction"


def metrics_csv(evaluation: Evaluation) -> str:
    """One row per value; an undefined value is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for scores in evaluation.cases:
        for label, metrics in scores.metrics.items():
            for metric, value in metrics.items():
                shown = "" if np.isnan(value) else repr(value)
                writer.writerow((scores.files.case, scores.files.domain, label, metric, shown, unit_of(metric)))
    return stream.getvalue()


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """nnU-Net's summary.json: its own keys with its own values (both masks empty: NaN), our metrics beside them."""
    per_case = [
        {
            "reference_file": str(scores.files.reference),
            "prediction_file": str(scores.files.prediction),
            "metrics": {label: _nnunet_metrics(scores.overlaps[label]) | scores.metrics[label] for label in scores.metrics},
        }
        for scores in sorted(evaluation.cases, key=lambda scores: scores.files.prediction.name)  # nnU-Net's order
    ]
    mean = {label: _nanmean([entry["metrics"][label] for entry in per_case]) for label in evaluation.labels.keys}  # type: ignore[index]
    names = next(iter(mean.values()))
    foreground_mean = {name: float(np.mean([values[name] for values in mean.values()])) for name in names}
    return {"metric_per_case": per_case, "mean": mean, "foreground_mean": foreground_mean}


def manifest(evaluation: Evaluation, folder: Path, command: str = "") -> dict[str, Any]:
    """What was scored with what; paths are relative to `folder`, so that everything can be moved together."""
    return {
        "layout": LAYOUT,
        "command": command,
        "method": evaluation.method,
        "labels": evaluation.labels.keys,
        "labels_from": None if evaluation.dataset_json is None else relative(evaluation.dataset_json, folder),
        "specificity_field_of_view": _field_of_view(evaluation.scoring),
        "nsd_mm": list(evaluation.scoring.nsd_mm),
        "cases": [_manifest_case(scores, evaluation.method, folder) for scores in evaluation.cases],
        "failed": evaluation.failed,
        "unexpected_predictions": evaluation.unexpected_predictions,
        "not_expected": evaluation.not_expected,
        "undefined": [{"case": case, "label": label, "metric": metric} for case, label, metric in evaluation.undefined()],
    }


def _field_of_view(scoring: Scoring) -> dict[str, Any]:
    if scoring.field_of_view_mm is None:
        return {"voxels": "the whole image", "margin_mm": None}
    return {"voxels": "the box around the reference's labels, grown by the margin", "margin_mm": scoring.field_of_view_mm}


def _manifest_case(scores: CaseScores, method: str, folder: Path) -> dict[str, Any]:
    files = scores.files
    return {
        "case": files.case,
        "domain": files.domain,
        "method": method,
        "image": None if files.image is None else relative(files.image, folder),
        "reference": relative(files.reference, folder),
        "prediction": relative(files.prediction, folder),
        "spacing_mm": list(scores.spacing_mm),
        "field_of_view_voxels": scores.field_of_view_voxels,
        "unscored_values": scores.unscored_values,
        "resampled": None if scores.resampled is None else asdict(scores.resampled),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what computes the metrics."""
    return versions_of("numpy", "edt", "SimpleITK")


def _nnunet_metrics(counts: Overlap) -> dict[str, float]:
    """nnU-Net's own names and values: its Dice and IoU are NaN where both masks are empty."""
    both_empty = counts.reference_voxels == counts.prediction_voxels == 0
    return {
        "Dice": float("nan") if both_empty else counts.dice,
        "IoU": float("nan") if both_empty else counts.iou,
        "TP": counts.true_positives,
        "FP": counts.false_positives,
        "FN": counts.false_negatives,
        "TN": counts.true_negatives,
        "n_pred": counts.prediction_voxels,
        "n_ref": counts.reference_voxels,
    }


def _nanmean(values: list[Mapping[str, float]]) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nothing defined: NaN, as in nnU-Net
        return {name: float(np.nanmean([value[name] for value in values])) for name in values[0]}
