"""Does a score without labels know how good a model is on the target? On the phantom the truth can be looked up.

Several arms are trained on two centres with several seeds. After every epoch the label-free scores are taken on unlabelled target training
patches, as a trainer does, and, by this script alone, the true Dice on labelled target cases that no training ever saw.

usage: python benchmarks/validators.py [--quick] [--seeds 3] [--epochs 14] [--processes 2] [--rows rows.csv] [--output validators.md]
       python benchmarks/validators.py --reuse rows.csv     (tables only, from rows of an earlier run)
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

SOURCE, TARGET, PLANS, CONFIGURATION = "101", "102", "PFDAformerDemoPlans", "3d_fullres"
SEVERITY, PATCH, ITERATIONS, BATCHES = 2, [32, 32, 32], 25, 4
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "source only": ("nnUNetTrainer_PFDAformer_SourceOnly", {}),
    "PF-DAformer": ("nnUNetTrainer_PFDAformer", {}),
    "MMD, weight 10": ("nnUNetTrainer_PFDAformer_MMD", {"w_mmd": 10.0}),
    "slow": ("nnUNetTrainer_PFDAformer_SourceOnly", {"initial_lr": 1e-4}),
}
SCORES = {"source_validation": 1, "target_entropy": -1, "target_agreement": 1, "target_information": 1}  # and the sign of "better"
TRUTH = "target_dice"
BOOTSTRAPS = 2000
CORRELATION_HEADS = ["score", "good sign", "Pearson", "Spearman", "checkpoints"]
MEANINGS = {
    "All checkpoints": "The easy part: while a network learns, everything gets better at once, and any rising curve correlates.",
    "Within runs, last half": "Does a score know the good epochs of one run, once it has learnt? Each run's own mean is removed.",
    "Between final models": "Does a score know which run ended best? Last epochs alone.",
}
Case = tuple[np.ndarray, np.ndarray]  # preprocessed image (C, Z, Y, X) and mask (Z, Y, X)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two arms, one seed, few epochs: shows that it runs, measures nothing")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--rows", type=Path, help="write every checkpoint's numbers here, after each run")
    parser.add_argument("--reuse", type=Path, help="train nothing, take the numbers of an earlier --rows")
    parser.add_argument("--output", type=Path, help="write the tables here too (Markdown)")
    options = parser.parse_args()
    started = time.monotonic()
    rows = pd.read_csv(options.reuse) if options.reuse else measured(options)
    text = report(rows, time.monotonic() - started)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


# --- measuring ------------------------------------------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> pd.DataFrame:
    """One row per checkpoint: arm, seed, epoch, scores, truth, and what an epoch and its scores cost."""
    arms = list(ARMS)[:2] if options.quick else list(ARMS)
    seeds, epochs = (1, 4) if options.quick else (options.seeds, options.epochs)
    cases = (6, 4, 4) if options.quick else (16, 12, 16)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        _say(f"phantom of severity {SEVERITY}: {cases[0]} source, {cases[1]} target scans, {cases[2]} labelled target cases held out")
        _make_centres(Path(folder), *cases)
        with quiet():
            held_out = _plan_and_preprocess(Path(folder), epochs)
        jobs = [(arm, seed, held_out) for seed in range(seeds) for arm in arms]
        with ProcessPoolExecutor(options.processes, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            for done in as_completed([pool.submit(_run, *job) for job in jobs]):
                rows += done.result()
                _say("{arm}, seed {seed}: target Dice {target_dice:.3f}".format(**rows[-1]))
                if options.rows:
                    pd.DataFrame(rows).to_csv(options.rows, index=False)
    return pd.DataFrame(sorted(rows, key=lambda row: (list(ARMS).index(row["arm"]), row["seed"])))


def _make_centres(folder: Path, source: int, target: int, held_out: int) -> None:
    from nnunet_da import paths
    from nnunet_da.phantom.cohort import Window, centre
    from nnunet_da.phantom.dataset import write_dataset

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    os.environ |= {"nnUNet_n_proc_DA": "0", "nnUNet_extTrainer": str(paths.trainers_dir())}
    window = Window(size_mm=(144.0, 144.0, 144.0), pixel_mm=1.5)
    write_dataset(folder / "nnUNet_raw", 101, "A", centre("tulane", SEVERITY), source, 0, 0, processes=2, window=window)
    rochester = centre("rochester", SEVERITY)
    write_dataset(folder / "nnUNet_raw", 102, "B", rochester, target, held_out, 1, labels=False, processes=2, window=window)


def _plan_and_preprocess(folder: Path, epochs: int) -> list[Case]:
    """Plans, data, and the held-out target cases on the plans' grid: (image, mask)."""
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    settings = {"num_epochs": epochs, "iterations_per_epoch": ITERATIONS, "val_iterations_per_epoch": BATCHES, "target_score_batches": 0}
    plan(PlanRequest(SOURCE, [TARGET], "pf_daformer_demo", settings, patch_size=PATCH))
    preprocess(SOURCE, PLANS, CONFIGURATION, processes=1)
    return list(_held_out_cases(folder))


