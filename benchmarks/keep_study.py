"""Keep what a study found without its scans and models: answer, tables, plots, cost, every model's scores and what its terms did.

usage: python benchmarks/keep_study.py STUDY_FOLDER --output benchmarks/results/NAME
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.datasets import read_json
from nnunet_da.diagnosis.gradients import gradient_shares, late_accuracy, read_curves
from nnunet_da.errors import UserError
from nnunet_da.evaluation.metric_files import read_metrics
from nnunet_da.outputs import versions_of, write_whole
from nnunet_da.report.forest import forest_plots
from nnunet_da.report.pictures import Picture
from nnunet_da.report.study import load_study

METRICS = ("dice", "asd_mm", "hd95_mm", "volume_mm3", "volume_error_mm3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, nargs="?")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.study is None or options.output is None:
        print("keep_study.py keeps the results of a study: name its folder, and with --output where they go")
        return
    keep(options.study, options.output)
    print(f"kept: {options.output}")


def keep(study: Path, output: Path) -> None:
    """Copy a finished study's results.

    Raises:
        UserError: the folder is no study's, or it has no answer yet.
    """
    described = read_json(study / "study.json", f"{study} must be the folder of a study")
    if not (study / "results" / "study_answer.json").is_file():
        raise UserError(f"{study} has no answer yet: let `nnunet-da study` end first")
    pictures, scored, acted = plots(study / "results"), scores(study), terms(study, described["runs"])  # whatever fails, fails here
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for file in [*(study / "results").glob("study_*"), *(study / "results" / "tables").glob("paper_table*.md")]:
        shutil.copyfile(file, output / file.name)
    for picture in pictures:
        (output / f"{picture.name}.png").write_bytes(picture.png)
    scored.to_csv(output / "scores.csv", index=False, lineterminator="\n", float_format="%.5g")
    acted.to_csv(output / "terms.csv", index=False, lineterminator="\n", float_format="%.4g")
    file = described["file"]
    content = {
        "study": file["name"],
        "title": file["title"],
        "command": f"nnunet-da study {file['name']} -o STUDY",
        "seeds": file["seeds"],
        "folds": file["folds"],
        "arms": {arm["name"]: arm["title"] for arm in described["arms"]},
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions_of("nnunetv2", "torch", "numpy"),
    }
    write_whole(output / "study.json", json.dumps(content, indent=1) + "\n")


def plots(results: Path) -> list[Picture]:
    """Forest plots, as the report shows them."""
    shown = load_study(results)
    assert shown.answer is not None  # it stands there, see `keep`
    return forest_plots(shown, shown.answer)


def scores(study: Path) -> pd.DataFrame:
    """One row per arm, seed, fold, case, label and metric."""
    tables = []
    for file in sorted((study / "evaluation").glob("*/*/*/metrics.csv")):
        arm, run, _ = file.relative_to(study / "evaluation").parts[:3]
        seed, fold = (int(part.removeprefix(word)) for part, word in zip(run.split("_"), ("seed", "fold"), strict=True))
        table = read_metrics(file)
        kept = table[table["metric"].isin(METRICS)]
        tables.append(kept[["domain", "case", "label", "metric", "value"]].assign(arm=arm, seed=seed, fold=fold))
    return pd.concat(tables)[["arm", "seed", "fold", "domain", "case", "label", "metric", "value"]]


def terms(study: Path, runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Per trained model, over the second half of its training: each term's gradient, and how well the classifier told the domains."""
    rows = []
    for run in runs:
        file = study / run["trained"] / "curves.csv"
        if not file.is_file():
            continue  # AdaBN trains nothing, a failed training may have left none
        curves = read_curves(file)
        model = (run["arm"], run["seed"], run["fold"])
        rows += [(*model, share.term, share.norm, share.ratio, late_accuracy(curves)) for share in gradient_shares(curves)]
    return pd.DataFrame(rows, columns=["arm", "seed", "fold", "term", "gradient", "times_supervised", "domain_accuracy"])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
