"""The wheel alone, in a venv that sees the heavy packages but not this checkout."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from nnunet_da import paths

ROOT = paths.PACKAGE_DIR.parent
TRAINERS = sorted(path.name for path in paths.trainers_dir().glob("*.py"))
PLANS = sorted(path.name for path in paths.plans_dir().glob("*.json"))

pytestmark = pytest.mark.slow


def run(venv: Path, *command: str, **environment: str) -> str:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(venv), **environment}
    done = subprocess.run([venv / "bin" / command[0], *command[1:]], cwd=venv, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_holds_what_it_needs_and_nothing_at_the_top(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"nnunet_da"}
    assert {"nnunet_da/py.typed", "nnunet_da/cli/main.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    data = {str(path.relative_to(ROOT)) for ending in ("j2", "css", "json") for path in paths.PACKAGE_DIR.rglob(f"*.{ending}")}
    assert {"nnunet_da/report/paper_tables.json", "nnunet_da/report/templates/style.css"} <= data <= set(names)


def test_trainers_and_plans_stand_inside_the_install(venv):
    trainers = Path(run(venv, "nnunet-da", "trainer-path").strip())
    assert venv in trainers.parents
    assert sorted(path.name for path in trainers.glob("*.py")) == TRAINERS
    plans = Path(run(venv, "python", "-c", "from nnunet_da import paths; print(paths.plans_dir())").strip())
    assert venv in plans.parents
    assert sorted(path.name for path in plans.glob("*.json")) == PLANS


def test_stock_look_up_finds_the_trainers_of_the_wheel(venv):
    trainers = run(venv, "nnunet-da", "trainer-path").strip()
    code = (
        "import sys, nnunet_da\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "print('PACKAGE', nnunet_da.__file__)\n"
        "for name in sys.argv[1:]: print('FOUND', find(name).__name__)"
    )
    names = [name.removesuffix(".py") for name in TRAINERS]
    lines = run(venv, "python", "-c", code, *names, nnUNet_extTrainer=trainers).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FOUND")] == names
    assert all(str(venv) in line for line in lines if line.startswith("PACKAGE"))


def test_doctor_is_content_with_the_wheel(venv, tmp_path):
    folders = {name: str(tmp_path) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    trainers = run(venv, "nnunet-da", "trainer-path").strip()
    table = run(venv, "nnunet-da", "doctor", nnUNet_extTrainer=trainers, **folders)
    assert f"{len(TRAINERS)} found by stock look-up" in table
