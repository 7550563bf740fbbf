"""The jobs of a study and what each waits for; the workflow engine runs them, this module only names them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_da.study.arms import Arm
from nnunet_da.study.file import PhantomSpec, Resources, ScoredSet
from nnunet_da.study.layout import Layout, Run
from nnunet_da.study.study import Study

DEFAULTS = {  # threads None: all cores
    "phantom": Resources(2, 0, 4000, 60),
    "prepare": Resources(2, 0, 8000, 240),
    "merge": Resources(2, 0, 8000, 240),
    "pseudo": Resources(None, 1, 16000, 480),
    "train": Resources(None, 1, 24000, 2880),
    "adapt": Resources(None, 1, 16000, 120),
    "predict": Resources(None, 1, 16000, 480),
    "evaluate": Resources(1, 0, 4000, 120),
    "radiomics": Resources(1, 0, 4000, 480),
    "collect": Resources(1, 0, 8000, 120),
    "report": Resources(1, 0, 8000, 60),
}


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        name: `kind/name`, unique.
        needs: names of the jobs before it.
        commands: run one after the other; the first that fails ends the job.
        arm: whose it is, "" for the study's.
        run: of the arm, "" for all.
        fold_folder: where a training leaves its checkpoints: it goes on with `--c` from there.
        allowed: exit codes of success.
        remakes: folders that are deleted before the commands run: what a killed try left there may be half a file.
    """

    name: str
    needs: list[str]
    commands: list[list[str]]
    arm: str = ""
    run: str = ""
    fold_folder: str = ""
    allowed: list[int] = field(default_factory=lambda: [0])
    remakes: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.name.split("/")[0]


def plan_jobs(study: Study, layout: Layout, cores: int) -> list[Job]:
    """Every job of the study, those before others first."""
    return list(_Planner(study, layout, cores).jobs())


def resources(study: Study, kind: str, cores: int) -> dict[str, int]:
    """Threads, GPUs, MB and minutes of a job of a kind: the defaults, the file's over them."""
    default, asked = DEFAULTS[kind], study.file.resources.get(kind, Resources())
    on_gpu = study.device == "cuda"
    values = {name: _first(getattr(asked, name), getattr(default, name)) for name in ("threads", "gpu", "mem_mb", "runtime_minutes")}
    threads = values["threads"] or (min(cores, 8) if on_gpu else cores)
    return {
        "threads": min(threads, cores),
        "gpu": int(values["gpu"] or 0) if on_gpu else 0,
        "mem_mb": int(values["mem_mb"] or 0),
        "runtime": int(values["runtime_minutes"] or 0),
    }


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


