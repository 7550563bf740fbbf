"""`nnunet-da evaluate`: score predictions in mm, per case, label and domain."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.cli.options import positive
from nnunet_da.errors import CheckFailed

if TYPE_CHECKING:
    from nnunet_da.evaluation.evaluate import Evaluation

LISTED = 10
DECIMALS = {"dice": 4, "hd95_mm": 3, "asd_mm": 3}  # columns of the printed table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-r", "--references", type=Path, required=True, metavar="REF", help="folder of reference label maps")
    parser.add_argument(
        "-p", "--predictions", type=Path, required=True, metavar="PRED", help="folder of predicted label maps, same file names"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder for metrics.csv, summary.json, evaluation.json"
    )
    parser.add_argument("--images", type=Path, metavar="IMG", help="folder of the scans, for pictures in the report")
    domains = parser.add_mutually_exclusive_group()
    domains.add_argument("--domain", metavar="NAME", help="domain of all cases (default: the DatasetXXX_NAME in REF's path)")
    domains.add_argument("--domains", type=Path, metavar="CSV", help="file with the columns case and domain")
    parser.add_argument("--method", metavar="NAME", help="name of the method (default: the trainer's folder in PRED's path)")
    parser.add_argument("--dataset-json", type=Path, metavar="F", help="labels and regions (default: the one nnU-Net left)")
    parser.add_argument("--nsd-mm", type=float, nargs="+", default=[1.0], metavar="MM", help="tolerances of the surface Dice (default: 1)")
    parser.add_argument(
        "--field-of-view", type=float, metavar="MM", help="count specificity in a box around the reference's labels with this margin"
    )
    parser.add_argument("--allow-resample", action="store_true", help="bring predictions on another grid onto the reference's (nearest)")
    parser.add_argument("--only-predicted", action="store_true", help="a reference without prediction is no failure")
    parser.add_argument("--processes", type=positive, metavar="N", help="cases at a time (default: one per core, at most 8)")
    parser.add_argument("--overwrite", action="store_true", help="replace results in OUT")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.evaluation.cases import read_domains
    from nnunet_da.evaluation.evaluate import evaluate_folders
    from nnunet_da.evaluation.results import METRICS_FILE, RESULTS, write_results
    from nnunet_da.evaluation.score import Scoring
    from nnunet_da.outputs import check_output

    scoring = Scoring(tuple(dict.fromkeys(options.nsd_mm)), options.field_of_view, options.allow_resample)
    check_output(options.output, RESULTS, options.overwrite)
    evaluation = evaluate_folders(
        options.references,
        options.predictions,
        images=options.images,
        domains=read_domains(options.domains) if options.domains else options.domain,
        method=options.method,
        dataset_json=options.dataset_json,
        scoring=scoring,
        only_predicted=options.only_predicted,
        processes=options.processes,
    )
    write_results(evaluation, options.output, command=options.command, overwrite=options.overwrite)
    _print_summary(evaluation)
    print(f"written: {options.output / METRICS_FILE}")
    if evaluation.failed:
        raise CheckFailed(
            f"{len(evaluation.failed)} of {len(evaluation.failed) + len(evaluation.cases)} cases were not scored (listed above)."
        )


def _print_summary(evaluation: "Evaluation") -> None:
    print(f"method {evaluation.method}, {len(evaluation.cases)} cases, labels of {evaluation.dataset_json or 'the references'}")
    _print_means(evaluation)
    undefined = sorted({(case, label) for case, label, metric in evaluation.undefined() if metric == "hd95_mm"})
    _print_list("distances undefined (one mask empty)", [f"{case}, label {label}" for case, label in undefined])
    resampled = [(scores.files.case, scores.resampled) for scores in evaluation.cases if scores.resampled]
    _print_list("resampled onto the reference's grid", [f"{case}: {done.covered:.1%} of the grid covered" for case, done in resampled])
    unscored = [(scores.files.case, scores.unscored_values) for scores in evaluation.cases if scores.unscored_values]
    _print_list("predicted values that no label names, not scored", [f"{case}: {values}" for case, values in unscored])
    _print_list("predictions without a reference, left out", evaluation.unexpected_predictions)
    if evaluation.not_expected:
        print(f"references of other cases, no prediction expected: {len(evaluation.not_expected)}")
    _print_list("not scored", [f"{case}: {reason}" for case, reason in evaluation.failed.items()])


def _print_means(evaluation: "Evaluation") -> None:
    """One row per domain and label: means of the defined values, and how many cases have no distance."""
    import numpy as np

    metrics = [*DECIMALS, *(name for name in next(iter(evaluation.cases[0].metrics.values())) if name.startswith("nsd_"))]
    rows = [["domain", "label", "n", *metrics, "undefined"]]
    for domain in sorted({scores.files.domain for scores in evaluation.cases}):
        cases = [scores for scores in evaluation.cases if scores.files.domain == domain]
        for label, name in evaluation.labels.keys.items():
            values = {metric: np.array([scores.metrics[label][metric] for scores in cases]) for metric in metrics}
            defined = {metric: found[~np.isnan(found)] for metric, found in values.items()}
            means = [f"{found.mean():.{DECIMALS.get(metric, 4)}f}" if found.size else "-" for metric, found in defined.items()]
            rows.append([domain, name, str(len(cases)), *means, str(len(cases) - defined["hd95_mm"].size)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        print(left, *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)), sep="  ")
    print("(means over the cases; undefined: cases without a distance, in no mean)")


def _print_list(title: str, lines: list[str]) -> None:
    if lines:
        print(f"{title}: {len(lines)}")
        for line in lines[:LISTED]:
            print(f"  {line}")
        if len(lines) > LISTED:
            print(f"  and {len(lines) - LISTED} more, see evaluation.json")
