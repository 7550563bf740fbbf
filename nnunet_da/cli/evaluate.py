"""`nnunet-da evaluate`: score predictions in mm, per case, label and domain."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.cli.options import positive
from nnunet_da.errors import CheckFailed

if TYPE_CHECKING:
    from nnunet_da.evaluation.evaluate import Evaluation

LISTED = 10


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
    parser.add_argument("--dataset-json", type=Path, metavar="F", help="labels and regions (default: PRED/dataset.json, else REF's values)")
    parser.add_argument("--processes", type=positive, metavar="N", help="cases at a time (default: one per core, at most 8)")
    parser.add_argument("--overwrite", action="store_true", help="replace results in OUT")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.evaluation.cases import read_domains
    from nnunet_da.evaluation.evaluate import evaluate_folders
    from nnunet_da.evaluation.results import METRICS_FILE, check_output, write_results

    check_output(options.output, options.overwrite)
    evaluation = evaluate_folders(
        options.references,
        options.predictions,
        images=options.images,
        domains=read_domains(options.domains) if options.domains else options.domain,
        method=options.method,
        dataset_json=options.dataset_json,
        processes=options.processes,
    )
    write_results(evaluation, options.output, overwrite=options.overwrite)
    _print_summary(evaluation)
    print(f"written: {options.output / METRICS_FILE}")
    if evaluation.failed:
        raise CheckFailed(
            f"{len(evaluation.failed)} of {len(evaluation.failed) + len(evaluation.cases)} cases were not scored (listed above)."
        )


def _print_summary(evaluation: "Evaluation") -> None:
    import numpy as np

    print(f"method {evaluation.method}, {len(evaluation.cases)} cases")
    print(f"{'domain':<24}{'label':<16}{'n':>5}{'dice':>9}{'hd95_mm':>10}{'asd_mm':>9}{'undefined':>11}   (means)")
    for domain in sorted({scores.files.domain for scores in evaluation.cases}):
        for label, name in evaluation.labels.keys.items():
            rows = [scores.metrics[label] for scores in evaluation.cases if scores.files.domain == domain]
            values = {metric: np.array([row[metric] for row in rows]) for metric in ("dice", "hd95_mm", "asd_mm")}
            means = {metric: found[~np.isnan(found)].mean() if (~np.isnan(found)).any() else np.nan for metric, found in values.items()}
            undefined = int(np.isnan(values["hd95_mm"]).sum())
            print(
                f"{domain:<24}{name:<16}{len(rows):>5}{means['dice']:>9.4f}{means['hd95_mm']:>10.3f}{means['asd_mm']:>9.3f}{undefined:>11}"
            )
    empty = sorted({(case, label) for case, label, metric in evaluation.undefined() if metric == "hd95_mm"})
    _print_list("distances undefined (one mask empty)", [f"{case}, label {label}" for case, label in empty])
    _print_list("predictions without a reference, left out", evaluation.unexpected_predictions)
    _print_list("not scored", [f"{case}: {reason}" for case, reason in evaluation.failed.items()])


def _print_list(title: str, lines: list[str]) -> None:
    if lines:
        print(f"{title}: {len(lines)}")
        for line in lines[:LISTED]:
            print(f"  {line}")
        if len(lines) > LISTED:
            print(f"  and {len(lines) - LISTED} more, see evaluation.json")
