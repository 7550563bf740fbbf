"""An adapted run and its source-only run, untrained but with everything a finished training leaves, and held-out scans."""

import json
import shutil
from pathlib import Path

import pytest

CURVES = "epoch,term,value\n0,loss_seg,1\n1,loss_seg,0.5\n0,gradient_seg,1\n1,gradient_seg,1\n"
ADAPTED_CURVES = (
    CURVES + "0,gradient_adv,0.2\n1,gradient_adv,0.2\n0,gradient_mmd,30\n1,gradient_mmd,30\n0,domain_accuracy,0.5\n1,domain_accuracy,0.5\n"
)


def finish(trainer, dice: float, curves: str) -> Path:
    """What the end of a training writes; the fold validated four cases."""
    folder = Path(trainer.output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))
    (folder / "curves.csv").write_text(curves)
    write_summary(folder, {f"A_{index:02d}": dice + 0.01 * index for index in range(4)})
    return folder


def write_summary(folder: Path, dice: dict[str, float]) -> None:
    entries = [{"prediction_file": f"/x/{case}.nii.gz", "metrics": {"1": {"Dice": value}}} for case, value in dice.items()]
    (folder / "validation").mkdir(exist_ok=True)
    (folder / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": entries}))


@pytest.fixture
def runs(centres_copy, make_trainer) -> dict[str, Path]:
    """Name -> fold folder. Fold 0 validates A_00 to A_03, and both centres have imagesTs."""
    raw, preprocessed = centres_copy / "nnUNet_raw", centres_copy / "nnUNet_preprocessed"
    for name, count in (("Dataset101_A", 3), ("Dataset102_B", 5)):
        images = sorted((raw / name / "imagesTr").iterdir())
        (raw / name / "imagesTs").mkdir()
        for index in range(count):
            shutil.copy(images[index % len(images)], raw / name / "imagesTs" / f"{name[-1]}_test_{index}_0000.nii.gz")
    cases = [f"A_{index:02d}" for index in range(5)]
    (preprocessed / "Dataset101_A" / "splits_final.json").write_text(json.dumps([{"train": cases[4:], "val": cases[:4]}] * 5))
    return {
        "source_only": finish(make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", "PFDAformerDemoPlans"), 0.80, CURVES),
        "adapted": finish(make_trainer("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans"), 0.795, ADAPTED_CURVES),
    }


@pytest.fixture
def edit_checkpoint():
    """folder, change -> the checkpoint of a run with `change(content)` applied."""
    import torch

    def edit(folder: Path, change) -> None:
        file = folder / "checkpoint_final.pth"
        content = torch.load(file, weights_only=False)
        change(content)
        torch.save(content, file)

    return edit
