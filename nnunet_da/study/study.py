"""A study with nothing left open: arms, datasets, runs, and the names of everything that nnU-Net will write."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nnunet_da.datasets import id_of, read_json
from nnunet_da.errors import UserError
from nnunet_da.presets import load_preset
from nnunet_da.study.arms import Arm
from nnunet_da.study.file import ArmSpec, PhantomSpec, Primary, Resources, ScoredSet, StudyFile
from nnunet_da.study.layout import CONFIGURATION, Layout, Run

JOINT_ID, ORACLE_ID = 999, 998  # datasets that a study makes; its raw folder is its own
PSEUDO_IDS = (*range(900, 980), *range(899, 0, -1))
TARGET_LABELS, JOINT_NAME, PSEUDO_NAME = "TargetLabels", "Joint", "Pseudo"


@dataclass(frozen=True)
class Study:
    """What `study.json` holds.

    Attributes:
        file: the study file.
        source: dataset name.
        targets: dataset names.
        links: dataset name -> raw folder of the user's, for datasets that the study does not make itself.
        tests: scans that every arm predicts; source first.
        arms: references first.
        device: for nnU-Net.
        primary: with names filled in; `label` may stay None until the datasets are there.
        baseline: arm that the methods are held against.
        pseudo_ids: ARM.RUN of every self-training -> id of the dataset with its pseudo-labels.
        left_out: oracle or joint -> why it could not be had.
    """

    file: StudyFile
    source: str
    targets: list[str]
    links: dict[str, str]
    tests: list[ScoredSet]
    arms: list[Arm]
    device: str
    primary: Primary
    baseline: str
    pseudo_ids: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        return [Run(seed, fold) for seed in self.file.seeds for fold in self.file.folds]

    @property
    def presets(self) -> list[str]:
        return list(dict.fromkeys(arm.preset for arm in self.arms))

    @property
    def methods(self) -> list[Arm]:
        return [arm for arm in self.arms if not arm.reference]

    @property
    def used(self) -> list[str]:
        """Datasets that are there before anything is trained: the user's, and the phantom's."""
        return [*self.links, *(spec.dataset for spec in self.file.phantom)]

    @property
    def merged(self) -> list[str]:
        """Datasets in which several targets are merged, one after the other; the last holds all. None where no arm trains on them."""
        if not any(arm.kind in ("oracle", "joint") for arm in self.arms):
            return []
        names = [f"Dataset{ORACLE_ID - 1 - step:03d}_{TARGET_LABELS}{step}" for step in range(len(self.targets) - 2)]
        return [*names, f"Dataset{ORACLE_ID}_{TARGET_LABELS}"] if len(self.targets) > 1 else []

    @property
    def labelled_target(self) -> str:
        """The target, or all targets merged where there are several."""
        return self.merged[-1] if self.merged else self.targets[0]

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def trained_arm(self, arm: Arm) -> Arm:
        """The arm whose training gives the weights: itself, or the one it starts from."""
        return arm if arm.trains or arm.parent is None else self.arm(arm.parent)

    def dataset(self, arm: Arm, run: Run) -> str:
        """Dataset that an arm's training reads."""
        if arm.kind == "oracle":
            return self.labelled_target
        if arm.kind == "joint":
            return f"Dataset{JOINT_ID}_{JOINT_NAME}"
        if arm.kind == "self_train":
            return f"Dataset{self.pseudo_id(arm, run):03d}_{PSEUDO_NAME}"
        return self.source

    def pseudo_id(self, arm: Arm, run: Run) -> int:
        """Id of the dataset with an arm's pseudo-labels of one run."""
        return self.pseudo_ids[f"{arm.name}.{run.name}"]

    def numbered(self, known: dict[str, int]) -> Study:
        """With an id for the dataset of every self-training: the known one, or the next that is free, so that additions move none.

        Raises:
            UserError: more than there are ids.
        """
        own = {*map(id_of, self.used), *map(id_of, self.merged), JOINT_ID}
        known = {key: number for key, number in known.items() if number not in own}
        keys = [f"{arm.name}.{run.name}" for arm in self.arms if arm.kind == "self_train" for run in self.runs]
        taken = {*known.values(), *own}
        free = (number for number in PSEUDO_IDS if number not in taken)
        if sum(key not in known for key in keys) > len(set(PSEUDO_IDS) - taken):
            raise UserError(f"nnU-Net has ids for 999 datasets, {len(keys)} self-trainings need more: take seeds or folds out")
        return replace(self, pseudo_ids={key: known[key] if key in known else next(free) for key in keys})

    def plans(self, arm: Arm) -> str:
        return load_preset(arm.preset).plans_name

    def configuration(self, arm: Arm, run: Run) -> str:
        return f"{CONFIGURATION}_{arm.name}_seed{run.seed}"

    def model(self, arm: Arm, run: Run, layout: Layout) -> Path:
        """Folder TRAINER__PLANS__CONFIGURATION that holds the arm's trained fold."""
        if not arm.trains:
            parent = self.model(self.trained_arm(arm), run, layout)
            return layout.adapted(arm.name, run) / parent.parent.name / parent.name
        name = f"{arm.trainer}__{self.plans(arm)}__{self.configuration(arm, run)}"
        return layout.models / self.dataset(arm, run) / name

    def trained(self, arm: Arm, run: Run, layout: Layout) -> Path:
        return self.model(arm, run, layout) / f"fold_{run.fold}"

    def transductive(self, test: ScoredSet) -> bool:
        """Whether the scans of a test set were seen, unlabelled, in training."""
        return test.dataset in self.targets and test.images == "imagesTr"

    def to_json(self, layout: Layout) -> dict[str, Any]:
        """For `study.json`; `runs` names what was trained, `presets` holds the recipes as they were, which may change with the package."""
        pairs = [(arm, run, self.trained(arm, run, layout).relative_to(layout.folder)) for arm in self.arms for run in self.runs]
        runs = [{"arm": arm.name, "seed": run.seed, "fold": run.fold, "trained": trained.as_posix()} for arm, run, trained in pairs]
        presets = {name: dataclasses.asdict(load_preset(name)) for name in self.presets}
        return {**json.loads(json.dumps({**dataclasses.asdict(self), "presets": presets})), "runs": runs}


def read_resolved(layout: Layout) -> Study:
    """The study of a folder. Raises UserError where its `study.json` is missing or unreadable."""
    return study_from_json(read_json(layout.study, f"{layout.folder} must be the folder of a study"))


def study_from_json(content: dict[str, Any]) -> Study:
    """The study that `to_json` wrote."""
    file = content["file"]
    built = StudyFile(
        **{
            **file,
            "arms": [ArmSpec(**arm) for arm in file["arms"]],
            "phantom": [PhantomSpec(**spec) for spec in file["phantom"]],
            "test_sets": [ScoredSet(**test) for test in file["test_sets"]],
            "primary": Primary(**file["primary"]),
            "resources": {kind: Resources(**values) for kind, values in file["resources"].items()},
        }
    )
    values = {name: content[name] for name in ("source", "targets", "links", "device", "baseline", "pseudo_ids")}
    tests, arms = [ScoredSet(**test) for test in content["tests"]], [Arm(**arm) for arm in content["arms"]]
    return Study(file=built, tests=tests, arms=arms, primary=Primary(**content["primary"]), left_out=content.get("left_out", {}), **values)
