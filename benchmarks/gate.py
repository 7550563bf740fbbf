"""The gate before any study: on which differences of the phantom's centres does a network trained on the source lose at all?

A small U-Net of nnU-Net's own (--preset) is trained on phantom scans of Tulane by stock nnUNetv2_train, and tested on scans that differ
from them in one factor, on the centres as they differ at severity 1 and 2, and on a second sample of Tulane, which must lose nothing.
Scanner, readers and positioning change with Tulane's people staying; `joint` and `cortex` come with Rochester's older people, since young
ones show neither.
What has been done is kept in --work: a second call goes on where the first one stopped, inside a training at its last epoch.

usage: python benchmarks/gate.py --pixel-mm 4 --slice-scale 2 --patch-size 32 40 40 --epochs 50 --iterations 20 --train 32 --test 12
                                 --threads 2 --seed 0 --work DIR --output gate.md     (beside it gate.json)
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gate_table import METRICS, markdown, row

from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.outputs import plain_values, versions_of, write_whole
from nnunet_da.phantom.cohort import SWITCHES, Centre, Window, centre

SOURCE, CONTROL, SOURCE_ID = "source", "control", 101
SOURCE_SLICE_MM, ROOM = 2.5, 1.1  # a scan is a little higher than a patch, so that every femur has its place
HARD, SAME_RULES = 2, "severity_2_same_rules"
PEOPLE = ("population", "joint", "cortex")
CONFIGURATION, FOLD = "3d_fullres", "0"


def test_centres() -> dict[str, Centre]:
    """Test set -> who is scanned where; a single factor as strong as the phantom has it."""
    at_rochester = [name for name in SWITCHES if name not in PEOPLE]
    sets = {CONTROL: centre("tulane")}
    sets |= {name: _at_rochester(name) for name in at_rochester}
    sets["kernel_noise"] = _at_rochester("kernel", "noise")  # a sharp kernel never comes without its noise
    sets |= {name: centre("rochester", HARD, **{switch: switch in ("population", name) for switch in SWITCHES}) for name in PEOPLE}
    sets |= {f"severity_{severity}": centre("rochester", severity) for severity in (1, HARD)}
    return sets | {SAME_RULES: centre("rochester", HARD, label_protocol=False)}


def _at_rochester(*factors: str) -> Centre:
    return centre("rochester", HARD, people="tulane", **{switch: switch in (*factors, *PEOPLE) for switch in SWITCHES})


@dataclass(frozen=True)
class Gate:
    """One run of the gate.

    Attributes:
        work: everything it makes.
        sets: test sets, see `test_centres`.
        options: as called; a folder holds the results of one set of options alone.
    """

    work: Path
    sets: dict[str, Centre]
    options: argparse.Namespace

    @property
    def raw(self) -> Path:
        return self.work / "nnUNet_raw"

    @property
    def plans(self) -> str:
        from nnunet_da.presets import load_preset

        return load_preset(self.options.preset).plans_name

    @property
    def trained(self) -> Path:
        arm = f"{self.options.trainer}__{self.plans}__{CONFIGURATION}"
        return self.work / "nnUNet_results" / self.dataset(SOURCE) / arm / f"fold_{FOLD}"

    @property
    def window(self) -> Window:
        z, y, x = self.options.patch_size
        pixel_mm, slice_mm = self.options.pixel_mm, SOURCE_SLICE_MM * self.options.slice_scale
        return Window(size_mm=(ROOM * z * slice_mm, y * pixel_mm, x * pixel_mm), pixel_mm=pixel_mm, slice_scale=self.options.slice_scale)

    @property
    def environment(self) -> dict[str, str]:
        """For stock commands. Stock training takes all cores of the machine whatever --threads says."""
        from nnunet_da import paths

        folders = {name: str(self.work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
        threads = {name: str(self.options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        processes = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
        return {**os.environ, **folders, **threads, **processes, "nnUNet_extTrainer": str(paths.trainers_dir()), "PYTHONUNBUFFERED": "1"}

    def dataset(self, name: str) -> str:
        """Numbered in the order of all test sets, so that a later call with other ones finds the same names."""
        number = [SOURCE, *test_centres()].index(name)
        return f"Dataset{SOURCE_ID + number:03d}_{name}"


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        sets = {name: at for name, at in test_centres().items() if name in (CONTROL, *options.sets)}
        gate = Gate((options.work or Path(temporary)).absolute(), sets, options)
        started = time.monotonic()
        prepare(gate)
        for step in (make_phantoms, plan, train, predict):
            step(gate)
        report(gate, evaluate(gate), time.monotonic() - started)


def prepare(gate: Gate) -> None:
    """Folders, and the options that they are for.

    Raises:
        UserError: the folder holds the results of other options, or there is no checkpoint to start from.
    """
    if gate.options.pretrained and not Path(gate.options.pretrained).is_file():
        raise UserError(f"--pretrained must be a checkpoint of another gate, {gate.options.pretrained} is no file: name one")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "logs"):
        (gate.work / name).mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in vars(gate.options).items() if name not in ("work", "output", "threads", "sets")}
    file = gate.work / "gate_options.json"
    before = json.loads(file.read_text()) if file.is_file() else kept
    if before != kept:
        changed = next(name for name in kept if before.get(name) != kept[name])
        raise UserError(f"{gate.work} holds a gate with {changed} = {before.get(changed)}, got {kept[changed]}: name another --work")
    write_whole(file, json.dumps(kept, indent=2))


def make_phantoms(gate: Gate) -> None:
    """The source, labelled, and every test set; planning wants a target, so the control has two unlabelled training scans."""
    options = gate.options
    _make(gate, SOURCE, centre("tulane"), options.train, options.seed)
    for name, at in gate.sets.items():
        _make(gate, name, at, 2 if name == CONTROL else 0, options.seed + 1)


def _make(gate: Gate, name: str, at: Centre, n_train: int, seed: int) -> None:
    from nnunet_da.phantom.dataset import write_dataset

    dataset, options = gate.dataset(name), gate.options
    if (gate.raw / dataset).is_dir():
        return
    _say(f"phantom: {name}")
    number, label = int(dataset[7:10]), name == SOURCE
    write_dataset(gate.raw, number, name, at, n_train, options.test, seed, label, options.threads, window=gate.window)


def plan(gate: Gate) -> None:
    options = gate.options
    settings = {"num_epochs": options.epochs, "iterations_per_epoch": options.iterations, "seed": options.seed, "save_every": 1}
    chosen = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    folder = gate.work / "nnUNet_preprocessed" / gate.dataset(SOURCE)
    if not (folder / f"{gate.plans}.json").is_file():
        _say("plan")
        domains = ["-d", gate.dataset(SOURCE), "-t", gate.dataset(CONTROL)]
        _ours(gate, "plan", *domains, "--preset", options.preset, "--patch-size", *map(str, options.patch_size), *chosen)
    if not (gate.work / "preprocessed").is_file():
        _say("preprocess")
        _ours(gate, "preprocess", "-d", gate.dataset(SOURCE), "-p", gate.plans, "--processes", "1")
        (gate.work / "preprocessed").touch()


def train(gate: Gate) -> None:
    """By stock nnU-Net; --c goes on where a killed call stopped, and starts anew where there is nothing to go on from."""
    if (gate.trained / "checkpoint_final.pth").is_file():
        return
    _say(f"train {gate.options.epochs} epochs by nnUNetv2_train: {gate.work / 'logs' / 'train.log'}")
    names = (gate.dataset(SOURCE), CONFIGURATION, FOLD, "-tr", gate.options.trainer, "-p", gate.plans)
    begun = any(gate.trained.glob("checkpoint_*.pth"))
    start = ("-pretrained_weights", gate.options.pretrained) if gate.options.pretrained and not begun else ("--c",)
    _stock(gate, "train", "nnUNetv2_train", *names, "-device", "cpu", *start)


def predict(gate: Gate) -> None:
    """Every test set by stock nnU-Net; --continue_prediction keeps what is there."""
    model = ("-d", gate.dataset(SOURCE), "-c", CONFIGURATION, "-tr", gate.options.trainer, "-p", gate.plans, "-f", FOLD)
    for name in (SOURCE, *gate.sets):
        scans, output = gate.raw / gate.dataset(name) / "imagesTs", gate.work / "predictions" / name
        if len(list(output.glob("*.nii.gz"))) == gate.options.test and (output / "done").is_file():
            continue
        _say(f"predict by nnUNetv2_predict: {name}")
        few = ("-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta", "--continue_prediction")
        _stock(gate, f"predict_{name}", "nnUNetv2_predict", *model, "-i", str(scans), "-o", str(output), *few)
        (output / "done").touch()


def evaluate(gate: Gate) -> dict[str, dict[str, list[float]]]:
    """Test set -> metric -> one value per case."""
    from nnunet_da.evaluation.evaluate import evaluate_folders
    from nnunet_da.evaluation.metric_files import read_metrics
    from nnunet_da.evaluation.results import METRICS_FILE, write_results

    scores = {}
    for name in (SOURCE, *gate.sets):
        folder, dataset = gate.work / "evaluation" / name, gate.dataset(name)
        if not (folder / METRICS_FILE).is_file():
            raw, predictions = gate.raw / dataset, gate.work / "predictions" / name
            found = evaluate_folders(
                raw / "labelsTs", predictions, images=raw / "imagesTs", domains=dataset, processes=gate.options.threads, progress=False
            )
            write_results(found, folder)
        table = read_metrics(folder / METRICS_FILE)
        scores[name] = {metric: table.loc[table["metric"] == metric, "value"].tolist() for metric in METRICS}
    return scores


def learning(gate: Gate) -> list[float]:
    """Dice on nnU-Net's validation patches, its mean over each quarter of the epochs: has the training come to rest?"""
    import torch

    dice = torch.load(gate.trained / "checkpoint_final.pth", map_location="cpu", weights_only=False)["logging"]["mean_fg_dice"]
    return [float(quarter.mean()) for quarter in np.array_split(np.asarray(dice, float), 4) if len(quarter)]


