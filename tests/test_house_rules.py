"""Rules of the house that no linter knows: who may import what, who reads the environment, how fast the command answers."""

import ast
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnunet_da
from nnunet_da import paths
from nnunet_da.cli.main import VERBS

PACKAGE = Path(nnunet_da.__file__).parent
PURE = ("networks", "adaptation", "losses", "evaluation", "radiomics", "report")  # never import nnunetv2
HEAVY = ("torch", "nnunetv2", "numpy", "SimpleITK", "pandas", "matplotlib")
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINERS = sorted(paths.trainers_dir().glob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """Every dotted name imported anywhere in a file, in functions too; `from a import b` counts as a and a.b."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def reachable(start: list[str]) -> dict[str, str]:
    """Every module name that the start modules import, directly or through the package -> the module that does."""
    files = {module_name(path): path for path in FILES}
    todo, seen, reached = list(start), set(), {}
    while todo:
        module = todo.pop()
        if module in seen or module not in files:
            continue
        seen.add(module)
        for name in imported_names(files[module]):
            reached.setdefault(name, module)
            parents = [name.rsplit(".", cut)[0] for cut in range(name.count(".") + 1)]
            todo.extend(parent for parent in parents if parent in files)  # importing a.b.c runs a and a.b first
    return reached


def modules_of(folder: str) -> list[str]:
    return [module_name(path) for path in FILES if path.relative_to(PACKAGE).parts[0] == folder]


@pytest.mark.parametrize("folder", PURE)
def test_pure_packages_never_import_nnunet(folder):
    offending = {name: by for name, by in reachable(modules_of(folder)).items() if name.split(".")[0] == "nnunetv2"}
    assert not offending


def test_the_walk_sees_an_import_of_nnunet():
    assert any(name.split(".")[0] == "nnunetv2" for name in reachable(modules_of("training")))


def test_pure_packages_load_without_nnunet():
    modules = [module for folder in PURE for module in modules_of(folder)]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.startswith('nnunetv2')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_training_imports_the_trainer():
    offending = [
        path
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] != "training" and any("nnUNetTrainer" in name.split(".") for name in imported_names(path))
    ]
    assert not offending


def reads_environment(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return bool({"environ", "getenv", "expandvars", "environb"} & attributes) or bool(
        {"os.environ", "os.getenv"} & set(imported_names(path))
    )


def test_only_paths_reads_the_environment():
    may = {"paths.py", "demo.py", "demo"}  # the demo hands an environment of its own to the stock commands it starts
    offending = [path for path in FILES if not may & set(path.relative_to(PACKAGE).parts) and reads_environment(path)]
    assert not offending
    assert reads_environment(PACKAGE / "paths.py")


@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: path.stem)
def test_a_trainer_file_is_thin(path):
    """Stock look-up imports every file of the folder, so each holds imports of nnunet_da and one class, named like the file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    others = [node for node in body if not isinstance(node, (ast.ImportFrom, ast.ClassDef, ast.Expr))]
    assert not others
    assert all(node.module.split(".")[0] == "nnunet_da" for node in body if isinstance(node, ast.ImportFrom))
    assert [node.name for node in body if isinstance(node, ast.ClassDef)] == [path.stem]
    assert path.stem.startswith("nnUNetTrainer_")
    assert "__" not in path.stem


def test_every_verb_has_its_module():
    assert [verb for verb, (module, _) in VERBS.items() if not (PACKAGE / "cli" / f"{module}.py").is_file()] == []


def test_command_modules_import_nothing_heavy():
    """So that every `nnunet-da VERB --help` answers at once."""
    code = (
        "import pkgutil, importlib, sys, argparse, nnunet_da.cli\n"
        "for module in pkgutil.iter_modules(nnunet_da.cli.__path__, 'nnunet_da.cli.'):\n"
        "    loaded = importlib.import_module(module.name)\n"
        "    if hasattr(loaded, 'add_arguments'): loaded.add_arguments(argparse.ArgumentParser())\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_answers_at_once():
    command = [sys.executable, "-c", "from nnunet_da.cli.main import main; main(['--help'])"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert "doctor" in done.stdout
    assert min(seconds) < 0.5
