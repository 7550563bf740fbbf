"""Checks of Python, packages, folders and hardware."""

import importlib
import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nnunet_da import paths
from nnunet_da.doctor.check import Check, Status, describe, passed
from nnunet_da.errors import UserError
from nnunet_da.study.engine import missing_packages

DISTRIBUTION = "nnunet-da"
IMPORTED = {"nnunetv2": "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", "torch": "torch", "simpleitk": "SimpleITK"}  # rows of their own
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
WHY = {
    "nnunetv2": "our trainer overrides its internals, which move between minor releases",
    "torch": "checkpoints are read safely and features aligned with what this range offers",
}
NETWORK = ("nnunet_da.networks.transunet3d", "TransUNet3D")
LITTLE_DISK_GB = 20
LITTLE_SHARED_MEMORY_GB = 1.0  # nnU-Net's workers hand batches over through it; containers often get 0.06 GB


def python_check() -> list[Check]:
    """Older ones cannot read our syntax, newer ones are untried."""
    found, supported = f"{sys.version.split()[0]} ({sys.executable})", f"Python {_dotted(OLDEST_PYTHON)} to {_dotted(NEWEST_PYTHON)}"
    fix = f"make a new environment with {supported}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return [Check("python", Status.FAIL, f"{found}, too old: supported is {supported}", fix)]
    if sys.version_info[:2] > NEWEST_PYTHON:
        return [Check("python", Status.WARN, f"{found}, newer than tested: supported is {supported}", fix)]
    return [passed("python", found)]


def package_checks() -> list[Check]:
    """Versions against what this package declares; the heavy ones are imported too, since a broken install shows only then."""
    from packaging.requirements import Requirement

    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [Check(DISTRIBUTION, Status.FAIL, "not installed in this Python", "pip install -e . in the checkout, or make install")]
    needed = [requirement for requirement in map(Requirement, declared) if requirement.marker is None or requirement.marker.evaluate()]
    rows = [passed(DISTRIBUTION, f"{importlib.metadata.version(DISTRIBUTION)} ({paths.PACKAGE_DIR})")]
    rows += [_version_check(one.name, str(one.specifier), one.specifier.contains) for one in needed]
    others = [row for row in rows if row.status is Status.OK and row.name.lower() not in {DISTRIBUTION, *IMPORTED}]
    return [row for row in rows if row not in others] + [passed("other packages", ", ".join(f"{row.name} {row.found}" for row in others))]


def folder_checks() -> list[Check]:
    """nnU-Net's three folders: set, there and writable."""
    finders = {"nnUNet_raw": paths.nnunet_raw, "nnUNet_preprocessed": paths.nnunet_preprocessed, "nnUNet_results": paths.nnunet_results}
    return [_folder_check(name, find) for name, find in finders.items()]


def network_check() -> list[Check]:
    """nnU-Net falls back silently to a stock network of the same name when a plans file's class cannot be imported."""
    module, name = NETWORK
    try:
        getattr(importlib.import_module(module), name)
    except Exception as error:
        return [Check("network", Status.FAIL, f"{module}.{name} cannot be imported: {describe(error)}", "reinstall nnunet_da")]
    return [passed("network", f"{module}.{name}")]


def gpu_check() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        fix = "nnUNetv2_train -device cpu (slow), or install a driver and torch that fit each other"
        return [Check("GPU", Status.WARN, f"torch {torch.__version__} sees no CUDA device", fix)]
    cards = (torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count()))
    return [passed("GPU", ", ".join(f"{card.name} {card.total_memory / 2**30:.0f} GB" for card in cards))]


def compile_check() -> list[Check]:
    """nnU-Net compiles on CUDA unless nnUNet_compile=f; try it on one small function."""
    import torch

    if not torch.cuda.is_available():
        return [passed("torch.compile", "not used without CUDA")]
    try:
        torch.compile(torch.sin)(torch.ones(8, device="cuda")).sum().item()
    except Exception as error:
        return [
            Check(
                "torch.compile", Status.FAIL, f"does not work here: {describe(error)}", "export nnUNet_compile=f, or install a C compiler"
            )
        ]
    return [passed("torch.compile", "works on CUDA")]


def compiler_check() -> list[Check]:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "cl"))), None)
    if compiler is None:
        return [Check("C compiler", Status.WARN, "none", "install gcc: torch.compile and the radiomics extra need one")]
    return [passed("C compiler", compiler)]


def shared_memory_check() -> list[Check]:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return []
    size_gb = shutil.disk_usage(folder).total / 1e9
    if size_gb < LITTLE_SHARED_MEMORY_GB:
        fix = "start the container with --ipc=host or --shm-size=8g: nnU-Net's loader workers need it"
        return [Check("shared memory", Status.WARN, f"{size_gb:.2f} GB", fix)]
    return [passed("shared memory", f"{size_gb:.1f} GB")]


def radiomics_check() -> list[Check]:
    try:
        importlib.import_module("radiomics")
        return [passed("radiomics", f"pyradiomics {importlib.metadata.version('pyradiomics')}")]
    except Exception as error:
        fix = "pip install numpy setuptools wheel; pip install --no-build-isolation pyradiomics==3.0.1"
        return [Check("radiomics", Status.WARN, f"not available ({describe(error)}); only the verb radiomics needs it", fix)]


def study_check() -> list[Check]:
    missing = missing_packages()
    if missing:
        fix = "pip install 'nnunet-da[study]' (Python 3.11 or newer)"
        return [Check("study", Status.WARN, f"{', '.join(missing)} not installed; only the verb study needs it", fix)]
    return [passed("study", f"Snakemake {importlib.metadata.version('snakemake')}")]


def _version_check(name: str, needs: str, allows: Callable[[str], bool]) -> Check:
    fix = f"pip install '{name}{needs}'"
    try:
        version = importlib.metadata.version(name)
        if not allows(version):
            why = f": {WHY[name]}" if name in WHY else ""
            return Check(name, Status.FAIL, f"{version} is outside the supported range {_readable(needs)}{why}", fix)
        if name.lower() in IMPORTED:
            importlib.import_module(IMPORTED[name.lower()])
        return passed(name, f"{version} (supported: {_readable(needs)})" if name in WHY else version)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, Status.FAIL, f"not installed, needs {needs}", fix)
    except BaseException as error:
        return Check(
            name, Status.FAIL, f"{version} cannot be imported: {describe(error)}", f"pip install --force-reinstall '{name}{needs}'"
        )


def _readable(needs: str) -> str:
    """A version range with its lower bound first; packaging prints it in any order."""
    return ", ".join(sorted(needs.split(","), key=lambda bound: not bound.startswith((">", "="))))


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _folder_check(name: str, find: Callable[[], Path]) -> Check:
    try:
        folder = find()
        with tempfile.TemporaryFile(dir=folder):
            free_gb = shutil.disk_usage(folder).free / 1e9
    except UserError as error:
        return Check(name, Status.FAIL, str(error).split(":")[0], f"mkdir -p FOLDER && export {name}=FOLDER")
    except OSError as error:
        return Check(
            name, Status.FAIL, f"{folder} cannot be written: {error.strerror}", "choose a folder you may write, or mend its permissions"
        )
    if free_gb < LITTLE_DISK_GB:
        return Check(name, Status.WARN, f"{folder}, {free_gb:.0f} GB free", "make room: preprocessed scans and checkpoints take many GB")
    return passed(name, f"{folder}, {free_gb:.0f} GB free")
