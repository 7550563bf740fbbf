"""Folders of nnU-Net and of this package: the only reader of environment variables."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_da.errors import UserError

PACKAGE_DIR = Path(__file__).parent


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
