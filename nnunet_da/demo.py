"""The whole job on the two-centre phantom: scans, plans, two arms trained and predicted by stock nnU-Net, metrics and a report."""

import contextlib
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from nnunet_da import paths
from nnunet_da.datasets import write_json
from nnunet_da.errors import CheckFailed, UserError

MARKER = ".nnunet-da-demo"  # only a folder that a demo made is ever deleted
SOURCE, TARGET = "Dataset101_Tulane", "Dataset102_Rochester"
PRESET, PLANS, CONFIGURATION = "pf_daformer_demo", "PFDAformerDemoPlans", "3d_fullres"
WINDOW_MM, PIXEL_MM = (144.0, 144.0, 144.0), 1.5
ARMS = {"source_only": "nnUNetTrainer_PFDAformer_SourceOnly", "pf_daformer": "nnUNetTrainer_PFDAformer"}
MORE_ARMS = {"grl": "nnUNetTrainer_PFDAformer_GRL", "mmd": "nnUNetTrainer_PFDAformer_MMD"}
EPOCHS, EPOCHS_FULL = 10, 40
ARM_NAMES = {"source_only": "source only", "pf_daformer": "PF-DAformer (GRL + MMD)", "grl": "GRL only", "mmd": "MMD only"}
NOTE = (
    "This is a demonstration on a synthetic phantom: a few small cases, one short training per method, one seed."
    " It shows that every step works. It makes no claim about whether adaptation helps."
)


@dataclass(frozen=True)
class Demo:
    """One run of the demonstration.

    Attributes:
        folder: everything it writes.
        full: all four arms and a longer training.
        seed: of the phantom and of the training.
    """

    folder: Path
    full: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"the seed must be 0 or more, got {self.seed}")

    @property
    def arms(self) -> dict[str, str]:
        return ARMS | (MORE_ARMS if self.full else {})

    @property
    def raw(self) -> Path:
        return self.folder / "nnUNet_raw"

    @property
    def evaluations(self) -> Path:
        return self.folder / "evaluation"

    def run(self, arm: str) -> Path:
        """The trained fold of an arm."""
        return self.folder / "nnUNet_results" / SOURCE / f"{self.arms[arm]}__{PLANS}__{CONFIGURATION}" / "fold_0"

    @property
    def environment(self) -> dict[str, str]:
        """For stock commands: our folders, our trainers, no needless processes."""
        return {**paths.stock_environment(self.folder), "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}


def run_demo(demo: Demo, overwrite: bool = False) -> Path:
    """Run everything and return the report.

    Raises:
        UserError: the folder exists (unless it is an earlier demo's and `overwrite` is given).
        CheckFailed: a stock command failed; its log is named.
    """
    _prepare_folder(demo.folder, overwrite)
    started = time.monotonic()
    _make_phantom(demo)
    _plan_and_preprocess(demo)
    _train(demo)
    _predict(demo)
    _evaluate(demo)
    _examine(demo)
    report = _report(demo)
    _print_summary(demo, report, time.monotonic() - started)
    return report


def _prepare_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not (overwrite and (folder / MARKER).is_file()) and (not folder.is_dir() or any(folder.iterdir())):
        hint = "--overwrite replaces it" if (folder / MARKER).is_file() else "it was not made by the demo: choose another with -o"
        raise UserError(f"the demo needs a new or empty folder, {folder} holds files: {hint}")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "logs"):
        (folder / name).mkdir(parents=True)
    (folder / MARKER).touch()


def _make_phantom(demo: Demo) -> None:
    from nnunet_da.phantom.cohort import Window, centre
    from nnunet_da.phantom.dataset import write_dataset

    window = Window(size_mm=WINDOW_MM, pixel_mm=PIXEL_MM)
    for dataset, name, n_train, labels in ((SOURCE, "tulane", 16, True), (TARGET, "rochester", 12, False)):
        _say(f"phantom: {name}, {n_train} training cases {'with' if labels else 'without'} labels, 6 test cases")
        dataset_id, dataset_name = int(dataset[7:10]), dataset[11:]
        write_dataset(demo.raw, dataset_id, dataset_name, centre(name), n_train, 6, demo.seed, labels, 2, window=window, progress=True)


def _plan_and_preprocess(demo: Demo) -> None:
    settings = [f"seed={demo.seed}", f"num_epochs={EPOCHS_FULL if demo.full else EPOCHS}"]
    plan = ["plan", "-d", "101", "-t", "102", "--preset", PRESET, *(part for setting in settings for part in ("--set", setting))]
    _say("plan and preprocess: the target on the source's plans")
    _ours(demo, "plan", *plan)
    _ours(demo, "preprocess", "preprocess", "-d", "101", "-p", PLANS, "--processes", "1")


def _train(demo: Demo) -> None:
    """One arm after the other: stock training takes every core, and two at a time would fight for them."""
    epochs = EPOCHS_FULL if demo.full else EPOCHS
    for arm, trainer in demo.arms.items():
        _say(f"train by stock nnUNetv2_train: {ARM_NAMES[arm]}")
        log = demo.folder / "logs" / f"train_{arm}.log"
        with tqdm(total=epochs, desc="Training epochs") as bar, ThreadPoolExecutor(1) as pool:
            job = pool.submit(_train_arm, demo, arm, trainer)
            while not job.done():
                time.sleep(0.5)
                done = log.read_text().count("Epoch time") if log.is_file() else 0
                if done > bar.n:
                    bar.update(done - bar.n)
            job.result()


