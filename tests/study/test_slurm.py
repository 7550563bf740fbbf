"""A study on a Slurm cluster that is a few scripts: what it is asked for, and that the study comes through."""

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("snakemake_executor_plugin_slurm")

from nnunet_da.errors import CheckFailed
from nnunet_da.study import run as engine
from nnunet_da.study.jobs import Job
from nnunet_da.study.layout import Layout
from nnunet_da.study.records import read_record
from nnunet_da.study.run import Engine, run_study

SBATCH = """
import json, os, pathlib, subprocess, sys
cluster = pathlib.Path(__file__).parent.parent
number = len(list(cluster.glob("job_*"))) + 1
arguments = [part for text in sys.argv for part in text.split("=", 1)] if any(a.startswith("--wrap=") for a in sys.argv) else sys.argv
command = arguments[arguments.index("--wrap") + 1] if "--wrap" in arguments else None
(cluster / f"job_{number}").write_text(json.dumps(sys.argv[1:]))
script = command or sys.stdin.read()
environment = {**os.environ, "SLURM_JOB_ID": str(number), "SLURM_JOBID": str(number)}
log = (cluster / f"log_{number}").open("w")
code = subprocess.run(script, shell=True, env=environment, stdout=log, stderr=subprocess.STDOUT).returncode
(cluster / f"state_{number}").write_text("FAILED" if code else "COMPLETED")
print(number)
"""
SRUN = """
import os, sys
arguments = sys.argv[1:]
while arguments and arguments[0].startswith("-"):
    arguments.pop(0)
os.execvp(arguments[0], arguments)
"""
SACCT = """
import pathlib
for file in sorted(pathlib.Path(__file__).parent.parent.glob("state_*")):
    print(f"{file.name[6:]}|{file.read_text()}")
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """A folder whose `bin` holds a cluster's commands, first in PATH. Its jobs run at once, one after the other."""
    folder = tmp_path / "cluster"
    (folder / "bin").mkdir(parents=True)
    for name, code in {
        "sbatch": SBATCH,
        "srun": SRUN,
        "sacct": SACCT,
        "sinfo": "",
        "scancel": "",
        "squeue": "",
        "sacctmgr": "",
        "sshare": "",
    }.items():
        file = folder / "bin" / name
        file.write_text(f"#!{sys.executable}\n{code}")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin")
    return folder


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    layout = Layout(tmp_path / "out")
    found = [
        Job("train/a.x", [], [python("print('trained')")], "a", "x"),
        Job("train/b.x", [], [python("raise SystemExit('no scans')")], "b", "x"),
        Job("report/report", ["train/a.x", "train/b.x"], [python(f"open({str(layout.report)!r}, 'w').write('page')")]),
    ]
    monkeypatch.setattr(engine, "plan_jobs", lambda *_: found)
    return layout


def test_our_profile_is_accepted_in_a_dry_run(resolved, content, jobs, cluster, capsys):
    run_study(resolved(content), jobs.folder, Engine(cores=4, profile="slurm", dry_run=True))
    assert "3 jobs: 2 train, 1 report" in capsys.readouterr().out
    assert not list(cluster.glob("job_*"))


@pytest.mark.slow
def test_a_study_runs_through_sbatch_with_the_resources_of_its_file(resolved, content, jobs, cluster, tmp_path):
    profile = tmp_path / "profile"
    shutil.copytree(engine.HERE / "profiles" / "slurm", profile)
    with (profile / "config.yaml").open("a") as stream:
        stream.write("slurm-init-seconds-before-status-checks: 1\nseconds-between-status-checks: 1\n")
    study = resolved(content | {"device": "cuda", "resources": {"train": {"threads": 3, "mem_mb": 5000, "runtime_minutes": 77}}})
    with pytest.raises(CheckFailed, match="1 of 3 jobs failed"):
        run_study(study, jobs.folder, Engine(cores=4, profile=str(profile)))
    assert [read_record(jobs.record(name)).status for name in ("train/a.x", "train/b.x", "report/report")] == ["done", "failed", "done"]
    assert jobs.report.read_text() == "page"
    asked = [" ".join(json.loads(file.read_text())) for file in cluster.glob("job_*")]
    trainings = [text for text in asked if "train" in text.split("--comment")[1][:40]]
    assert len(asked) == 3
    assert len(trainings) == 2
    for text in trainings:
        assert "-t 77" in text
        assert "--mem 5000" in text
        assert "--cpus-per-task=3" in text
        assert "--gpus=1" in text
    assert read_record(jobs.record("train/a.x")).gpu is None  # the cluster chooses