def report(gate: Gate, scores: dict[str, dict[str, list[float]]], seconds: float) -> None:
    """Print the table, and write it beside its numbers."""
    rows = [row(name, scores[name], scores[SOURCE]) for name in (SOURCE, *gate.sets)]
    versions = versions_of("torch", "nnunetv2", "numpy")
    options, quarters = gate.options, learning(gate)
    command = f"python benchmarks/gate.py {_arguments(options)}"
    text = "\n\n".join(
        [
            "# On which differences of the phantom does a network trained on the source lose?",
            f"`{command}`, {', '.join(f'{name} {version}' for name, version in versions.items())}, {time.strftime('%Y-%m-%d')};"
            f" {seconds / 60:.0f} minutes in this call. One training with one seed: the intervals are about cases alone.",
            f"{options.trainer} of preset {options.preset}, {options.epochs} epochs of {options.iterations} iterations on"
            f" {options.train} scans of Tulane by stock nnU-Net; {options.test} other scans per test set. Single factors are those of"
            f" severity {HARD}, with Tulane's people; population, joint and cortex come with Rochester's."
            f" label_protocol is drawn by other rules, which no method without labels can know; {SAME_RULES} leaves it out."
            f" Dice on validation patches in each quarter of the training: {', '.join(f'{dice:.4f}' for dice in quarters)}.",
            markdown(rows, SOURCE),
        ]
    )
    print(text)
    if options.output:
        write_whole(options.output, text + "\n")
        content = {"command": command, "versions": versions, "validation_dice_by_quarter": quarters, "rows": rows, "scores": scores}
        write_whole(options.output.with_suffix(".json"), json.dumps(plain_values(content), indent=1) + "\n")