def _train_arm(demo: Demo, arm: str, trainer: str) -> None:
    _run(demo, f"train_{arm}", _stock("nnUNetv2_train", "101", CONFIGURATION, "0", "-tr", trainer, "-p", PLANS, "-device", "cpu"))


def _predict(demo: Demo) -> None:
    _say("predict both centres' test cases by stock nnUNetv2_predict")
    jobs = [(arm, trainer, dataset) for arm, trainer in demo.arms.items() for dataset in (SOURCE, TARGET)]
    with ThreadPoolExecutor(2) as pool:
        for _ in tqdm(pool.map(lambda job: _predict_centre(demo, *job), jobs), total=len(jobs), desc="Predicting"):
            pass


def _predict_centre(demo: Demo, arm: str, trainer: str, dataset: str) -> None:
    scans, output = str(demo.raw / dataset / "imagesTs"), str(demo.folder / "predictions" / arm / dataset)
    model = ("-d", "101", "-c", CONFIGURATION, "-tr", trainer, "-p", PLANS, "-f", "0")
    few = ("-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta")
    _run(demo, f"predict_{arm}_{dataset}", _stock("nnUNetv2_predict", *model, "-i", scans, "-o", output, *few))


def _evaluate(demo: Demo) -> None:
    from nnunet_da.evaluation.evaluate import evaluate_folders
    from nnunet_da.evaluation.results import write_results

    _say("evaluate in mm")
    for arm in demo.arms:
        for dataset in (SOURCE, TARGET):
            raw = demo.raw / dataset
            evaluation = evaluate_folders(
                raw / "labelsTs",
                demo.folder / "predictions" / arm / dataset,
                images=raw / "imagesTs",
                domains=dataset,
                method=arm,
                processes=1,
                progress=False,
            )
            write_results(evaluation, demo.evaluations / arm / dataset)
        shutil.copy(demo.run(arm) / "curves.csv", demo.evaluations / arm / "curves.csv")


def _examine(demo: Demo) -> None:
    """Statistics, radiomics and diagnoses, as a user would ask for them."""
    from nnunet_da.radiomics.features import is_installed

    _say("compare the arms, look at radiomics, diagnose the adapted models")
    _ours(demo, "compare", "compare", *(str(demo.evaluations / arm) for arm in demo.arms), "-o", str(demo.evaluations / "comparison"))
    for arm in demo.arms:
        folders = [str(demo.evaluations / arm / dataset) for dataset in (SOURCE, TARGET)]
        if is_installed():
            _ours(demo, f"radiomics_{arm}", "radiomics", "--evaluation", *folders, "-o", str(demo.evaluations / arm / "radiomics"))
        if arm != "source_only":
            output = str(demo.evaluations / arm / "diagnosis")
            # 1: the alarm fired, which is a result
            _ours(demo, f"diagnose_{arm}", "diagnose", str(demo.run(arm)), "-o", output, "--device", "cpu", allowed=(0, 1))


def _report(demo: Demo) -> Path:
    from nnunet_da.evaluation.results import versions
    from nnunet_da.report.build import write_report

    _say("write the report")
    report = {
        "title": "nnunet_da demonstration: Tulane to Rochester phantom",
        "note": NOTE,
        "demonstration": True,
        "commands": ["nnunet-da demo" + (" --full" if demo.full else "") + f" --seed {demo.seed}"],
        "versions": versions(),
        "arms": {arm: ARM_NAMES[arm] for arm in demo.arms},
        "roles": {SOURCE: "source", TARGET: "target"},
        "trainers": {arm: f"{trainer}__{PLANS}__{CONFIGURATION}" for arm, trainer in demo.arms.items()},
    }
    write_json(report, demo.evaluations / "report.json")
    with contextlib.redirect_stdout(io.StringIO()):
        return write_report(demo.evaluations, progress=False)


def _print_summary(demo: Demo, report: Path, seconds: float) -> None:
    import pandas as pd

    tables = [pd.read_csv(file).assign(arm=file.parts[-3]) for file in sorted(demo.evaluations.glob("*/*/metrics.csv"))]
    means = pd.concat(tables).pivot_table(index=["arm", "domain"], columns="metric", values="value", dropna=False)
    print(f"\n{'arm':26}{'centre':24}{'Dice':>8}{'HD95 mm':>10}")
    for arm in demo.arms:
        for dataset, role in ((SOURCE, "source"), (TARGET, "target")):
            row = means.loc[(arm, dataset)]
            print(f"{ARM_NAMES[arm]:26}{role + ' ' + dataset[11:]:24}{row['dice']:8.3f}{row['hd95_mm']:10.2f}")
    print(f"\n{NOTE}\nReport ({seconds / 60:.1f} minutes): {report}")


def _run(demo: Demo, name: str, command: Sequence[str], allowed: tuple[int, ...] = (0,)) -> None:
    """Run a command with its output in a log; `allowed` codes are its successes.

    Raises:
        CheckFailed: it failed.
    """
    log = demo.folder / "logs" / f"{name}.log"
    with log.open("w") as stream:
        code = subprocess.run(command, env=demo.environment, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code not in allowed:
        last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
        raise CheckFailed(f"the step '{name}' must succeed, it ended with code {code} ({''.join(last)}): see {log}")


def _ours(demo: Demo, name: str, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
    _run(demo, name, [sys.executable, "-m", "nnunet_da.cli.main", *arguments], allowed)


def _stock(command: str, *arguments: str) -> list[str]:
    """A command of stock nnU-Net, from the environment this Python runs in."""
    return [str(Path(sys.executable).parent / command), *arguments]


def _say(step: str) -> None:
    print(f"== {step}", flush=True)
