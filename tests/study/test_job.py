"""One job: its commands, its record, and what happens when they fail or the study goes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from nnunet_da.study import job as runner
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import Record, read_record


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


@pytest.fixture
def write_jobs(layout):
    """name -> changes; writes jobs.json."""

    def write(gpus: int = 0, **jobs) -> None:
        plain = {
            "needs": [],
            "commands": [],
            "fold_folder": "",
            "allowed": [0],
            "remakes": [],
            "threads": 1,
            "gpu": 0,
            "arm": "",
            "run": "",
        }
        described = {name.replace("_", "/", 1): plain | changes for name, changes in jobs.items()}
        layout.jobs.write_text(json.dumps({"gpus": gpus, "jobs": described}))

    return write


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def run(layout, name, *options):
    code = runner.main([str(layout.folder), name, *options])
    return code, read_record(layout.record(name))


def test_commands_run_in_order_and_leave_a_record(layout, write_jobs):
    write_jobs(train_a={"commands": [python("print('one')"), python("import time; time.sleep(1.3); print('two')")]})
    code, record = run(layout, "train/a")
    assert code == 0
    assert (record.status, record.reason, record.gpu) == ("done", "", None)
    assert 1.3 < record.seconds <= record.ended - record.started < 20
    assert record.peak_mb > 1
    text = layout.log("train/a").read_text()
    assert text.index("one") < text.index("two")


@pytest.mark.parametrize(("milliseconds", "looks"), [(0, range(2, 10)), (30, range(1, 2))])
def test_a_look_at_memory_that_takes_long_is_rare(layout, write_jobs, monkeypatch, milliseconds, looks):
    seen = []

    def look(pid):
        end = time.process_time() + milliseconds / 1000
        while time.process_time() < end:
            pass
        seen.append(pid)
        return 7.0

    monkeypatch.setattr(runner, "_memory_mb", look)
    monkeypatch.setattr(runner, "MEMORY_SECONDS", 0.1)
    write_jobs(train_a={"commands": [python("import time; time.sleep(1)")]})
    assert run(layout, "train/a")[1].peak_mb == 7
    assert len(seen) in looks


def test_a_failing_command_ends_the_job_not_the_study(layout, write_jobs):
    write_jobs(train_a={"commands": [python("raise SystemExit('error: no scans')"), python("print('never')")]})
    code, record = run(layout, "train/a")
    assert code == 0
    assert (record.status, record.reason) == ("failed", "ended with code 1: error: no scans")
    assert "never\n" not in layout.log("train/a").read_text()


def test_codes_of_success_are_the_jobs(layout, write_jobs):
    write_jobs(evaluate_a={"commands": [python("raise SystemExit(1)")], "allowed": [0, 1]})
    assert run(layout, "evaluate/a")[1].status == "done"


def test_what_needs_a_failed_job_is_skipped_and_says_why(layout, write_jobs):
    write_jobs(train_a={}, predict_a={"needs": ["train/a"], "commands": [python("print('never')")]}, collect_all={"needs": ["train/a"]})
    assert run(layout, "predict/a")[1].reason == "needs train/a, which has no record"
    Record("train/a", "failed", "x").write(layout.record("train/a"))
    record = run(layout, "predict/a")[1]
    assert (record.status, record.reason) == ("skipped", "needs train/a, which failed")
    assert not layout.log("predict/a").exists()
    assert run(layout, "collect/all")[1].status == "done"  # what shows all arms does not wait for one


def test_a_training_with_a_checkpoint_goes_on(layout, write_jobs, tmp_path):
    fold = tmp_path / "fold_0"
    fold.mkdir()
    stock = tmp_path / "nnUNetv2_train"
    stock.write_text(f"#!{sys.executable}\nimport sys\nprint('called', sys.argv[1:])\n")
    stock.chmod(0o755)
    write_jobs(train_a={"commands": [[str(stock), "101"]], "fold_folder": str(fold)})
    run(layout, "train/a")
    (fold / "checkpoint_latest.pth").touch()
    run(layout, "train/a")
    assert [line for line in layout.log("train/a").read_text().splitlines() if line.startswith("called")] == [
        "called ['101']",
        "called ['101', '--c']",
    ]


def test_leftovers_of_a_killed_try_are_removed(layout, write_jobs, tmp_path):
    half = tmp_path / "predictions"
    half.mkdir()
    (half / "case.nii.gz").touch()
    write_jobs(predict_a={"commands": [python(f"import os; assert not os.path.exists({str(half)!r})")], "remakes": [str(half)]})
    assert run(layout, "predict/a")[1].status == "done"


def test_jobs_get_their_threads_and_folders(layout, write_jobs):
    names = ("NNUNET_DA_THREADS", "OMP_NUM_THREADS", "nnUNet_raw", "nnUNet_extTrainer")
    write_jobs(train_a={"commands": [python(f"import os; print([os.environ[name] for name in {names}])")], "threads": 3})
    run(layout, "train/a")
    assert f"['3', '3', '{layout.raw}', " in layout.log("train/a").read_text()


def test_two_jobs_never_share_a_gpu(layout, write_jobs, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    busy = python("import os, time; print('on', os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(1.5)")
    write_jobs(gpus=2, **{f"train_{name}": {"commands": [busy], "gpu": 1} for name in "abc"})
    command = [sys.executable, "-m", "nnunet_da.study.job", str(layout.folder)]
    for process in [subprocess.Popen([*command, f"train/{name}"]) for name in "abc"]:
        assert process.wait(60) == 0
    records = [read_record(layout.record(f"train/{name}")) for name in "abc"]
    assert {record.gpu for record in records} == {0, 1}
    used = {layout.log(f"train/{name}").read_text().split("on ")[-1].strip() for name in "abc"}
    assert used == {"4", "7"}


def test_memory_on_gpus_is_the_largest_seen(layout, write_jobs, monkeypatch):
    seen = iter([512.0, None, 2048.0])
    monkeypatch.setattr(runner, "gpu_memory_mb", lambda pids: next(seen, 64.0) if pids else None)
    monkeypatch.setattr(runner, "GPU_MEMORY_SECONDS", 0.0)
    write_jobs(gpus=1, train_a={"commands": [python("import time; time.sleep(1.5)")], "gpu": 1}, train_b={"commands": [python("pass")]})
    assert run(layout, "train/a")[1].gpu_peak_mb == 2048
    assert run(layout, "train/b")[1].gpu_peak_mb is None


def test_a_job_stops_when_its_study_is_gone(layout, write_jobs, tmp_path):
    """SIGKILL leaves no time to say goodbye: the job sees it, asks its command to leave, and leaves no record."""
    asked = tmp_path / "asked"
    patient = (
        "import signal, sys, time, pathlib\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(asked)!r}).touch(), sys.exit(143)))\n"
        "print('re' + 'ady', flush=True)\ntime.sleep(60)"
    )
    write_jobs(train_a={"commands": [python(patient)]})
    study = subprocess.Popen(python("import time; time.sleep(60)"))
    command = [
        sys.executable,
        "-m",
        "nnunet_da.study.job",
        str(layout.folder),
        "train/a",
        "--watch",
        f"{study.pid}@{runner.started_at(study.pid)}",
    ]
    process = subprocess.Popen(command)
    wait_for(lambda: layout.log("train/a").is_file() and "ready" in layout.log("train/a").read_text())
    os.kill(study.pid, signal.SIGKILL)
    study.wait()
    assert process.wait(30) == 1
    assert asked.is_file()
    assert read_record(layout.record("train/a")) is None
    before = json.loads((layout.folder / "spent" / "train" / "a.json").read_text())["seconds"]
    write_jobs(train_a={"commands": [python("pass")]})
    assert run(layout, "train/a")[1].seconds > before > 0  # the cost of the killed try is not forgotten


@pytest.mark.parametrize("study", ["{pid}@0.00", "999999999@1.00"])
def test_a_job_does_not_begin_after_its_study(layout, write_jobs, study):
    """An engine that outlived the study, or another process with its number, changes nothing."""
    write_jobs(train_a={"commands": [python("print('never')")]})
    assert run(layout, "train/a", "--watch", study.format(pid=os.getpid())) == (1, None)
    assert not layout.log("train/a").exists()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