@dataclass(frozen=True)
class _Planner:
    study: Study
    layout: Layout
    cores: int

    def jobs(self) -> Iterator[Job]:
        study = self.study
        phantoms = [self._phantom(spec) for spec in study.file.phantom]
        yield from phantoms
        made = [job.name for job in phantoms]
        for preset in study.presets:
            yield Job(f"prepare/{preset}", made, [self._step("prepare", preset)])
        yield from self._merges(made)
        for arm in study.arms:
            yield from self._arm(arm)
        yield self._collect()
        yield Job(
            "report/report",
            ["collect/collect", *(self._radiomics_name(arm) for arm in self._arms_with_radiomics)],
            [_ours("report", str(self.layout.results), "-o", str(self.layout.report), "--overwrite")],
        )

    def _phantom(self, spec: PhantomSpec) -> Job:
        options = ["-d", str(spec.id), "--name", spec.name, "--centre", spec.centre, "--severity", str(spec.severity)]
        options += ["--train", str(spec.train), "--test", str(spec.test), "--seed", str(spec.seed), "--slice-scale", str(spec.slice_scale)]
        options += ["--window-mm", *map(str, spec.window_mm)] if spec.window_mm else []
        options += ["--pixel-mm", str(spec.pixel_mm)] if spec.pixel_mm else []
        options += [part for switch, names in (("--on", spec.on), ("--off", spec.off)) for part in ([switch, *names] if names else [])]
        options += [] if spec.labels else ["--no-labels"]
        processes = str(self._threads("phantom"))
        return Job(f"phantom/{spec.id}", [], [_ours("phantom", *options, "--processes", processes, "--overwrite")])

    def _merges(self, made: list[str]) -> Iterator[Job]:
        labelled = [arm for arm in self.study.arms if arm.kind in ("oracle", "joint")]
        targets = [Job("merge/targets", made, [self._step("targets")])] if labelled and len(self.study.targets) > 1 else []
        yield from targets
        for arm in labelled:
            needs = [f"prepare/{arm.preset}", *(job.name for job in targets)]
            yield Job(f"merge/{arm.name}", needs, [self._step("merge", arm.name)], arm.name)

    def _arm(self, arm: Arm) -> Iterator[Job]:
        for run in self.study.runs:
            yield from self._run(arm, run)
        if arm in self._arms_with_radiomics:
            yield self._radiomics(arm)

    def _run(self, arm: Arm, run: Run) -> Iterator[Job]:
        name = f"{arm.name}.{run.name}"
        trained = f"train/{arm.name}.{run.name}"
        if arm.kind == "self_train":
            parent = f"train/{arm.parent}.{run.name}"
            yield Job(f"pseudo/{name}", [parent], [self._step("pseudo", arm.name, run.name)], arm.name, run.name)
            yield self._train(arm, run, f"pseudo/{name}")
        elif arm.trains:
            yield self._train(arm, run, f"merge/{arm.name}" if arm.kind in ("oracle", "joint") else f"prepare/{arm.preset}")
        else:
            trained = f"adapt/{name}"
            yield self._adapt(arm, run)
        yield self._predict(arm, run, trained)
        yield self._evaluate(arm, run)

    def _train(self, arm: Arm, run: Run, before: str) -> Job:
        study, name = self.study, f"train/{arm.name}.{run.name}"
        arguments = [study.dataset(arm, run), study.configuration(arm, run), str(run.fold), "-tr", arm.trainer, "-p", study.plans(arm)]
        command = _stock("nnUNetv2_train", *arguments, "-device", study.device)
        configure = self._step("configure", arm.name, run.name)  # within the job: a run that is added later touches no other
        return Job(name, [before], [configure, command], arm.name, run.name, str(study.trained(arm, run, self.layout)))

    def _adapt(self, arm: Arm, run: Run) -> Job:
        study = self.study
        model = study.model(study.trained_arm(arm), run, self.layout)
        output = self.layout.adapted(arm.name, run)
        options = ["-t", study.targets[0], "-f", str(run.fold), "-o", str(output), "--device", study.device, "--overwrite"]
        before = f"train/{arm.parent}.{run.name}"
        return Job(f"adapt/{arm.name}.{run.name}", [before], [_ours("adapt-bn", str(model), *options)], arm.name, run.name)

    def _predict(self, arm: Arm, run: Run, trained: str) -> Job:
        commands = [self._prediction(arm, run, test) for test in self.study.tests]
        remade = [str(self.layout.predictions(arm.name, run, test.dataset)) for test in self.study.tests]
        return Job(f"predict/{arm.name}.{run.name}", [trained], commands, arm.name, run.name, remakes=remade)

    def _prediction(self, arm: Arm, run: Run, test: ScoredSet) -> list[str]:
        """On a CPU one scan after the other: nnU-Net's worker processes take half a minute to start and would fight for the cores.

        Adapted models stand as nnU-Net lays its results out; its command for other folders cannot do without workers.
        """
        study, output = self.study, str(self.layout.predictions(arm.name, run, test.dataset))
        trained, workers = study.trained_arm(arm), "0" if study.device == "cpu" else "2"
        model = ["-d", study.dataset(trained, run), "-c", study.configuration(trained, run), "-tr", arm.trainer, "-p", study.plans(arm)]
        options = ["-i", str(self.layout.raw / test.dataset / test.images), "-o", output, "-f", str(run.fold), "-device", study.device]
        options += ["-npp", workers, "-nps", workers, *([] if study.file.mirroring else ["--disable_tta"])]
        models = [] if arm.trains else ["env", f"nnUNet_results={self.layout.adapted(arm.name, run)}"]
        return [*models, *_stock("nnUNetv2_predict", *model, *options)]

    def _evaluate(self, arm: Arm, run: Run) -> Job:
        commands = [self._evaluation(arm, run, test) for test in self.study.tests]
        name = f"{arm.name}.{run.name}"
        return Job(f"evaluate/{name}", [f"predict/{name}"], commands, arm.name, run.name, allowed=[0, 1])

    def _evaluation(self, arm: Arm, run: Run, test: ScoredSet) -> list[str]:
        raw, file = self.layout.raw / test.dataset, self.study.file
        predicted = str(self.layout.predictions(arm.name, run, test.dataset))
        options = ["-r", str(raw / test.labels), "-p", predicted, "-o", str(self.layout.evaluation(arm.name, run, test.dataset))]
        options += ["--images", str(raw / test.images), "--domain", test.dataset, "--method", arm.name, "--overwrite"]
        options += ["--dataset-json", str(raw / "dataset.json"), "--nsd-mm", *map(str, file.nsd_mm)]
        options += ["--field-of-view", str(file.field_of_view_mm)] if file.field_of_view_mm is not None else []
        return _ours("evaluate", *options, "--processes", str(self._threads("evaluate")))

    @property
    def _arms_with_radiomics(self) -> list[Arm]:
        return self.study.arms if self.study.file.radiomics else []

    def _radiomics_name(self, arm: Arm) -> str:
        return f"radiomics/{arm.name}"

    def _radiomics(self, arm: Arm) -> Job:
        run = self.study.runs[0]
        folders = [str(self.layout.evaluation(arm.name, run, test.dataset)) for test in self.study.tests]
        output = str(self.layout.results / arm.name / "radiomics")
        command = _ours("radiomics", "--evaluation", *folders, "-o", output, "--processes", str(self._threads("radiomics")), "--overwrite")
        return Job(self._radiomics_name(arm), [f"evaluate/{arm.name}.{run.name}"], [command], arm.name)

    def _collect(self) -> Job:
        evaluated = [f"evaluate/{arm.name}.{run.name}" for arm in self.study.arms for run in self.study.runs]
        return Job("collect/collect", evaluated, [self._step("collect")])

    def _step(self, step: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "nnunet_da.study.steps", str(self.layout.folder), step, *arguments]

    def _threads(self, kind: str) -> int:
        return resources(self.study, kind, self.cores)["threads"]


def _ours(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nnunet_da.cli.main", *arguments]


def _stock(command: str, *arguments: str) -> list[str]:
    """A command of stock nnU-Net, from the environment this Python runs in."""
    return [str(Path(sys.executable).parent / command), *arguments]
