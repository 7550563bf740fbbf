"""Folders of nnU-Net and of this package: the only reader of environment variables."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_da.errors import UserError

PACKAGE_DIR = Path(__file__).parent
THREADS = "NNUNET_DA_THREADS"


def nnunet_raw() -> Path:
    """The folder `nnUNet_raw` points at."""
    return _folder_from_environment("nnUNet_raw")


def nnunet_preprocessed() -> Path:
    """The folder `nnUNet_preprocessed` points at."""
    return _folder_from_environment("nnUNet_preprocessed")


def nnunet_results() -> Path:
    """The folder `nnUNet_results` points at."""
    return _folder_from_environment("nnUNet_results")


def optional(find: Callable[[], Path]) -> Path | None:
    """One of the folders above, None where its variable is not set: for work that does not need it."""
    try:
        return find()
    except UserError:
        return None


def trainers_dir() -> Path:
    """The folder to set as `nnUNet_extTrainer`."""
    return _packaged_folder("trainers")


def plans_dir() -> Path:
    """The folder of the presets."""
    return _packaged_folder("plans")


def configured_trainers_dir() -> str | None:
    """What `nnUNet_extTrainer` is set to now, unchecked."""
    return os.environ.get("nnUNet_extTrainer")


def stock_environment(folder: Path) -> dict[str, str]:
    """For stock commands whose datasets, preprocessed data and results all stand below one folder, with our trainers."""
    folders = {name: str(folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    return {**os.environ, **folders, "nnUNet_extTrainer": str(trainers_dir()), "PYTHONUNBUFFERED": "1"}


def job_environment(folder: Path, gpu: int | None, threads: int) -> dict[str, str]:
    """For a job of a study: `stock_environment`, its GPU, and the cores it may use."""
    environment = {**stock_environment(folder), THREADS: str(threads), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment.setdefault("nnUNet_n_proc_DA", str(threads if gpu is not None else 0))
    environment.setdefault("nnUNet_def_n_proc", str(threads))
    visible = visible_gpus()
    return environment if gpu is None else {**environment, "CUDA_VISIBLE_DEVICES": visible[gpu] if visible else str(gpu)}


def threads_of_job() -> int | None:
    """Cores that a training may use, None for all as in stock nnU-Net."""
    value = os.environ.get(THREADS)
    if value is None:
        return None
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"the environment variable {THREADS} must be a whole number of 1 or more, got '{value}': correct or unset it")
    return int(value)


def visible_gpus() -> list[str] | None:
    """What CUDA_VISIBLE_DEVICES lists, None where it is not set; as in CUDA an entry that is no GPU ends the list."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    return list(itertools.takewhile(lambda part: part.isdecimal() or part.startswith(("GPU-", "MIG-")), parts))


@contextmanager
def one_worker_at_least() -> Iterator[None]:
    """nnU-Net plans with as many threads as it trains with workers, and crashes on none: give planning one."""
    before = os.environ.get("nnUNet_n_proc_DA")
    if before == "0":
        os.environ["nnUNet_n_proc_DA"] = "1"
    try:
        yield
    finally:
        if before is not None:
            os.environ["nnUNet_n_proc_DA"] = before


def test_data_dir() -> Path | None:
    """The real test data, or None where they are absent."""
    configured = os.environ.get("NNUNET_DA_TEST_DATA")
    folder = Path(configured) if configured else PACKAGE_DIR.parents[1] / "shared" / "data"
    return folder if folder.is_dir() else None


def _folder_from_environment(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise UserError(f"the environment variable {variable} must name a folder, but it is not set: export {variable}=/path/to/{variable}")
    folder = Path(value)
    if not folder.is_dir():
        raise UserError(
            f"the environment variable {variable} must name an existing folder, got {value}: create the folder or correct the variable"
        )
    return folder


def _packaged_folder(name: str) -> Path:
    """Inside the package in a wheel, beside the package in a checkout."""
    for folder in (PACKAGE_DIR / name, PACKAGE_DIR.parent / name):
        if folder.is_dir():
            return folder
    raise UserError(f"the folder '{name}' of nnunet_da must stand in or beside {PACKAGE_DIR}, found neither: reinstall nnunet_da")
