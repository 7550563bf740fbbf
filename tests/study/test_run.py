"""The engine on jobs that take no time: order, failures, stops, two GPUs, changes of the study."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.study import run as engine
from nnunet_da.study.jobs import Job
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import Record, read_record
from nnunet_da.study.run import Engine, run_study


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "out")


@pytest.fixture
def run(resolved, content, layout, monkeypatch):
    """Jobs, options of the engine -> runs them as the jobs of a study, a report at their end."""

    def run(jobs: list[Job], overwrite: bool = False, changes: dict | None = None, **options) -> Path:
        report = Job("report/report", [job.name for job in jobs], [python(f"open({str(layout.report)!r}, 'w').write('page')")])
        monkeypatch.setattr(engine, "plan_jobs", lambda study, layout, cores: [*jobs, report])
        return run_study(resolved(content | (changes or {})), layout.folder, Engine(**{"cores": 2, **options}), overwrite=overwrite)

    return run


@pytest.fixture
def quick_run(run, monkeypatch):
    """The same without Snakemake, for questions of which jobs are run: one after the other, whatever became of those before."""

    def one_by_one(layout: Layout, jobs: list[Job], _: Engine) -> None:
        for job in jobs:
            if not layout.record(job.name).is_file():
                failed = any(subprocess.run(command, check=False).returncode for command in job.commands)
                Record(job.name, "failed" if failed else "done").write(layout.record(job.name))

    monkeypatch.setattr(engine, "_run", one_by_one)
    return run


def statuses(layout, names):
    return {name: record.status if (record := read_record(layout.record(name))) else None for name in names}


def test_a_failed_arm_does_not_stop_the_others(run, layout, capsys):
    jobs = [
        Job("train/a.seed0_fold0", [], [python("raise SystemExit('out of scans')")], "a", "seed0_fold0"),
        Job("predict/a.seed0_fold0", ["train/a.seed0_fold0"], [python("pass")], "a", "seed0_fold0"),
        Job("train/b.seed0_fold0", [], [python("pass")], "b", "seed0_fold0"),
        Job("predict/b.seed0_fold0", ["train/b.seed0_fold0"], [python("pass")], "b", "seed0_fold0"),
    ]
    with pytest.raises(CheckFailed, match="1 of 5 jobs failed"):
        run(jobs)
    assert list(statuses(layout, [job.name for job in jobs]).values()) == ["failed", "skipped", "done", "done"]
    assert layout.report.read_text() == "page"
    printed = capsys.readouterr().out
    assert "failed: a seed0 fold0: train: ended with code 1: out of scans" in printed
    run(jobs, dry_run=True)
    assert "3 jobs: 1 train, 1 predict, 1 report" in capsys.readouterr().out  # what the next call would do
    jobs[0] = Job(jobs[0].name, [], [python("pass")], "a", "seed0_fold0")  # the reason is mended
    run(jobs)
    assert set(statuses(layout, [job.name for job in jobs]).values()) == {"done"}
    assert "5 jobs, 2 done before" in capsys.readouterr().out  # b is not done again


def test_a_process_that_dies_is_a_failure_not_the_end(run, layout):
    suicide = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    jobs = [Job("train/a.x", [], [python(suicide)], "a", "x"), Job("train/b.x", ["train/a.x"], [python("pass")], "b", "x")]
    with pytest.raises(CheckFailed, match="1 of 3 jobs failed"):
        run(jobs)
    assert statuses(layout, ["train/a.x", "train/b.x", "report/report"]) == {
        "train/a.x": "failed",
        "train/b.x": "skipped",
        "report/report": "done",
    }
    assert "without a word" in read_record(layout.record("train/a.x")).reason


@pytest.mark.parametrize(
    ("there", "options", "words"), [(0, {}, "the driver shows none here"), (2, {"gpus": 3}, "of which 2 can be used here, got --gpus 3")]
)
def test_gpus_that_are_not_there_are_refused(run, layout, monkeypatch, there, options, words):
    monkeypatch.setattr(engine, "number_of_gpus", lambda: there)
    with pytest.raises(UserError, match=words):
        run([], changes={"device": "cuda"}, **options)
    assert not layout.folder.exists()


def test_gpus_for_a_study_on_the_cpu_are_refused(run, layout):
    with pytest.raises(UserError, match="this one trains on cpu"):
        run([], gpus=2)
    assert not layout.folder.exists()


def test_a_cluster_is_not_guessed_from_the_machine_of_the_command(run, layout):
    with pytest.raises(UserError, match="must state its 'device'"):
        run([], changes={"device": "auto"}, profile="slurm")
    assert not layout.folder.exists()


@pytest.mark.slow
def test_two_arms_run_on_two_gpus_at_the_same_time(run, layout, monkeypatch):
    """Resources alone: two trainings of 2 s that each want one of two GPUs overlap, on one GPU they do not."""
    monkeypatch.setattr(
        engine, "resources", lambda study, kind, cores: {"threads": 1, "gpu": int(kind == "train"), "mem_mb": 1, "runtime": 1}
    )
    monkeypatch.setattr(engine, "number_of_gpus", lambda: 2)
    jobs = [Job(f"train/{name}.x", [], [python("import time; time.sleep(2)")], name, "x") for name in "ab"]
    for gpus, overlaps in ((2, True), (1, False)):
        run(jobs, changes={"device": "cuda"}, gpus=gpus, overwrite=True)
        one, other = (read_record(layout.record(job.name)) for job in jobs)
        assert (one.started < other.ended and other.started < one.ended) is overlaps
        assert {one.gpu, other.gpu} == ({0, 1} if overlaps else {0})


def test_a_dry_run_lists_the_jobs_and_leaves_nothing(run, layout, capsys):
    stock = Job("train/a.x", [], [["/somewhere/nnUNetv2_train", "101", "3d_fullres"]], "a", "x")
    run([stock, Job("predict/a.x", ["train/a.x"], [python("pass")], "a", "x")], dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["train/a.x: nnUNetv2_train 101 3d_fullres", "predict/a.x"]
    assert lines[-1] == "3 jobs: 1 train, 1 predict, 1 report"
    assert not layout.folder.exists()


def test_results_of_other_settings_are_never_mixed(run, layout, content):
    jobs = [Job("train/a.x", [], [python("pass")], "a", "x")]
    run(jobs)
    mark = layout.folder / "jobs" / "train" / "a.x.json"
    before = mark.read_bytes()
    with pytest.raises(UserError, match=r"other settings \(settings: num_epochs: 3 there, 4 now\).*--overwrite"):
        run(jobs, changes={"settings": {"num_epochs": 4, "iterations_per_epoch": 2}})
    assert mark.read_bytes() == before
    run(jobs, changes={"settings": {"num_epochs": 4, "iterations_per_epoch": 2}}, overwrite=True)
    assert json.loads(layout.study.read_text())["file"]["settings"]["num_epochs"] == 4


def test_a_stop_while_a_folder_is_emptied_harms_nothing(run, layout, monkeypatch):
    """No record outlives what it records, and the settings are there to be compared until the last."""
    jobs, remove = [Job("train/a.x", [], [python("pass")], "a", "x")], shutil.rmtree
    run(jobs)
    fold = layout.folder / json.loads(layout.study.read_text())["runs"][0]["trained"]
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").touch()

    def stopped(folder, **options):
        if Path(folder) == layout.models:
            raise KeyboardInterrupt
        remove(folder, **options)

    other = {"settings": {"num_epochs": 4, "iterations_per_epoch": 2}}
    with monkeypatch.context() as patched:
        patched.setattr(engine.shutil, "rmtree", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(jobs, changes=other, overwrite=True)
    assert statuses(layout, ["train/a.x", "report/report"]) == {"train/a.x": None, "report/report": None}
    with pytest.raises(UserError, match="results of other settings"):
        run(jobs, changes=other)
    run(jobs)
    assert statuses(layout, ["train/a.x", "report/report"]) == {"train/a.x": "done", "report/report": "done"}


def test_a_study_that_reads_otherwise_is_reported_anew_and_nothing_else_is_repeated(quick_run, layout, tmp_path):
    def counting(name: str) -> list[list[str]]:
        return [python(f"open({str(tmp_path / name)!r}, 'a').write('x')")]

    jobs = [Job("train/a.x", [], counting("trained"), "a", "x"), Job("collect/collect", ["train/a.x"], counting("collected"))]

    def counts():
        return [len((tmp_path / name).read_text()) for name in ("trained", "collected")]

    quick_run(jobs)
    layout.results.mkdir()
    (layout.results / "report.json").touch()
    quick_run(jobs)
    assert counts() == [1, 1]
    quick_run(jobs, changes={"title": "Other words"})
    assert counts() == [1, 2]
    layout.report.unlink()
    quick_run(jobs, changes={"title": "Other words"})
    assert (layout.report.is_file(), counts()) == (True, [1, 2])


def test_what_was_made_for_an_arm_before_its_correction_is_made_anew(quick_run, layout, content, tmp_path):
    """Pseudo-labels of the old confidence would be trained on without a word."""
    both, mmd = content["arms"]

    def changed(confidence: float) -> dict:
        return {"arms": [both, mmd, {"name": "st", "self_train": "mmd", "confidence": confidence}]}

    jobs = [
        Job("train/mmd.x", [], [python(f"open({str(tmp_path / 'mmd')!r}, 'a').write('x')")], "mmd", "x"),
        Job("pseudo/st.x", ["train/mmd.x"], [python(f"open({str(tmp_path / 'pseudo')!r}, 'a').write('x')")], "st", "x"),
        Job("train/st.x", ["pseudo/st.x"], [python("raise SystemExit('no')")], "st", "x"),
    ]
    for confidence, made in ((0.9, 1), (0.9, 1), (0.5, 2)):
        with pytest.raises(CheckFailed):
            quick_run(jobs, changes=changed(confidence))
        assert [len((tmp_path / name).read_text()) for name in ("mmd", "pseudo")] == [1, made]
    quick_run(jobs[:1])  # taken out, and put back otherwise
    with pytest.raises(CheckFailed):
        quick_run(jobs, changes=changed(0.7))
    assert [len((tmp_path / name).read_text()) for name in ("mmd", "pseudo")] == [1, 3]


def test_overwriting_leaves_what_the_study_did_not_make(quick_run, layout):
    quick_run([])
    elsewhere = layout.folder.parent / "scratch"
    (elsewhere / "model").mkdir(parents=True)
    layout.models.rmdir()
    layout.models.symlink_to(elsewhere)
    made = ("Dataset101_A", "Dataset999_Joint", "Dataset998_TargetLabels", "Dataset997_TargetLabels0", "Dataset900_Pseudo", ".merging_x")
    for name in (*made, "Dataset777_Precious", "Dataset998_Mine"):
        (layout.raw / name).mkdir(parents=True)
    (layout.raw / "Dataset001_Linked").symlink_to(elsewhere)
    content = json.loads(layout.study.read_text())
    del content["pseudo_ids"]  # of an early version
    layout.study.write_text(json.dumps(content))
    quick_run([], overwrite=True)
    assert sorted(folder.name for folder in layout.raw.iterdir()) == ["Dataset777_Precious", "Dataset998_Mine"]
    assert (elsewhere / "model").is_dir()
    assert not layout.models.is_symlink()


def test_a_study_killed_while_it_starts_is_known_as_one(quick_run, layout, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_take_folds", stopped)
        patched.setattr(engine, "_jobs_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            quick_run([])
    assert quick_run([]) == layout.report


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "nope"}, "--profile must be slurm, or a Snakemake profile"),
        ({"profile": ""}, "--profile must be slurm"),
        ({"profile": "slurm"}, "needs Slurm's commands, sbatch is not on the path"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused_with_nothing_written(run, layout, options, words, monkeypatch):
    monkeypatch.setattr(engine.shutil, "which", lambda command: None)
    with pytest.raises(UserError, match=words):
        run([], **options)
    assert not layout.folder.exists()


def test_any_profile_that_snakemake_finds_will_do(run, layout, tmp_path, monkeypatch, capsys):
    """Also by an absolute path, and where there is no Slurm."""
    monkeypatch.setattr(engine.shutil, "which", lambda command: None)
    profile = tmp_path / "lsf"
    profile.mkdir()
    with pytest.raises(UserError, match="--profile must be slurm, or a Snakemake profile"):
        run([], profile=str(profile), dry_run=True)
    (profile / "config.yaml").write_text("cores: 1\n")
    run([], profile=str(profile), dry_run=True)
    assert "1 jobs: 1 report" in capsys.readouterr().out


def test_gpus_are_the_clusters_with_a_profile(run):
    with pytest.raises(UserError, match="--gpus is for GPUs of this machine"):
        run([], changes={"device": "cuda"}, gpus=1, profile="slurm")


def test_an_added_run_does_not_repeat_the_others(run, layout, tmp_path):
    def marking(name: str) -> list[list[str]]:
        return [python(f"open({str(tmp_path / name)!r}, 'a').write('x')")]

    prepare = Job("prepare/p", [], marking("prepared"))
    trainings = [Job(f"train/a.seed{seed}", ["prepare/p"], marking(f"trained{seed}"), "a", f"seed{seed}") for seed in (0, 1)]
    run([prepare, trainings[0]])
    run([prepare, *trainings])
    counts = {name: len((tmp_path / name).read_text()) for name in ("prepared", "trained0", "trained1")}
    assert counts == {"prepared": 1, "trained0": 1, "trained1": 1}


def test_a_folder_of_something_else_is_left_alone(run, layout):
    layout.folder.mkdir()
    (layout.folder / "thesis.docx").touch()
    for overwrite in (False, True):
        with pytest.raises(UserError, match="new or empty folder"):
            run([], overwrite=overwrite)
    assert [path.name for path in layout.folder.iterdir()] == ["thesis.docx"]


def test_a_second_study_in_the_same_folder_is_refused(run, layout):
    from nnunet_da.study.locks import try_lock

    with try_lock(layout.folder / "locks" / "study.lock") as ours:
        assert ours
        with pytest.raises(UserError, match="another `nnunet-da study`"):
            run([])


SCRIPT = """
import sys
from pathlib import Path
from nnunet_da.study import run as engine
from nnunet_da.study.file import read_study
from nnunet_da.study.jobs import Job
from nnunet_da.study.resolve import resolve
marks, report, file, folder = sys.argv[1:]
work = "import os, sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(float(sys.argv[2]) if os.path.getsize(sys.argv[1]) == 1 else 0)"
needs = [[], *([f"train/a.{n}"] for n in range(3))]
seconds = ["0.2", "60", "0.2", "0.2"]  # the second is cut off
commands = [[sys.executable, "-c", work, f"{marks}/{n}", seconds[n]] for n in range(4)]
jobs = [Job(f"train/a.{n}", needs[n], [commands[n]], "a", str(n)) for n in range(4)]
end = Job("report/report", ["train/a.3"], [[sys.executable, "-c", f"open({report!r}, 'w').write('page')"]])
engine.plan_jobs = lambda *_: [*jobs, end]
engine.run_study(resolve(read_study(Path(file))), Path(folder), engine.Engine(cores=2))
"""


def test_a_killed_study_goes_on_where_it_was(write, content, layout, tmp_path, nnunet_folders):
    marks = tmp_path / "marks"
    marks.mkdir()
    command = [sys.executable, "-c", SCRIPT, str(marks), str(layout.report), str(write(content)), str(layout.folder)]
    first = subprocess.Popen(command)
    end = time.monotonic() + 90
    while not (marks / "1").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(5)
    assert not (marks / "2").exists()  # the engine that is left begins nothing more
    subprocess.run(command, check=True, timeout=120)
    assert [len((marks / str(n)).read_text()) for n in range(4)] == [1, 2, 1, 1]  # only the one that was cut off runs twice
    assert layout.report.read_text() == "page"