def _held_out_cases(folder: Path) -> Iterator[Case]:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_da.datasets import read_json

    plans = PlansManager(read_json(folder / "nnUNet_preprocessed" / "Dataset101_A" / f"{PLANS}.json", "plans"))
    dataset = folder / "nnUNet_raw" / "Dataset102_B"
    description = read_json(dataset / "dataset.json", "dataset.json")
    for label in sorted((dataset / "labelsTs").iterdir()):
        image = dataset / "imagesTs" / label.name.replace(".nii.gz", "_0000.nii.gz")
        configuration = plans.get_configuration(CONFIGURATION)
        data, mask, _ = DefaultPreprocessor(verbose=False).run_case([str(image)], str(label), plans, configuration, description)
        yield np.asarray(data), np.asarray(mask)[0] == 1


def _run(arm: str, seed: int, held_out: list[Case]) -> list[dict[str, Any]]:
    """Train one arm and look at it after every epoch. Looking draws from random states of its own and changes no run."""
    name, changes = ARMS[arm]
    rows: list[dict[str, Any]] = []
    with quiet():
        trainer = _trainer(name, {**changes, "seed": seed})
        batches = _score_batches(trainer)
        end_of_epoch = trainer.on_epoch_end

        def on_epoch_end() -> None:
            rows.append({"arm": arm, "seed": seed, **_look(trainer, batches, held_out)})
            end_of_epoch()

        trainer.on_epoch_end = on_epoch_end
        trainer.run_training()
    return rows


def _trainer(name: str, changes: dict[str, Any]) -> Any:
    """A trainer of the plans with some settings changed, as a variant would change them."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    from nnunet_da import paths
    from nnunet_da.datasets import read_json

    plans = read_json(paths.nnunet_preprocessed() / "Dataset101_A" / f"{PLANS}.json", "plans")
    plans["configurations"][CONFIGURATION]["nnunet_da"] |= changes
    plans["continue_training"] = False
    description = read_json(paths.nnunet_raw() / "Dataset101_A" / "dataset.json", "dataset.json")
    trainer = recursive_find_trainer_class_by_name(name)(plans, CONFIGURATION, 0, description, torch.device("cpu"))
    trainer.disable_checkpointing = True
    trainer.logger.plot_progress_png = lambda *_: None
    return trainer


def _score_batches(trainer: Any) -> list[dict[str, Any]]:
    """The same target patches for every run and epoch; source-only trainers draw none themselves."""
    from nnunet_da.training.randomness import own_randomness
    from nnunet_da.training.target_scores import score_loader

    trainer.initialize()
    loader = score_loader(trainer, trainer._target_dataset())
    with own_randomness(0):
        return [next(loader) for _ in range(BATCHES)]


def _look(trainer: Any, batches: list[dict[str, Any]], held_out: list[Case]) -> dict[str, Any]:
    from nnunet_da.training.target_scores import target_scores

    curves = trainer.logger.local_logger.my_fantastic_logging
    epoch_seconds, begun = time.time() - curves["epoch_start_timestamps"][-1], time.perf_counter()
    scores = target_scores(trainer, iter(batches), len(batches))
    return {
        "epoch": trainer.current_epoch,
        "source_validation": float(curves["mean_fg_dice"][-1]),
        **scores,
        "score_seconds": time.perf_counter() - begun,
        "epoch_seconds": epoch_seconds,
        TRUTH: _true_dice(trainer, held_out),
    }


def _true_dice(trainer: Any, held_out: list[Case]) -> float:
    """Mean Dice of whole labelled target cases, predicted by nnU-Net's sliding window without mirroring."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from nnunet_da.evaluation import overlap

    predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=False, device=trainer.device, verbose=False, allow_tqdm=False)
    settings = (trainer.plans_manager, trainer.configuration_manager, None, trainer.dataset_json, type(trainer).__name__, None)
    predictor.manual_initialization(trainer.network, *settings)
    with torch.no_grad():
        predictions = [
            predictor.predict_sliding_window_return_logits(torch.from_numpy(image)).argmax(0).numpy() == 1 for image, _ in held_out
        ]
    return float(np.mean([overlap(mask, prediction).dice for prediction, (_, mask) in zip(predictions, held_out, strict=True)]))


