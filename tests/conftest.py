"""Two tiny centres of bright blobs, planned and preprocessed once per session."""

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import quick_nnunet
import SimpleITK as sitk
import warm_processes

warm_processes.take_the_place_of_spawned()  # before anything asks for a context
os.environ.setdefault("nnUNet_def_n_proc", "1")  # stock makes 8 processes even to list files, read when it is imported

SHAPE = (20, 28, 28)


def write_centre(raw: Path, dataset_id: int, name: str, cases: int, seed: int, labels: bool = True, offset_hu: float = 0.0) -> Path:
    """A dataset of noisy volumes with one bright ellipsoid each, 2.5 x 2 x 2 mm."""
    folder = raw / f"Dataset{dataset_id:03d}_{name}"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE).astype(np.float32)
    for index in range(cases):
        centre = np.array(SHAPE) / 2 + rng.uniform(-3, 3, 3)
        radii = rng.uniform(4, 7, 3)
        inside = sum(((grid[axis] - centre[axis]) / radii[axis]) ** 2 for axis in range(3)) < 1
        voxels = rng.normal(-50 + offset_hu, 30, SHAPE) + 500 * inside
        for array, file in (
            (voxels.astype(np.int16), f"imagesTr/{name}_{index:02d}_0000.nii.gz"),
            (inside, f"labelsTr/{name}_{index:02d}.nii.gz"),
        ):
            image = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
            image.SetSpacing((2.0, 2.0, 2.5))
            sitk.WriteImage(image, str(folder / file))
    if not labels:
        for file in (folder / "labelsTr").iterdir():
            file.unlink()
        (folder / "labelsTr").rmdir()
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": cases, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """nnU-Net internals first: where these have moved, the other failures follow from it. Then the longest, lest one process ends alone."""
    first = ["test_nnunet_internals.py", "test_target_labels.py"]
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else len(first))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI has a limit: after NNUNET_DA_TEST_DEADLINE (seconds since 1970) no slow test begins, and the summary says which were left out."""
    deadline = os.environ.get("NNUNET_DA_TEST_DEADLINE")
    if deadline and time.time() > float(deadline) and item.get_closest_marker("slow"):
        pytest.skip("left out: the time for slow tests is up")


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty nnUNet_raw, nnUNet_preprocessed and nnUNet_results below one folder."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture(scope="session")
def quick_planning() -> None:
    """See `quick_nnunet`."""
    quick_nnunet.make_quick()


@pytest.fixture
def make_centre(nnunet_folders: Path, quick_planning: None):
    """dataset id, name, ... -> the folder of a dataset written below a temporary nnUNet_raw."""

    def make(dataset_id: int, name: str, cases: int = 2, seed: int = 0, **options) -> Path:
        return write_centre(nnunet_folders / "nnUNet_raw", dataset_id, name, cases, seed, **options)

    return make


@pytest.fixture
def centres_copy(two_centres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the planned and preprocessed centres that a test may damage."""
    import shutil

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        shutil.copytree(two_centres / name, tmp_path / name)
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def add_centre(centres_copy: Path):
    """dataset id, name, ... -> the folder of one more dataset beside the copied centres."""

    def add(dataset_id: int, name: str, cases: int = 5, seed: int = 3, **options) -> Path:
        return write_centre(centres_copy / "nnUNet_raw", dataset_id, name, cases, seed, **options)

    return add


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str]):
    """command, words -> runs it; it must end with 2 and one line that has the words, and leave every file as it was."""
    from nnunet_da.cli.main import main

    def check(folder: Path, command: list[str], *words: str) -> None:
        before = _contents(folder)
        assert main(command) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        for word in words:
            assert word in errors[0]
        assert _contents(folder) == before

    return check


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="session")
def two_centres(tmp_path_factory: pytest.TempPathFactory, quick_planning: None) -> Iterator[Path]:
    """Dataset101_A (labelled) and Dataset102_B (no labels), planned with a tiny TransUNet3D and with stock nnU-Net, and preprocessed."""
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    root = tmp_path_factory.mktemp("centres")
    names = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    before = {name: os.environ.get(name) for name in (*names, "nnUNet_n_proc_DA")}
    for name in names:
        (root / name).mkdir()
        os.environ[name] = str(root / name)
    write_centre(root / "nnUNet_raw", 101, "A", 5, seed=1)
    write_centre(root / "nnUNet_raw", 102, "B", 4, seed=2, labels=False, offset_hu=60)
    short = {"num_epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "seed": 7}
    for preset, options in (
        ("pf_daformer_demo", {"patch_size": [16, 16, 16], "spacing_mm": [2.5, 2.0, 2.0]}),
        ("uda", {}),
        ("uda_resenc", {}),
    ):
        request = PlanRequest("101", ["102"], preset, overrides={**short, "head_lr": 1e-3}, **options)
        file, configuration = plan(request)
        _narrow(file)
        preprocess("101", file.stem, configuration, processes=1)
    os.environ["nnUNet_n_proc_DA"] = "0"
    yield root
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def make_trainer(two_centres: Path, monkeypatch: pytest.MonkeyPatch):
    """name, plans, settings to change -> an initialised trainer, found by stock nnU-Net's own look-up, once; it plots no progress."""
    import torch
    from nnunetv2.inference import predict_from_raw_data
    from nnunetv2.run import run_training
    from nnunetv2.training.logging.nnunet_logger import LocalLogger

    from nnunet_da import paths

    torch.set_num_threads(1)
    monkeypatch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    for module in (run_training, predict_from_raw_data):
        monkeypatch.setattr(module, "recursive_find_trainer_class_by_name", _trainer_class)
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda logger, folder: None)  # takes longer than an epoch of these

    def make(name: str, plans: str, initialize: bool = True, fold: int = 0, resume: bool = False, **changes):
        if changes:
            plans = _changed_plans(plans, changes)
        trainer = run_training.get_trainer_from_args("101", "3d_fullres", fold, name, plans, resume, torch.device("cpu"))
        if initialize:
            trainer.initialize()
        return trainer

    return make


@functools.cache
def _trainer_class(name: str) -> type:
    """Looked up by stock nnU-Net, which imports every file on its way: longer than some trainings here."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    return recursive_find_trainer_class_by_name(name)


def _narrow(file: Path) -> None:
    """Stock networks with a quarter of their channels, for quick steps: nothing here depends on their number."""
    plans = json.loads(file.read_text())
    for configuration in plans["configurations"].values():
        arguments = configuration.get("architecture", {}).get("arch_kwargs", {})
        if "features_per_stage" in arguments:
            arguments["features_per_stage"] = [channels // 4 for channels in arguments["features_per_stage"]]
    file.write_text(json.dumps(plans, indent=4))


def _changed_plans(name: str, changes: dict) -> str:
    folder = Path(os.environ["nnUNet_preprocessed"]) / "Dataset101_A"
    plans = json.loads((folder / f"{name}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    configuration["nnunet_da"].update(changes)
    plans["plans_name"] = f"{name}Changed"
    (folder / f"{name}Changed.json").write_text(json.dumps(plans))
    return plans["plans_name"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Built from this checkout."""
    from nnunet_da import paths

    root = paths.PACKAGE_DIR.parent
    if not (root / "pyproject.toml").is_file():
        pytest.skip("needs a checkout to build the wheel from")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, root], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def browse() -> Callable[..., str]:
    """page, folder for its profile, options -> what a real browser prints; its network is cut off, so that a request would fail."""
    browser = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no chromium found: install it, or name a browser in CHROME")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files"]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND")

    def run(page: Path, folder: Path, *options: str) -> str:
        command = [browser, *flags, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    return run
