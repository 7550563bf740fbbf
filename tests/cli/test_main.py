"""The error contract: exit 0 done, 1 a check failed, 2 bad input; one line on stderr; --debug adds the traceback."""

import sys
import types

import pytest

from nnunet_da import __version__
from nnunet_da.cli import main as command
from nnunet_da.errors import CheckFailed, UserError


@pytest.fixture
def verb(monkeypatch):
    """A verb `probe` that does what the test puts in `verb.does`."""
    module = types.ModuleType("nnunet_da.cli.probe")
    module.does = lambda: None
    module.add_arguments = lambda parser: None
    module.run = lambda options: module.does()
    monkeypatch.setitem(sys.modules, "nnunet_da.cli.probe", module)
    monkeypatch.setitem(command.VERBS, "probe", ("probe", "a verb of this test"))
    return module


def raising(error):
    def does():
        raise error

    return does


def test_success_is_0_and_silent(verb, capsys):
    assert command.main(["probe"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("expected a\n  folder, got b"), 2), (CheckFailed("expected a\n  folder, got b"), 1)]
)
def test_errors_are_one_line(verb, capsys, error, status):
    verb.does = raising(error)
    assert command.main(["probe"]) == status
    assert capsys.readouterr() == ("", "error: expected a folder, got b\n")


def test_debug_shows_the_traceback(verb, capsys):
    verb.does = raising(UserError("expected a, got b"))
    assert command.main(["probe", "--debug"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "error: expected a, got b"


def test_errors_that_are_ours_are_not_hidden(verb):
    verb.does = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        command.main(["probe"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["improve"], ("improve", "convert")),  # says what there is
        (["plan"], ("-d/--source", "nnunet-da plan -h")),
        (["phantom", "-d", "x", "--name", "A", "--centre", "tulane"], ("'x'",)),
    ],
)
def test_wrong_options_are_one_line(capsys, arguments, words):
    assert command.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_no_verb_prints_the_help(capsys):
    assert command.main([]) == 2
    assert "trainer-path" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.strip() == f"nnunet-da {__version__}"


def test_only_the_verb_asked_for_is_imported(verb, monkeypatch):
    monkeypatch.delitem(sys.modules, "nnunet_da.cli.convert", raising=False)
    assert command.main(["probe"]) == 0
    assert "nnunet_da.cli.convert" not in sys.modules