# --- judging --------------------------------------------------------------------------------------------------------------------------


def report(rows: pd.DataFrame, seconds: float) -> str:
    """The tables as Markdown."""
    rows = rows.assign(run=rows["arm"] + " " + rows["seed"].astype(str))
    last_half = rows[rows["epoch"] >= rows["epoch"].max() / 2]
    numbers = [*SCORES, TRUTH]
    centred = last_half.assign(**{name: last_half[name] - last_half.groupby("run")[name].transform("mean") for name in numbers})
    final = rows[rows["epoch"] == rows["epoch"].max()]
    views = dict(zip(MEANINGS, (rows, centred, final), strict=True))
    parts = [
        "# What label-free scores know of the target",
        f"`{shlex.join(['python', 'benchmarks/validators.py', *sys.argv[1:]])}`, torch {torch.__version__}, {time.strftime('%Y-%m-%d')},"
        f" {seconds / 60:.0f} minutes.",
        f"{rows['run'].nunique()} runs ({', '.join(rows['arm'].unique())}; {rows['seed'].nunique()} seeds each),"
        f" {rows['epoch'].max() + 1} epochs of {ITERATIONS} iterations, phantom of severity {SEVERITY}."
        f" Brackets: 95 % of {BOOTSTRAPS} bootstraps over runs, for the epochs of one run are not independent.",
        "## The runs",
        _table(["arm", "target Dice, last epoch (each seed)", *SCORES], _of_runs(final)),
        *(
            part
            for view, table in views.items()
            for part in (f"## {view}", MEANINGS[view], _table(CORRELATION_HEADS, _correlations(table)))
        ),
        "## If a score chose the epoch",
        "Mean over runs of the true target Dice at the epoch that a score likes best, minus the last epoch's. No choice can gain more than"
        " the truth itself.",
        _table(["chosen by", "gain in target Dice", "95 %"], [_gain(name, sign, rows) for name, sign in {**SCORES, TRUTH: 1}.items()]),
        "## Cost",
        f"{BATCHES} target batches take {rows['score_seconds'].median():.2f} s, an epoch of {ITERATIONS} steps"
        f" {rows['epoch_seconds'].median():.1f} s (medians). nnU-Net's own epochs have 250 steps.",
    ]
    return "\n\n".join(parts)


def _of_runs(final: pd.DataFrame) -> list[list[str]]:
    lines = []
    for arm, group in final.groupby("arm", sort=False):
        means = [f"{group[name].mean():.3f}" for name in SCORES]
        lines.append([str(arm), ", ".join(f"{value:.3f}" for value in group[TRUTH]), *means])
    return lines


def _correlations(rows: pd.DataFrame) -> list[list[str]]:
    lines = []
    for name, sign in SCORES.items():
        pairs = rows[["run", name, TRUTH]].dropna()
        lines.append(
            [name, "+" if sign > 0 else "-", *(_correlation(pairs, name, how) for how in ("pearson", "spearman")), str(len(pairs))]
        )
    return lines


def _correlation(pairs: pd.DataFrame, name: str, how: Any) -> str:
    value, low, high = _bootstrap(pairs, lambda table: table[name].corr(table[TRUTH], method=how))
    return f"{value:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else "")


def _gain(name: str, sign: int, rows: pd.DataFrame) -> list[str]:
    gains = pd.DataFrame([{"run": run, "gain": _chosen(sign * group[name], group[TRUTH])} for run, group in rows.groupby("run")])
    value, low, high = _bootstrap(gains, lambda table: table["gain"].mean())
    return ["the truth" if name == TRUTH else name, f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}" if np.isfinite(low) else ""]


def _chosen(score: pd.Series, truth: pd.Series) -> float:
    """True Dice at the best score minus at the end; a score that is never defined chooses the end."""
    return float(truth.iloc[-1] if score.isna().all() else truth[score.idxmax()]) - float(truth.iloc[-1])


def _bootstrap(rows: pd.DataFrame, statistic: Callable[[pd.DataFrame], float]) -> tuple[float, float, float]:
    """The statistic, and the central 95 % of it over runs drawn with replacement."""
    groups = [group for _, group in rows.groupby("run")]
    if len(groups) < 3:
        return statistic(rows), float("nan"), float("nan")
    rng = np.random.default_rng(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = [statistic(pd.concat([groups[i] for i in rng.integers(len(groups), size=len(groups))])) for _ in range(BOOTSTRAPS)]
    return statistic(rows), *np.nanpercentile(drawn, [2.5, 97.5])


def _table(heads: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *lines))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
