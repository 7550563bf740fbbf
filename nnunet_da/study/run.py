"""`nnunet-da study`: set the folder up, let Snakemake run the jobs, say how it goes, end with the report."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import write_json
from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.study.changes import Earlier, earlier_study, kept_arms
from nnunet_da.study.gpus import number_of_gpus
from nnunet_da.study.job import started_at
from nnunet_da.study.jobs import Job, plan_jobs, resources
from nnunet_da.study.layout import SETTINGS_FILE, Layout
from nnunet_da.study.leakage import refuse_trained_tests
from nnunet_da.study.locks import try_lock
from nnunet_da.study.progress import Progress
from nnunet_da.study.records import Record, failures, read_record
from nnunet_da.study.study import JOINT_NAME, PSEUDO_NAME, TARGET_LABELS, Study

HERE = Path(__file__).parent
POLL_SECONDS = 0.5
MOST_PASSES = 20  # of the engine: each one sees to jobs whose process died in the one before


@dataclass(frozen=True)
class Engine:
    """How the jobs are run.

    Attributes:
        cores: of this machine; with a profile the most that one job may ask for.
        gpus: of this machine, one job on each at a time; None for all.
        profile: Snakemake profile, "slurm" for ours, None for this machine.
        dry_run: list the jobs, run nothing.
    """

    cores: int
    gpus: int | None = None
    profile: str | None = None
    dry_run: bool = False

    @property
    def local_gpus(self) -> int:
        if self.profile is not None:
            return 0
        return number_of_gpus() if self.gpus is None else self.gpus


def run_study(study: Study, folder: Path, engine: Engine, *, overwrite: bool = False) -> Path:
    """Run what is not done yet, and report.

    Returns:
        The report.

    Raises:
        UserError: the folder holds something else, or results of other settings (unless `overwrite`).
        CheckFailed: a job failed; the others went on, and the report names it.
    """
    layout = Layout(folder.absolute())
    _check_device(study, engine)
    _check_profile(engine)
    earlier = earlier_study(study, layout, overwrite)
    refuse_trained_tests(study, study.links)
    study = study.numbered(earlier.pseudo_ids)
    jobs = plan_jobs(study, layout, engine.cores)
    todo = jobs if earlier.goes else _to_run(layout, jobs, _outdated(study, layout, jobs, earlier))
    for arm, words in study.left_out.items():
        print(f"without the arm '{arm}': {words}")
    if earlier.goes and not overwrite:
        print(f"{folder} has other settings and no results yet: it starts anew")
    if engine.dry_run:
        return _dry_run(study, layout, jobs, todo, engine)
    with _alone(layout), _signals():
        if earlier.goes and earlier.content is not None:
            _empty(layout, earlier.content)
        for job in todo:
            layout.record(job.name).unlink(missing_ok=True)
        _set_up(study, layout, jobs, engine)
        _run(layout, jobs, engine)
    _conclude(layout, jobs)
    return layout.report


def _check_device(study: Study, engine: Engine) -> None:
    """Raises UserError where jobs on GPUs would find none, where more are asked for than there are, or on a cluster to be guessed."""
    if engine.profile is not None and study.file.device == "auto":
        raise UserError(
            "a study on a cluster must state its 'device' (cuda or cpu), got auto, which looks at this machine: add it to the file"
        )
    if engine.gpus is not None and study.device != "cuda":
        raise UserError(f"--gpus is for a study that trains on GPUs, this one trains on {study.device}: leave it out or set 'device: cuda'")
    if engine.gpus is not None and engine.profile is not None:
        raise UserError("--gpus is for GPUs of this machine, with --profile the cluster gives each job its own: leave it out")
    if engine.profile is not None or study.device != "cuda":
        return
    there = number_of_gpus()
    if not there:
        raise UserError(
            "the study trains on GPUs ('device' cuda), the driver shows none here: correct 'device', or run it where there is one"
        )
    if engine.local_gpus > there:
        raise UserError(f"the study trains on GPUs, of which {there} can be used here, got --gpus {engine.local_gpus}: correct it")


def _check_profile(engine: Engine) -> None:
    """Raises UserError where Snakemake would find no such profile, or there is no cluster to submit to."""
    if engine.profile is None:
        return
    if engine.profile in _own_profiles():
        lacking = [command for command in ("sbatch", "sacct") if shutil.which(command) is None]
        if lacking and not engine.dry_run:
            raise UserError(
                f"--profile {engine.profile} needs Slurm's commands, {lacking[0]} is not on the path here: run it on a login node"
            )
        return
    from snakemake.cli import get_profile_dir

    if not engine.profile or get_profile_dir(engine.profile) is None:
        ours = ", ".join(_own_profiles())
        raise UserError(
            f"--profile must be {ours}, or a Snakemake profile such as a folder with config.yaml, got '{engine.profile}': correct it"
        )


def _own_profiles() -> dict[str, Path]:
    """Name -> folder of the profiles that ship with the package."""
    return {folder.name: folder for folder in (HERE / "profiles").iterdir() if folder.is_dir()}


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Raises UserError where another `nnunet-da study` runs in the folder."""
    with try_lock(layout.folder / "locks" / "study.lock") as ours:
        if not ours:
            raise UserError(f"another `nnunet-da study` is running in {layout.folder}: wait for it, or choose another folder with -o")
        yield


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM ends the study like Ctrl-C: jobs see that it is gone, and trainings save their very step."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _empty(layout: Layout, before: dict[str, Any]) -> None:
    """Everything that a study made; datasets that it did not make, and what else a user put beside its folders, stay.

    Records go first and study.json stays until `_set_up` replaces it: wherever this is killed, no job counts as done and the folder is
    still known as a study's.
    """
    for name in ("jobs", "logs", "spent", "predictions", "evaluation", "adapted", "pseudo", ".snakemake"):
        _remove(layout.folder / name)
    for path in (layout.models, layout.preprocessed, layout.results):
        _remove(path)
    for dataset in layout.raw.glob("*"):
        if dataset.is_symlink() or _is_made(dataset.name, before):
            _remove(dataset)
    for file in (layout.report, layout.jobs):
        file.unlink(missing_ok=True)


