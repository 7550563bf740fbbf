"""What `doctor` says of an environment that is broken in one way at a time."""

import importlib.metadata
import os
import sys
import tempfile

import pytest

from nnunet_da import paths
from nnunet_da.cli.main import main
from nnunet_da.doctor import Check, Status, environment, run_checks, table, trainers
from nnunet_da.doctor import run as doctor_run
from nnunet_da.doctor.check import guarded, passed

TRAINER = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n\n\nclass {name}(nnUNetTrainer):\n    pass\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """nnU-Net's three folders, set and writable."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """A trainer folder of the test in place of the shipped one: it holds nnUNetTrainer_ProbeA and _ProbeB, and the variable names it."""
    folder = tmp_path / "trainers"
    folder.mkdir()
    for name in ("nnUNetTrainer_ProbeA", "nnUNetTrainer_ProbeB"):
        (folder / f"{name}.py").write_text(TRAINER.format(name=name))
    monkeypatch.setattr(paths, "trainers_dir", lambda: folder)
    monkeypatch.setenv("nnUNet_extTrainer", str(folder))
    return folder


def failures(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.status is Status.FAIL]


def test_a_sound_environment_passes(folders, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_extTrainer", str(paths.trainers_dir()))
    assert main(["doctor"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    assert all(line.split()[0] in ("OK", "WARN") for line in lines)  # nothing that imports print comes between the rows
    assert f"{len(trainers.our_trainers())} found by stock look-up" in output.out


def test_a_bare_environment_fails_with_exit_1(monkeypatch, capsys):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert len(output.err.splitlines()) == 1
    failed = [line for line in output.out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_extTrainer", "trainers"]
    assert all(" -> " in line for line in failed)


def test_folder_that_is_not_there(folders, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(folders / "nowhere"))
    (check,) = failures(environment.folder_checks())
    assert check.name == "nnUNet_results"
    assert "nowhere" in check.found


def test_folder_that_cannot_be_written(folders, monkeypatch):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert [check.found.endswith("cannot be written: Permission denied") for check in failures(environment.folder_checks())] == [True] * 3


def test_sound_trainers_are_found(ours):
    assert failures(trainers.configured_folder_checks() + trainers.broken_module_checks()) == []
    (check,) = trainers.look_up_checks()
    assert check == passed("trainers", "2 found by stock look-up: nnUNetTrainer_ProbeA, nnUNetTrainer_ProbeB")


def test_look_up_leaves_no_module_behind(ours):
    trainers.broken_module_checks()
    trainers.look_up_checks()
    assert "nnUNetTrainer_ProbeA" not in sys.modules
    assert str(ours) not in sys.path


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        ("import a_package_nobody_has\n", "No module named 'a_package_nobody_has' (line 1)", "install 'a_package_nobody_has'"),
        ("def broken(:\n", "SyntaxError", "mend a_broken.py"),
        ("x = 1\nx / 0\n", "ZeroDivisionError: division by zero (line 2)", "mend a_broken.py"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", "mend a_broken.py"),
        ("raise KeyError('two\\nlines')\n", "KeyError", "move it out of"),
    ],
)
def test_broken_module_is_named_with_its_fix(ours, content, found, fix):
    (ours / "a_broken.py").write_text(content)
    (check,) = failures(trainers.broken_module_checks())
    assert str(ours / "a_broken.py") in check.found
    assert found in check.found
    assert fix in check.fix
    assert "\n" not in table([check])
    (hidden,) = failures(trainers.look_up_checks())
    assert hidden.found.startswith("nnUNetTrainer_ProbeA, nnUNetTrainer_ProbeB: stock look-up stops")


def test_broken_module_of_another_folder_hides_ours(ours, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "zz.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path / "other"), str(ours)]))
    assert failures(trainers.configured_folder_checks()) == []
    (check,) = failures(trainers.broken_module_checks())
    assert str(tmp_path / "other" / "zz.py") in check.found
    (hidden,) = failures(trainers.look_up_checks())
    assert hidden.found.startswith("nnUNetTrainer_ProbeA, nnUNetTrainer_ProbeB: stock look-up stops")


def test_broken_module_in_a_package_is_named(ours):
    (ours / "package").mkdir()
    (ours / "package" / "__init__.py").write_text("")
    (ours / "package" / "inner.py").write_text("import a_package_nobody_has\n")
    (check,) = failures(trainers.broken_module_checks())
    assert str(ours / "package" / "inner.py") in check.found


def test_built_in_trainer_of_the_same_name_wins(ours):
    (ours / "nnUNetTrainer_5epochs.py").write_text(TRAINER.format(name="nnUNetTrainer_5epochs"))
    (check,) = failures(trainers.look_up_checks())
    assert check.found.startswith("nnUNetTrainer_5epochs: ")
    assert "built-in" in check.found


def test_trainer_of_the_same_name_in_an_earlier_folder_wins(ours, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text(TRAINER.format(name="nnUNetTrainer_ProbeB"))
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path / "other"), str(ours)]))
    (check,) = failures(trainers.look_up_checks())
    assert check.found.startswith("nnUNetTrainer_ProbeB: ")
    assert str(tmp_path / "other") in check.found


def test_class_defined_in_another_file(ours):
    (ours / "an_early_one.py").write_text(TRAINER.format(name="nnUNetTrainer_ProbeA"))
    (check,) = failures(trainers.look_up_checks())
    assert check.found == "nnUNetTrainer_ProbeA: look-up gives an_early_one.nnUNetTrainer_ProbeA"


def test_class_that_is_no_trainer(ours):
    (ours / "nnUNetTrainer_ProbeA.py").write_text("class nnUNetTrainer_ProbeA:\n    pass\n")
    (check,) = failures(trainers.look_up_checks())
    assert "must inherit" in check.found


def test_variable_that_names_another_folder(ours, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    (check,) = failures(trainers.configured_folder_checks())
    assert "trainer-path" in check.fix


@pytest.mark.parametrize("entry", ["~/trainers", "/no/such/folder"])
def test_entry_that_stock_skips_silently(ours, monkeypatch, entry):
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([entry, str(ours)]))
    first, second = trainers.configured_folder_checks()
    assert (first.status, second.status) == (Status.WARN, Status.OK)
    assert entry in first.found


@pytest.mark.parametrize(
    ("package", "version", "allowed"),
    [
        ("nnunetv2", "2.8.0", False),
        ("nnunetv2", "2.8.1", True),
        ("nnunetv2", "2.8.9", True),
        ("nnunetv2", "2.9.0", False),
        ("nnunetv2", "3.0", False),
        ("torch", "2.3.1", False),
        ("torch", "2.15.0", True),
    ],
)
def test_supported_range(monkeypatch, package, version, allowed):
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == package else installed(name))
    (row,) = (check for check in environment.package_checks() if check.name == package)
    assert (row.status is Status.OK) is allowed
    assert row.found.startswith(version)
    assert "supported" in row.found
    if package == "nnunetv2":
        assert ">=2.8.1, <2.9" in row.found
    if not allowed:
        assert "outside" in row.found
        assert row.fix.startswith(f"pip install '{package}")


@pytest.mark.parametrize(
    ("version", "status"), [((3, 9, 6), Status.FAIL), ((3, 10, 0), Status.OK), ((3, 13, 1), Status.OK), ((3, 14, 0), Status.WARN)]
)
def test_range_of_python(monkeypatch, version, status):
    monkeypatch.setattr(sys, "version_info", version)
    (row,) = environment.python_check()
    assert row.status is status
    if status is not Status.OK:
        assert "3.10 to 3.13" in row.found
        assert "3.10 to 3.13" in row.fix


def test_range_of_python_is_the_one_declared():
    metadata = importlib.metadata.metadata("nnunet-da")
    assert metadata["Requires-Python"] == ">=3.10"
    assert environment.OLDEST_PYTHON == (3, 10)


def test_package_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)  # makes its import fail
    (check,) = failures(environment.package_checks())
    assert check.name == "simpleitk"
    assert "cannot be imported" in check.found


def test_package_that_is_not_installed(monkeypatch):
    declared = importlib.metadata.requires
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [*declared(name), "a-package-nobody-has>=3"])
    (check,) = failures(environment.package_checks())
    assert check.found == "not installed, needs >=3"


def test_network_that_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(environment, "NETWORK", ("nnunet_da.networks.transunet3d", "TransUNet4D"))
    assert len(failures(environment.network_check())) == 1


def test_missing_extra_is_a_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, "radiomics", None)
    (check,) = environment.radiomics_check()
    assert check.status is Status.WARN
    assert "--no-build-isolation" in check.fix


def test_missing_compiler_is_a_warning(monkeypatch):
    monkeypatch.setenv("PATH", "")
    (check,) = environment.compiler_check()
    assert check.status is Status.WARN


def test_a_check_that_stops_does_not_stop_the_others(monkeypatch):
    def stop():
        raise SystemExit("gone")

    monkeypatch.setattr(doctor_run, "CHECKS", {"first": stop, "second": lambda: [passed("second", "fine")]})
    first, second = run_checks()
    assert (first.status, second.status) == (Status.FAIL, Status.OK)
    assert "gone" in first.found


def test_interrupt_is_not_swallowed():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded("any", interrupt)


def test_table_is_aligned():
    rows = [passed("a", "1"), Check("longer", Status.FAIL, "broken", "mend it")]
    assert table(rows) == "OK    a       1\nFAIL  longer  broken -> mend it"


def test_a_missing_study_extra_is_a_hint(monkeypatch):
    (check,) = environment.study_check()
    assert check.status is Status.OK
    assert "Snakemake 9" in check.found
    monkeypatch.setattr("nnunet_da.study.engine.NEEDED", ("snakemake", "no_such_package"))
    (check,) = environment.study_check()
    assert check.status is Status.WARN
    assert "no_such_package not installed" in check.found
    assert "nnunet-da[study]" in check.fix
