"""Target labels are unreadable and every file that Python opens is audited: planning, preprocessing and training never touch them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm_processes

from nnunet_da import paths

AUDIT = """
import os, sys
log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def audit(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "glob.glob") and "labelsTr" in str(arguments[0]):
        os.write(log, f"{os.getpid()} {event} {arguments[0]}\\n".encode())
sys.addaudithook(audit)
"""
RUN = """
import quick_nnunet, warm_processes
from nnunet_da.cli.main import main
if __name__ == "__main__":
    quick_nnunet.make_quick()
    warm_processes.take_the_place_of_spawned()  # their server runs the hook too
    assert main(["plan", "-d", "101", "-t", "102", "--preset", "pf_daformer_demo", "--patch-size", "16", "16", "16",
                 "--spacing", "2.5", "2", "2", "--set", "num_epochs=1", "--set", "iterations_per_epoch=2"]) == 0
    assert main(["preprocess", "-d", "101", "-p", "PFDAformerDemoPlans", "--processes", "2"]) == 0
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args
    rivals = ("nnUNetTrainer_UDA_HistogramMatching", "nnUNetTrainer_UDA_Fourier")
    for name in ("nnUNetTrainer_PFDAformer", "nnUNetTrainer_PFDAformer_SourceOnly", *rivals):
        get_trainer_from_args("101", "3d_fullres", 0, name, "PFDAformerDemoPlans", device=torch.device("cpu")).run_training()
"""


def test_target_labels_are_never_opened(make_centre, nnunet_folders, tmp_path):
    make_centre(101, "A", cases=5)
    target = make_centre(102, "B")
    for label in (target / "labelsTr").iterdir():  # root may read any file, but nobody a link to nowhere: C++ readers fail too
        label.unlink()
        label.symlink_to("/nowhere")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(AUDIT)  # in every process, workers too
    (tmp_path / "run.py").write_text(RUN)
    log = tmp_path / "audit.log"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{hook}{os.pathsep}{Path(warm_processes.__file__).parent}",
        "AUDIT_LOG": str(log),
        "nnUNet_extTrainer": str(paths.trainers_dir()),
        "nnUNet_n_proc_DA": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, tmp_path / "run.py"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    opened = log.read_text()
    assert "Dataset102_B" not in opened


def test_the_audit_would_see_a_label(tmp_path):
    """The hook above is not blind: listing a labelsTr folder is noticed, in a worker process too."""
    (tmp_path / "Dataset102_B" / "labelsTr").mkdir(parents=True)
    (tmp_path / "sitecustomize.py").write_text(AUDIT)
    (tmp_path / "run.py").write_text(f"""
import multiprocessing, os, warm_processes
if __name__ == "__main__":
    folder = {str(tmp_path / "Dataset102_B" / "labelsTr")!r}
    os.listdir(folder)
    warm_processes.take_the_place_of_spawned()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(os.listdir, [folder])
""")
    path = f"{tmp_path}{os.pathsep}{Path(warm_processes.__file__).parent}"
    environment = {**os.environ, "PYTHONPATH": path, "AUDIT_LOG": str(tmp_path / "log")}
    subprocess.run([sys.executable, tmp_path / "run.py"], env=environment, check=True)
    seen = [line.split() for line in Path(tmp_path / "log").read_text().splitlines()]
    assert all("Dataset102_B" in path for _, _, path in seen)
    assert len({process for process, _, _ in seen}) == 2


@pytest.mark.parametrize("folder", ["adaptation", "losses", "networks", "training"])
def test_no_code_of_training_names_labels_of_a_target(folder):
    for file in (paths.PACKAGE_DIR / folder).rglob("*.py"):
        assert "labelsTr" not in file.read_text(), file