def _arguments(options: argparse.Namespace) -> str:
    """The call without the folders of this machine."""
    said = {name: value for name, value in vars(options).items() if name not in ("work", "output")}
    if set(options.sets) >= set(test_centres()) - {CONTROL}:
        del said["sets"]
    said["pretrained"] = options.pretrained and "CHECKPOINT"
    parts = []
    for name, value in said.items():
        if value != "":
            parts += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return shlex.join(parts)


def _ours(gate: Gate, verb: str, *arguments: str) -> None:
    _run(gate, verb, [sys.executable, "-m", "nnunet_da.cli.main", verb, *arguments])


def _stock(gate: Gate, step: str, command: str, *arguments: str) -> None:
    _run(gate, step, [str(Path(sys.executable).parent / command), *arguments])


def _run(gate: Gate, step: str, command: Sequence[str]) -> None:
    log = gate.work / "logs" / f"{step}.log"
    with log.open("a") as stream:
        code = subprocess.run(command, env=gate.environment, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        raise CheckFailed(f"the step '{step}' must succeed, it ended with code {code}: see {log}")


def _say(text: str) -> None:
    print(f"== {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    every = [name for name in test_centres() if name != CONTROL]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pixel-mm", type=float, default=4.0)
    parser.add_argument("--slice-scale", type=float, default=2.0, help=f"times {SOURCE_SLICE_MM} mm")
    parser.add_argument("--patch-size", type=int, nargs=3, default=[32, 40, 40], metavar=("Z", "Y", "X"), help="voxels; scans are as large")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=20, help="per epoch")
    parser.add_argument("--train", type=int, default=32, help="labelled scans of the source, a fifth of them nnU-Net's validation")
    parser.add_argument("--test", type=int, default=12, help="scans per test set")
    parser.add_argument("--threads", type=int, default=2, help="processes of all but the training, which takes all cores")
    parser.add_argument("--seed", type=int, default=0, help="of scans and training")
    parser.add_argument("--preset", default="uda_small", help="with a network of its own, for --patch-size")
    parser.add_argument("--trainer", default="nnUNetTrainer_UDA_SourceOnly")
    parser.add_argument("--pretrained", default="", help="checkpoint of a gate of larger voxels to start from")
    parser.add_argument("--sets", nargs="+", choices=every, default=every, help="test sets beside source and control")
    parser.add_argument("--work", type=Path, help="keeps everything and goes on there; default: a temporary folder")
    parser.add_argument("--output", type=Path, help="Markdown file; numbers beside it in JSON")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (UserError, CheckFailed) as error:
        raise SystemExit(f"error: {error}") from None
