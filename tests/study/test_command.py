"""`nnunet-da study` as a user calls it: bad input is one line and leaves nothing."""

import pytest
import yaml

from nnunet_da.cli.main import main


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "nothing"}, ("preset", "pf_daformer", "'nothing'")),
        ({"source": 7}, ("dataset '7'", "Dataset101_A")),
        ({"arms": [{"name": "a", "trainer": "nnUNetTrainer_Nothing"}]}, ("nnUNetTrainer_Nothing",)),
        ({"primary": {"method": "nobody"}}, ("'nobody'", "both, mmd")),
        ({"arms": [{"name": "a", "trainer": "nnUNetTrainer_UDA_MMD"}] * 2}, ("'a' comes twice",)),
    ],
)
def test_bad_studies_leave_nothing(refuses, write, content, nnunet_folders, tmp_path, changes, words):
    file = write(content | changes)
    refuses(tmp_path, ["study", str(file), "-o", str(tmp_path / "out")], *words)


def test_an_oracle_without_labels_is_refused(refuses, write, content, nnunet_folders, tmp_path):
    content["phantom"][1]["labels"] = False
    content["references"] = ["source_only", "oracle"]
    refuses(tmp_path, ["study", str(write(content)), "-o", str(tmp_path / "out")], "'oracle'", "labelsTr")


def test_a_missing_extra_is_named(monkeypatch, capsys, write, content):
    monkeypatch.setattr("nnunet_da.study.engine.NEEDED", ("yaml", "no_such_package"))
    assert main(["study", str(write(content))]) == 2
    assert "no_such_package is not installed: pip install 'nnunet-da[study]'" in capsys.readouterr().err


def test_the_ablation_lists_12_trainings_per_fold(nnunet_folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from nnunet_da import paths

    content = yaml.safe_load((paths.plans_dir() / "studies" / "pf_daformer_ablation.yaml").read_text())
    file = tmp_path / "two_folds.yaml"
    file.write_text(yaml.safe_dump(content | {"folds": [0, 1], "device": "cpu"}))
    assert main(["study", str(file), "--dry-run", "--cores", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train/")]
    assert len(lines) == 24
    assert sum("nnUNetTrainer_PFDAformer_GRL " in line for line in lines) == 6
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("nnUNet")) == ["two_folds.yaml"]


def test_settings_of_the_ablation_are_the_papers_mixes(nnunet_folders):
    from pathlib import Path

    from nnunet_da.study.file import read_study
    from nnunet_da.study.resolve import resolve

    arms = resolve(read_study(Path("pf_daformer_ablation"))).arms
    assert {(arm.trainer.removeprefix("nnUNetTrainer_PFDAformer"), arm.settings["seg_mix"]) for arm in arms} == {
        (method, mix) for method in ("", "_GRL", "_MMD", "_SourceOnly") for mix in (0.5, 0.4, 0.3)
    }
