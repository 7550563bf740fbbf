"""The wheel alone, in a venv that sees the heavy packages but not this checkout."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from nnunet_da import paths

ROOT = paths.PACKAGE_DIR.parent
TRAINERS = sorted(path.name for path in paths.trainers_dir().glob("*.py"))
PLANS = sorted(path.name for path in paths.plans_dir().glob("*.json"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout to build the wheel from"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def venv(wheel, tmp_path_factory) -> Path:
    """The wheel installed without its dependencies. A .pth line adds the heavy packages last and does not run their own .pth files, so the
    editable install of this checkout stays out of sight."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    (site_packages / "heavy.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


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
    data = {str(path.relative_to(ROOT)) for path in paths.PACKAGE_DIR.rglob("*.j2")}
    assert data <= set(names)


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