def _is_made(name: str, before: dict[str, Any]) -> bool:
    """Whether a study made a folder of `nnUNet_raw`: a phantom, a merged dataset, or what a killed merge left."""
    phantoms = [f"Dataset{spec['id']:03d}_{spec['name']}" for spec in before["file"].get("phantom", [])]
    merged = rf"Dataset\d{{3}}_({JOINT_NAME}|{PSEUDO_NAME}|{TARGET_LABELS}\d*)|\.(merging|pseudo_labels)_.*"
    return name in phantoms or re.fullmatch(merged, name) is not None


def _remove(path: Path) -> None:
    """A folder with all in it; of a link the link alone, for a user may have put it there."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _set_up(study: Study, layout: Layout, jobs: list[Job], engine: Engine) -> None:
    """Folders, links to the user's datasets, their folds, and the two files that say what is to be done."""
    write_json(study.to_json(layout), layout.study)  # first: a folder without it is nobody's
    for folder in (layout.raw, layout.preprocessed, layout.models):
        folder.mkdir(parents=True, exist_ok=True)
    for name, original in study.links.items():
        link = layout.raw / name
        if not link.exists():
            link.symlink_to(original, target_is_directory=True)
        _take_folds(name, layout)
    write_json(_jobs_file(study, jobs, engine), layout.jobs)


def _take_folds(dataset: str, layout: Layout) -> None:
    """The user's own folds of a dataset."""
    mine, folder = layout.preprocessed / dataset / "splits_final.json", paths.optional(paths.nnunet_preprocessed)
    theirs = folder / dataset / "splits_final.json" if folder else None
    if theirs is not None and theirs.is_file() and not mine.exists():
        mine.parent.mkdir(exist_ok=True)
        shutil.copyfile(theirs, mine)


def _jobs_file(study: Study, jobs: list[Job], engine: Engine) -> dict[str, Any]:
    kinds = {kind: resources(study, kind, engine.cores) for kind in dict.fromkeys(job.kind for job in jobs)}
    described = {
        job.name: {
            "needs": job.needs,
            "commands": job.commands,
            "arm": job.arm,
            "run": job.run,
            "fold_folder": job.fold_folder,
            "allowed": job.allowed,
            "remakes": job.remakes,
            "threads": kinds[job.kind]["threads"],
            "gpu": kinds[job.kind]["gpu"],
        }
        for job in jobs
    }
    return {"gpus": engine.local_gpus, "resources": kinds, "jobs": described}


def _outdated(study: Study, layout: Layout, jobs: list[Job], earlier: Earlier) -> set[str]:
    """Jobs that count as done and are not: of arms that are not what they were, and the report of a study that reads otherwise now."""
    if earlier.content is None:
        return set()
    now = study.to_json(layout)
    changed = {arm.name for arm in study.arms} - kept_arms(earlier.content, now)
    outdated = {job.name for job in jobs if job.arm in changed}
    if earlier.content != now or not (layout.results / SETTINGS_FILE).is_file():
        outdated.add("collect/collect")
    if not layout.report.is_file():
        outdated.add("report/report")
    return outdated


