"""Does stock look-up find our trainers? It imports every module of every folder of nnUNet_extTrainer, so one broken file hides them all."""

import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from nnunet_da import paths
from nnunet_da.doctor.check import Check, Status, describe, passed

VARIABLE = "nnUNet_extTrainer"
EXPORT = 'export nnUNet_extTrainer="$(nnunet-da trainer-path)"'


def configured_folder_checks() -> list[Check]:
    """nnUNet_extTrainer is set and names our folder; stock skips folders that do not exist without a word."""
    ours, entries = paths.trainers_dir(), _entries()
    rows = [_missing_entry(entry) for entry in entries if not os.path.exists(entry)]
    if not entries:
        return [Check(VARIABLE, Status.FAIL, "not set", EXPORT)]
    if not any(_same(entry, ours) for entry in entries):
        return [*rows, Check(VARIABLE, Status.FAIL, f"{os.pathsep.join(entries)} does not hold {ours}", EXPORT)]
    return [*rows, passed(VARIABLE, os.pathsep.join(entries))]


def broken_module_checks() -> list[Check]:
    """Import each module as stock look-up does, and name those that stop it."""
    return [row for folder in _folders() for row in _broken_modules(folder)]


def look_up_checks() -> list[Check]:
    """Run stock look-up for every trainer of our folder."""
    names = our_trainers()
    if not _folders():
        return [Check("trainers", Status.FAIL, f"none of {len(names)} can be found without {VARIABLE}", EXPORT)]
    if not names:
        return [Check("trainers", Status.FAIL, f"no trainer in {paths.trainers_dir()}", "reinstall nnunet_da")]
    failed = [row for name in names for row in _look_up(name)]
    if failed:
        return _one_row_per_cause(failed)
    return [passed("trainers", f"{len(names)} found by stock look-up: {', '.join(names)}")]


def our_trainers() -> list[str]:
    """Names of the trainers we ship; a file is named like its class."""
    return sorted(path.stem for path in paths.trainers_dir().glob("nnUNetTrainer*.py"))


def _entries() -> list[str]:
    """The folders as configured, in stock's order."""
    return [entry for entry in (paths.configured_trainers_dir() or "").split(os.pathsep) if entry.strip()]


def _folders() -> list[str]:
    return [entry for entry in _entries() if os.path.isdir(entry)]


def _same(entry: str, folder: Path) -> bool:
    return os.path.isdir(entry) and os.path.samefile(entry, folder)


def _missing_entry(entry: str) -> Check:
    why = "'~' is not expanded by nnU-Net" if entry.startswith("~") else "no such folder, and nnU-Net skips it silently"
    return Check(VARIABLE, Status.WARN, f"{entry}: {why}", "write the full path, or remove it from the variable")


def _broken_modules(folder: str) -> Iterator[Check]:
    from nnunetv2.utilities.find_class_by_name import temporarily_cleanup_imports_from_path, temporarily_extend_syspath

    importlib.invalidate_caches()
    with temporarily_extend_syspath(folder), temporarily_cleanup_imports_from_path(folder):
        for module, file in _modules(Path(folder)):
            try:
                importlib.import_module(module)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if not (isinstance(error, ModuleNotFoundError) and error.name == module):  # stock skips just this
                    found = f"{file} cannot be imported, which stops the look-up of every trainer: {describe(error, file)}"
                    yield Check("trainer module", Status.FAIL, found, _fix(error, file))


def _modules(folder: Path, package: str = "") -> Iterator[tuple[str, Path]]:
    """Dotted names and files in stock's order: the modules of a folder, then its packages."""
    found = sorted(pkgutil.iter_modules([str(folder)]), key=lambda module: (module.ispkg, module.name))
    for module in found:
        if module.ispkg:
            yield from _modules(folder / module.name, f"{package}{module.name}.")
        else:
            yield f"{package}{module.name}", folder / f"{module.name}.py"


def _fix(error: BaseException, file: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install '{error.name}', or move {file.name} out of {file.parent}"
    return f"mend {file.name}, or move it out of {file.parent}"


def _look_up(name: str) -> Iterator[Check]:
    """Nothing where stock look-up gives our class; else a row that says what it gives."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    if _is_built_in(name):
        yield Check(
            name, Status.FAIL, "nnU-Net has a built-in trainer of this name, which wins silently", f"rename {name}.py and its class"
        )
        return
    try:
        first = _first_folder_with(name)
        trainer = recursive_find_trainer_class_by_name(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        yield Check(name, Status.FAIL, f"stock look-up stops: {describe(error)}", f"mend what the message names; {EXPORT}")
        return
    if not _same(first, paths.trainers_dir()):
        yield Check(name, Status.FAIL, f"{first} holds a trainer of the same name and comes first", f"put our folder first in {VARIABLE}")
    elif (trainer.__module__, trainer.__name__) != (name, name):
        found = f"look-up gives {trainer.__module__}.{trainer.__name__}"
        yield Check(name, Status.FAIL, found, f"define the class {name} in {name}.py and nowhere else")


def _one_row_per_cause(failed: list[Check]) -> list[Check]:
    """A broken module gives every trainer the same row: say it once, with all names."""
    names: dict[tuple[str, str], list[str]] = {}
    for check in failed:
        names.setdefault((check.found, check.fix), []).append(check.name)
    return [Check("trainers", Status.FAIL, f"{', '.join(of_cause)}: {found}", fix) for (found, fix), of_cause in names.items()]


def _is_built_in(name: str) -> bool:
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    root = nnunetv2.__path__[0]
    folder = os.path.join(root, "training", "nnUNetTrainer")
    return recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer", root) is not None


def _first_folder_with(name: str) -> str:
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    for folder in _folders():
        if recursive_find_python_class(folder, name, None, folder, cleanup_imports_from_base_folder=True) is not None:
            return folder
    return ""
