import pytest

from nnunet_da.cli.convert import FORMATS
from nnunet_da.cli.main import main


def test_format_is_needed(capsys):
    assert main(["convert"]) == 2
    assert "FORMAT" in capsys.readouterr().err


def test_unknown_format(capsys):
    assert main(["convert", "paper"]) == 2
    assert "nifti" in capsys.readouterr().err


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["convert", name, "--help"])
    assert stopped.value.code == 0
    assert "--overwrite" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["convert", "--debug", "nifti"], ["convert", "nifti", "--debug"]])
def test_debug_works_on_either_side_of_the_format(arguments, capsys, tmp_path):
    assert main([*arguments, "-i", str(tmp_path / "nowhere"), "-d", "1", "--name", "A"]) == 2
    assert capsys.readouterr().err.startswith("Traceback")