def _to_run(layout: Layout, jobs: list[Job], outdated: Collection[str]) -> list[Job]:
    """What was not done yet, failed or is outdated, and all that waits for it."""
    again: dict[str, Job] = {}
    for job in jobs:
        record = read_record(layout.record(job.name))
        if record is None or record.status != "done" or job.name in outdated or again.keys() & set(job.needs):
            again[job.name] = job
    return list(again.values())


def _dry_run(study: Study, layout: Layout, jobs: list[Job], todo: list[Job], engine: Engine) -> Path:
    """List the jobs that would run, and let the engine plan them in a folder of its own."""
    import tempfile

    for job in todo:
        print(job.name + (f": {' '.join([Path(job.commands[-1][0]).name, *job.commands[-1][1:]])}" if job.kind == "train" else ""))
    kinds = list(dict.fromkeys(job.kind for job in todo))
    print(f"{len(todo)} jobs: " + ", ".join(f"{sum(job.kind == kind for job in todo)} {kind}" for kind in kinds))
    with tempfile.TemporaryDirectory() as temporary:
        planned = Layout(Path(temporary))
        write_json(_jobs_file(study, jobs, engine), planned.jobs)
        for job in jobs:
            if job not in todo:
                planned.record(job.name).parent.mkdir(parents=True, exist_ok=True)
                planned.record(job.name).touch()
        done = subprocess.run([*_command(planned, engine), "--dry-run"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CheckFailed(f"Snakemake must accept the plan, it did not: {_last_line(done.stdout + done.stderr)}")
    return layout.report


def _run(layout: Layout, jobs: list[Job], engine: Engine) -> None:
    with Progress(layout, jobs) as progress:
        for _ in range(MOST_PASSES):
            code, log = _pass(layout, engine, progress)
            missing = [job for job in jobs if not layout.record(job.name).is_file()]
            if not missing:
                return
            died = [job for job in missing if all(layout.record(need).is_file() for need in job.needs)]
            if code == 0 or not any(layout.log(job.name).is_file() for job in died):
                raise CheckFailed(f"the engine must run all jobs, it ended with code {code} before {missing[0].name}: see {log}")
            for job in died:
                _write_death(layout, job)


def _write_death(layout: Layout, job: Job) -> None:
    reason = f"its process ended without a word (killed, out of memory or out of time), see {layout.log(job.name)}"
    Record(job.name, "failed", reason, ended=time.time()).write(layout.record(job.name))


def _pass(layout: Layout, engine: Engine, progress: Progress) -> tuple[int, Path]:
    """One run of Snakemake: its exit code and its log."""
    log = layout.folder / "logs" / "snakemake.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(
            _command(layout, engine), stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            while process.poll() is None:
                progress.update()
                time.sleep(POLL_SECONDS)
            progress.update()
        except BaseException:
            _stop(process, engine)
            raise
    return process.returncode, log


def _stop(process: "subprocess.Popen[bytes]", engine: Engine) -> None:
    """On this machine jobs notice themselves that the study is gone; a cluster's are cancelled by Snakemake."""
    if engine.profile is None:
        process.kill()
    else:
        process.send_signal(signal.SIGINT)
    process.wait()


def _command(layout: Layout, engine: Engine) -> list[str]:
    options = ["-s", str(HERE / "workflow.smk"), "--directory", str(layout.folder)]
    watch = f"{os.getpid()}@{started_at(os.getpid())}" if engine.profile is None else "none"
    options += ["--config", f"python={sys.executable}", f"watch={watch}"]
    options += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "--nolock", "--scheduler", "greedy", "--nocolor"]
    if engine.profile is None:
        gpus = ["--resources", f"gpu={engine.local_gpus}"] if engine.local_gpus else []
        return [*_snakemake(), *options, "--cores", str(engine.cores), *gpus, "--latency-wait", "1"]
    return [*_snakemake(), *options, "--profile", str(_own_profiles().get(engine.profile, engine.profile))]


def _snakemake() -> list[str]:
    return [sys.executable, "-m", "snakemake"]


def _conclude(layout: Layout, jobs: list[Job]) -> None:
    """Raises CheckFailed where a job failed; all of them are listed first."""
    failed = failures(layout)
    for words, reason in failed.items():
        print(f"failed: {words}: {reason}")
    if not layout.report.is_file():
        raise CheckFailed(f"the study ended without a report: see {layout.folder / 'logs'}")
    print(f"report: {layout.report}")
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(jobs)} jobs failed (listed above); run the same command to try them again")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
