"""Were the arms trained under the same conditions? Read from what training left, not from what was asked for."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nnunet_da.settings import PLANS_KEY
from nnunet_da.study.arms import Arm
from nnunet_da.study.layout import Layout, Run
from nnunet_da.study.study import Study

AUGMENTATION = ("mirror_axes", "oversample_foreground_percent")
OPTIMISER = ("initial_lr", "weight_decay", "warmup_epochs", "lr_floor", "clip_grad_norm", "deep_supervision")
COMMON = (*AUGMENTATION, *OPTIMISER, "num_epochs", "iterations_per_epoch", "seed", "init_checkpoint")  # settings that all arms share
OWN = ("dataset_name", "original_median_spacing_after_transp", "original_median_shape_after_transp")


def check_conditions(study: Study, layout: Layout, scored: Sequence[tuple[Arm, Sequence[Run]]]) -> Iterator[str]:
    """A sentence for every way in which the trained models differ beside the method, and one for what was found equal."""
    trained = [(arm, runs) for arm, runs in scored if arm.trains]
    baseline = next((arm for arm, _ in trained if arm.name == study.baseline), trained[0][0])
    differing = False
    for arm, runs in trained:
        compared = [words for run in runs for words in _differences(study, layout, baseline, arm, run)]
        found = [*dict.fromkeys(compared), *_short_trainings(study, layout, arm, runs)]
        differing |= bool(found)
        yield from found
    if not differing:
        yield (
            f"Checked after training, for every run: all {len(trained)} trained arms had the same plans but for the method's settings, the"
            f" same settings of optimiser and augmentation and {baseline.iterations} iterations each; those that train on the source alone"
            " validated on the same cases."
        )


def _differences(study: Study, layout: Layout, baseline: Arm, arm: Arm, run: Run) -> Iterator[str]:
    """Plans, augmentation and folds of one arm against the baseline's."""
    one, other = (_plans(study.model(which, run, layout)) for which in (baseline, arm))
    if one is None or other is None:
        yield f"{arm.title} could not be compared with {baseline.title}: the plans of {run.name} are missing for one of them."
        return
    if arm.preset != baseline.preset:
        yield f"{arm.title} has other plans ({arm.preset} instead of {baseline.preset}): its difference is not the method's alone."
        return
    if _without_method(one) != _without_method(other):
        yield f"{arm.title} was trained on other plans than {baseline.title}: their difference is not the method's alone."
    settings = [_settings(study, which, run, plans) for which, plans in ((baseline, one), (arm, other))]
    for name in COMMON:
        if settings[0].get(name) != settings[1].get(name):
            yield f"{arm.title}, {run.name}, has {name} = {settings[1].get(name)}, {baseline.title} {settings[0].get(name)}."
    if arm.kind == "train" and arm.trainer.endswith("DA5"):
        yield f"{arm.title} has a stronger augmentation than {baseline.title}."
    if arm.kind in ("oracle", "joint", "self_train"):
        return  # other cases are what they are about
    validated = [_validated(study.trained(which, run, layout)) for which in (baseline, arm)]
    if not validated[1]:
        yield f"{arm.title}, {run.name}: on which cases it was validated cannot be told, its validation is missing."
    elif validated[0] != validated[1]:
        yield f"{arm.title}, {run.name}, was validated on other cases than {baseline.title}: it was trained on another fold."


def _short_trainings(study: Study, layout: Layout, arm: Arm, runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        curves = study.trained(arm, run, layout) / "curves.csv"
        if not curves.is_file():
            yield f"{arm.title}, {run.name}: how long it was trained cannot be told, curves.csv is missing."
            continue
        epochs, planned = int(pd.read_csv(curves)["epoch"].max()) + 1, arm.full_settings.num_epochs
        if epochs != planned:
            yield f"{arm.title}, {run.name}: {epochs} epochs were trained, {planned} were planned."


def _plans(model: Path) -> dict[str, Any] | None:
    file = model / "plans.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _without_method(plans: dict[str, Any]) -> dict[str, Any]:
    """Everything but the names of datasets and the configurations that belong to arms."""
    own = {name: value for name, value in plans["configurations"].items() if "inherits_from" not in value}
    stripped = {name: {key: value for key, value in one.items() if key != PLANS_KEY} for name, one in own.items()}
    return {**{key: value for key, value in plans.items() if key not in OWN}, "configurations": stripped}


def _settings(study: Study, arm: Arm, run: Run, plans: dict[str, Any]) -> dict[str, Any]:
    return plans["configurations"].get(study.configuration(arm, run), {}).get(PLANS_KEY, {})


def _validated(trained: Path) -> set[str]:
    """Cases that stock training predicted at its end: those of its fold that it did not train on."""
    return {file.name for file in (trained / "validation").glob("*") if file.is_file() and file.suffix not in (".json", ".pkl", ".npz")}
