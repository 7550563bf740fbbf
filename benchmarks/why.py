"""Why did alignment help in a study, or why not? What the arms' features tell, which term acted, and whether predictions shrink.

For every arm and run: cross-validated probes of the site, of sex, age and density in pooled features of test scans (imagesTs) of both
centres, the same scans and patches for all arms; the share of each term in the gradient where features are aligned; slopes of predicted
on true volume, and of the mean HU inside the predicted on that inside the true mask. A slope below 1 is shrinkage: large (dense) bones
come out too small (light), as towards the mean of the source. What is missing is said and left out.

usage: python benchmarks/why.py STUDY_FOLDER [--align-at bottleneck] [--pooling mean_std] [--patches 4] [--output why.md]
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnunet_da.datasets import read_json
from nnunet_da.errors import UserError
from nnunet_da.outputs import plain_values, versions_of, write_whole

MIN_CASES = 3  # a slope of fewer has no interval
SOURCE, TARGET, OTHER = "source", "target", "other"
Table = tuple[Sequence[str], list[list[str]]]


@dataclass
class Study:
    """What a study folder holds; read by `read_study`.

    Attributes:
        folder: of the study.
        source, targets: dataset names.
        runs: arm, seed, fold and trained fold folder of each.
        missing: what could not be looked at, one sentence each.
    """

    folder: Path
    source: str
    targets: list[str]
    runs: list[dict[str, Any]]
    missing: list[str] = field(default_factory=list)

    def attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """The action's result, or None and a sentence among the missing."""
        try:
            return action()
        except (UserError, OSError, ValueError, KeyError, RuntimeError) as error:
            self.missing.append(f"{what}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            return None

    def role(self, dataset: str) -> str:
        return SOURCE if dataset == self.source else TARGET if dataset in self.targets else OTHER


def main() -> None:
    options = _options()
    if options.study is None:
        print("why.py looks into a study: name the folder of one that `nnunet-da study` made")
        return
    study = read_study(options.study)
    os.environ |= {name: str(study.folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed") if (study.folder / name).is_dir()}
    found = {
        "probes": list(probe_rows(study, options)),
        "gradients": list(gradient_rows(study)),
        "slopes": list(slope_rows(study)),
    }
    text = report(study, found, options)
    print(text)
    if options.output:
        write_whole(options.output, text + "\n")
        content = {**found, "missing": study.missing}
        write_whole(options.output.with_suffix(".json"), json.dumps(plain_values(content), indent=1) + "\n")


def read_study(folder: Path) -> Study:
    """Raises UserError where study.json is missing or has no runs."""
    content = read_json(folder / "study.json", f"{folder} must be the folder of a study")
    lacking = [key for key in ("runs", "source", "targets") if not content.get(key)]
    if lacking:
        raise UserError(f"study.json of {folder} must hold '{lacking[0]}', it does not: run the study first")
    runs = [{**run, "trained": folder / run["trained"]} for run in content["runs"]]  # an absolute path stays what it is
    return Study(folder.absolute(), content["source"], list(content["targets"]), runs)


def name_of(run: dict[str, Any]) -> str:
    return f"{run['arm']}, seed {run['seed']}, fold {run['fold']}"


def keys_of(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run[key] for key in ("arm", "seed", "fold")}


# --- what the features tell -----------------------------------------------------------------------------------------------------------


def probe_rows(study: Study, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row per run: AUC of the site, and each covariate within its site."""
    from nnunet_da.diagnosis.covariates import read_covariates
    from nnunet_da.diagnosis.held_out import raw_test_cases

    cases = [[case for name in names for case in raw_test_cases(name)] for names in ([study.source], study.targets)]
    every = [(case.dataset, case.case) for case in cases[0] + cases[1]]
    if not cases[0] or not cases[1]:
        study.missing.append("probes: imagesTs of both centres are needed, none were found: keep the study's nnUNet_raw")
        return
    covariates = study.attempt("covariates", lambda: read_covariates(None, every)) or []
    if not covariates:
        study.missing.append("covariates: no phantom.csv in the datasets, so sex and density were not probed")
    for run in study.runs:
        features = study.attempt(f"features of {name_of(run)}", lambda run=run: run_features(run, cases[0] + cases[1], options))
        if features is not None:
            found = probes(features, [len(part) for part in cases], every, covariates, options, study, name_of(run))
            yield keys_of(run) | {"spread": spread_of(features)} | found


def run_features(run: dict[str, Any], cases: list[Any], options: argparse.Namespace) -> NDArray[np.float32]:
    """(cases, F) of one trained network; its own plans preprocess the scans."""
    import torch

    from nnunet_da.diagnosis.held_out import read_scans
    from nnunet_da.diagnosis.runs import load_run
    from nnunet_da.training.held_out_features import Alignment, case_features, trained_network

    trained, device = load_run(run["trained"], "final"), torch.device("cpu")
    network = trained_network(trained.content, trained.folder / "checkpoint_final.pth", device)
    alignment = Alignment(options.align_at, options.pooling, trained.alignment.has_regions)
    patch_size = trained.configuration["patch_size"]
    chosen = {"patches": options.patches, "alignment": alignment, "seed": options.seed, "device": device}
    return case_features({"run": network}, read_scans(trained, cases), patch_size, **chosen)["run"]


def spread_of(features: NDArray[np.float32]) -> float:
    """How far scans lie from their mean, as a share of their size: a classifier of raw features sees little of a small one."""
    return float(np.linalg.norm(features - features.mean(axis=0), axis=1).mean() / np.linalg.norm(features, axis=1).mean())


def probes(
    features: NDArray[np.float32],
    counts: list[int],
    cases: list[tuple[str, str]],
    covariates: list[Any],
    options: argparse.Namespace,
    study: Study,
    name: str,
) -> dict[str, Any]:
    """domain -> AUC with its chance interval; covariate -> AUC or rank correlation, and explained variance of a number."""
    from nnunet_da.diagnosis.covariate_probe import covariate_probe
    from nnunet_da.evaluation.probe import domain_probe

    names, n = ["/".join(case) for case in cases], counts[0]
    chance = {"permutations": options.permutations, "seed": options.seed}
    domains = np.array([SOURCE] * counts[0] + [TARGET] * counts[1])
    domain = study.attempt(f"domain of {name}", lambda: domain_probe(features[:n], features[n:], names[:n], names[n:], **chance))
    row = {} if domain is None else {"domain": vars(domain) | {"metric": "AUC", "score": domain.auc}}
    for each in covariates:
        known = each.known

        def probe(each: Any = each, known: NDArray = known) -> Any:
            return covariate_probe(features[known], each.values, domains[known], numeric=each.numeric, **chance)

        result = study.attempt(f"{each.name} of {name}", probe)
        if result is not None:
            row[each.name] = vars(result)
    return row


# --- which term acted -----------------------------------------------------------------------------------------------------------------


def gradient_rows(study: Study) -> Iterator[dict[str, Any]]:
    """One row per run and term over the second half of the training."""
    from nnunet_da.diagnosis.gradients import gradient_shares, read_curves

    for run in study.runs:
        curves = study.attempt(f"curves of {name_of(run)}", lambda run=run: read_curves(run["trained"] / "curves.csv"))
        if curves is not None:
            yield from (keys_of(run) | vars(share) for share in gradient_shares(curves))


# --- shrinkage ------------------------------------------------------------------------------------------------------------------------


def slope_rows(study: Study) -> Iterator[dict[str, Any]]:
    """One row per run and evaluated dataset."""
    for run in study.runs:
        folder = study.folder / "evaluation" / run["arm"] / f"seed{run['seed']}_fold{run['fold']}"
        files = sorted(folder.glob("*/metrics.csv"))
        found = {file.parent.name for file in files}
        for name in {study.source, *study.targets} - found:
            study.missing.append(f"slopes of {name_of(run)}: no evaluation of {name}")
        for file in files:
            row = keys_of(run) | {"dataset": file.parent.name, "role": study.role(file.parent.name)}
            for quantity, pairs in (("volume", volumes), ("hu", intensities)):
                what = f"{quantity} slope of {name_of(run)} on {file.parent.name}"
                row[quantity] = study.attempt(what, lambda pairs=pairs, file=file: slope(*pairs(file.parent)))
            yield row


def volumes(evaluation: Path) -> tuple[NDArray, NDArray]:
    """True and predicted volume in mm3 of every case and label."""
    from nnunet_da.evaluation.metric_files import read_metrics

    table = read_metrics(evaluation / "metrics.csv").pivot(index=["domain", "case", "label"], columns="metric", values="value")
    predicted = table["volume_mm3"].to_numpy()
    return predicted - table["volume_error_mm3"].to_numpy(), predicted


def intensities(evaluation: Path) -> tuple[NDArray, NDArray]:
    """Mean image value inside the true and the predicted foreground of every case: of CT the HU, which follow density."""
    import SimpleITK as sitk

    from nnunet_da.evaluation.metric_files import read_manifest

    cases = [case for case in read_manifest(evaluation / "evaluation.json").get("cases", []) if case.get("image")]
    if not cases:
        raise UserError("evaluation.json names no images")
    pairs = []
    for case in cases:
        image, *masks = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(evaluation / case[what]))) for what in ("image", "reference", "prediction")
        )
        pairs.append([float(image[mask > 0].mean()) if (mask > 0).any() else float("nan") for mask in masks])
    true, predicted = np.array(pairs).T
    return true, predicted


def slope(true: NDArray, predicted: NDArray) -> dict[str, float]:
    """Least squares of predicted on true with its 95 % interval; pairs with an undefined value are left out.

    Raises:
        ValueError: fewer than three cases, or the same true value in all.
    """
    from scipy import stats

    kept = np.isfinite(true) & np.isfinite(predicted)
    x, y, n = true[kept], predicted[kept], int(kept.sum())
    if n < MIN_CASES:
        raise ValueError(f"a slope needs {MIN_CASES} cases, there are {n}")
    if np.ptp(x) == 0:
        raise ValueError("the true value is the same in all cases")
    spread = float(((x - x.mean()) ** 2).sum())
    value = float(((x - x.mean()) * y).sum()) / spread
    residuals = y - y.mean() - value * (x - x.mean())
    half = float(stats.t.ppf(0.975, n - 2)) * float(np.sqrt((residuals**2).sum() / (n - 2) / spread))
    return {"slope": value, "low": value - half, "high": value + half, "bias": float((y - x).mean()), "n": n}


# --- in words -------------------------------------------------------------------------------------------------------------------------


def report(study: Study, found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """Markdown: per arm over its runs, then every run."""
    versions = ", ".join(f"{name} {version}" for name, version in versions_of("torch", "nnunetv2", "numpy", "scikit-learn").items())
    settings = ("align_at", "pooling", "patches", "permutations", "seed")
    command = "python benchmarks/why.py STUDY " + " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in settings)
    parts = [
        "# Why alignment helped, or did not",
        f"`{command}`, study `{study.folder.name}`, {versions}, {time.strftime('%Y-%m-%d')}.",
        f"## What the features tell ({options.align_at}, {options.pooling})",
        "AUC of the site, over test scans of both centres; sex by AUC, numbers by rank correlation, both within their centre, with R2 in"
        " brackets. A score in italics is inside its permutation interval: not shown to be told. Spread is how far scans lie from their"
        " mean, as a share of their size. Runs of an arm beside each other.",
        markdown(*probe_table(found["probes"])),
        "## Which term acted",
        "Median gradient where features are aligned, as a multiple of the supervised loss's, second half of the training.",
        markdown(*gradient_table(found["gradients"])),
        "## Do predictions shrink?",
        "Slope of predicted on true volume, and of mean HU in the predicted on that in the true mask, with 95 % over cases; below 1 is"
        " shrinkage. Bias is predicted minus true.",
        markdown(*slope_table(found["slopes"])),
    ]
    if study.missing:
        parts += ["## Missing", "\n".join(f"* {sentence}" for sentence in dict.fromkeys(study.missing))]
    return "\n\n".join(parts)


def markdown(heads: Sequence[str], lines: list[list[str]]) -> str:
    return "nothing" if not lines else "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *lines))


def probe_table(rows: list[dict[str, Any]]) -> Table:
    """One line per arm, a cell per probe with all its runs."""
    names = list(dict.fromkeys(key for row in rows for key in row if key not in ("arm", "seed", "fold", "spread")))
    lines = []
    for arm, group in _by_arm(rows):
        scores = (", ".join(_score(row[name]) for row in group if name in row) for name in names)
        lines.append([arm, *scores, ", ".join(f"{row['spread']:.1%}" for row in group)])
    return ["arm", *names, "spread"], lines


def _score(result: dict[str, Any]) -> str:
    text = f"{result['score']:.2f}" + (f" ({result['r2']:.2f})" if result.get("r2") is not None else "")
    return text if result["score"] > result["null_high"] else f"*{text}*"


def gradient_table(rows: list[dict[str, Any]]) -> Table:
    """One line per arm: the ratio of every term, mean over its runs."""
    terms = [term for term in dict.fromkeys(row["term"] for row in rows) if term != "seg"]
    lines = []
    for arm, group in _by_arm(rows):
        table = pd.DataFrame(group).groupby("term")["ratio"].mean()
        lines.append([arm, *(f"{table[term]:.3g}" if term in table and np.isfinite(table[term]) else "" for term in terms)])
    return ["arm", *terms], lines


def slope_table(rows: list[dict[str, Any]]) -> Table:
    """One line per arm, run and dataset, the source first."""
    order = (SOURCE, TARGET, OTHER)
    lines = []
    for row in sorted(rows, key=lambda row: (order.index(row["role"]), row["dataset"])):
        cells = [row["arm"], f"{row['seed']}, {row['fold']}", f"{row['dataset']} ({row['role']})"]
        lines.append([*cells, *_slope_cells(row["volume"], "mm3"), *_slope_cells(row["hu"], "HU")])
    return ["arm", "seed, fold", "dataset", "volume slope", "volume bias", "HU slope", "HU bias"], lines


def _slope_cells(fit: dict[str, float] | None, unit: str) -> list[str]:
    return ["", ""] if fit is None else [f"{fit['slope']:.2f} ({fit['low']:.2f} to {fit['high']:.2f})", f"{fit['bias']:+.0f} {unit}"]


def _by_arm(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for arm in dict.fromkeys(row["arm"] for row in rows):
        yield arm, [row for row in rows if row["arm"] == arm]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, nargs="?", metavar="STUDY_FOLDER", help="with study.json, evaluation/ and nnUNet_raw/")
    parser.add_argument(
        "--align-at", default="bottleneck", choices=("bottleneck", "encoder", "output"), help="whose features, for all arms"
    )
    parser.add_argument("--pooling", default="mean_std", choices=("mean", "mean_std", "class_mean"))
    parser.add_argument("--patches", type=int, default=4, help="per scan")
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of patches, folds and permutations")
    parser.add_argument("--output", type=Path, help="Markdown file; numbers beside it in JSON")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
