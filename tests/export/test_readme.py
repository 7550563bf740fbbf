"""The lines a user of the model is told to type."""

import json

import pytest

from nnunet_da import __version__
from nnunet_da.export import export_model


@pytest.mark.parametrize(
    ("trainer", "plans", "prepare", "predict"),
    [
        ("nnUNetTrainer_UDA_GRL", "UDAPlans", "pip install nnunetv2==2.", "-tr nnUNetTrainer -p UDAPlans -c 3d_fullres -f 0 1 -i SCANS"),
        (
            "nnUNetTrainer_PFDAformer",
            "PFDAformerDemoPlans",
            f"pip install nnunet_da-{__version__}-py3",
            "-tr nnUNetTrainer_PFDAformer -p PFDAformerDemoPlans -c 3d_fullres -f 0 1 -i SCANS",
        ),
        ("nnUNetTrainer_Acme", "UDAPlans", "the folder of nnUNetTrainer_Acme.py", "-tr nnUNetTrainer_Acme -p UDAPlans"),
    ],
)
def test_lines_and_facts(make_run, tmp_path, trainer, plans, prepare, predict):
    text = (export_model(make_run(trainer, plans, folds=("0", "1")), tmp_path / "out").file / "README.md").read_text()
    assert prepare in text
    assert f"nnUNetv2_predict -d Dataset101_A {predict}" in text
    assert ("nnUNet_extTrainer" in text) == (trainer != "nnUNetTrainer_UDA_GRL")
    for row in (
        f"trained by | {trainer}",
        "labelled source cases | 5",
        "labels | background = 0, bone = 1",
        "folds | 0, 1",
        "preset | uda",
    ):
        assert f"| {row} |" in text
    assert f"nnunet_da {__version__}, nnunetv2 2." in text
    assert "Licence" in text


def test_a_cascade_asks_for_the_stage_before(make_run, tmp_path):
    run = make_run("nnUNetTrainer_Acme")
    content = json.loads((run / "plans.json").read_text())
    content["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    (run / "plans.json").write_text(json.dumps(content))
    text = (export_model(run, tmp_path / "out").file / "README.md").read_text()
    assert "-prev_stage_predictions FOLDER" in text
