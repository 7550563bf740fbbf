from pathlib import Path

from nnunet_da import paths
from nnunet_da.cli.main import main


def test_prints_the_folder_alone(capsys):
    assert main(["trainer-path"]) == 0
    assert Path(capsys.readouterr().out.removesuffix("\n")) == paths.trainers_dir()
