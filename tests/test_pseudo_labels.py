"""`pseudo-label`: what is kept, where it goes, under which plans and folds; and what is refused before anything is predicted."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_da import pseudo_labels
from nnunet_da.cli.main import main
from nnunet_da.datasets import find_dataset
from nnunet_da.errors import UserError
from nnunet_da.merging import splits_of

PLANS, TRAINER = "UDAPlans", "nnUNetTrainer_UDA_MMD"


@pytest.fixture
def model(centres_copy: Path, make_trainer) -> Path:
    """The results folder of one fold of an untrained network that is sure of the class `bone` wherever it is bright."""
    trainer = make_trainer(TRAINER, PLANS)
    for layer in trainer.network.decoder.seg_layers:
        torch.nn.init.normal_(layer.weight, std=3.0)
    folder = Path(trainer.output_folder)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))
    for name, content in (("plans", trainer.plans_manager.plans), ("dataset", trainer.dataset_json)):
        (folder.parent / f"{name}.json").write_text(json.dumps(content))
    return folder.parent


def label(model: Path, *options: str) -> list[str]:
    return ["pseudo-label", str(model), "-t", "102", "-o", "105", "--name", "SelfTrained", "--no-mirroring", "--device", "cpu", *options]


def confidences(folder: Path) -> dict[str, float]:
    with (folder / "pseudo_labels.csv").open() as stream:
        return {row["case"]: float(row["confidence"]) for row in csv.DictReader(stream)}


def test_source_and_confident_scans_make_a_dataset(model, centres_copy, capsys):
    assert main(label(model, "--confidence", "0.5")) == 0
    lines = capsys.readouterr().out
    assert "kept: 4 of 4" in lines
    assert f"next: nnunet-da preprocess -d 105 -p {PLANS} -c 3d_fullres" in lines
    assert f"then: nnUNetv2_train 105 3d_fullres FOLD -p {PLANS} -tr {TRAINER}" in lines
    merged, source = find_dataset(105), find_dataset(101)
    assert set(merged.training_labels()) == {*(f"A_{i:02d}" for i in range(5)), *(f"B_{i:02d}" for i in range(4))}
    image, made = (sitk.ReadImage(str(merged.folder / f)) for f in ("imagesTr/B_00_0000.nii.gz", "labelsTr/B_00.nii.gz"))
    assert image.GetSize() == made.GetSize()
    assert np.allclose(image.GetSpacing(), made.GetSpacing())
    assert os.path.samefile(merged.folder / "imagesTr/B_00_0000.nii.gz", find_dataset(102).folder / "imagesTr/B_00_0000.nii.gz")
    preprocessed = centres_copy / "nnUNet_preprocessed" / "Dataset105_SelfTrained"
    settings = json.loads((preprocessed / f"{PLANS}.json").read_text())["configurations"]["3d_fullres"]["nnunet_da"]
    assert settings["target_datasets"] == {"Dataset102_B": None}
    for fold, of_source in zip(json.loads((preprocessed / "splits_final.json").read_text()), splits_of(source), strict=True):
        assert fold["val"] == of_source["val"]
        assert set(fold["train"]) == {*of_source["train"], *(f"B_{i:02d}" for i in range(4))}
    assert not list((centres_copy / "nnUNet_raw").glob(".*"))

    found = confidences(merged.folder)
    between = sorted(found.values())[2]  # the two surest scans reach it
    command = label(model, "--confidence", str(between))
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    kept = {case for case, value in found.items() if value >= between - 1e-6}
    assert {case for case in find_dataset(105).training_images() if case.startswith("B")} == kept
    assert len(kept) == 2
    assert confidences(merged.folder) == found


def test_labels_are_those_of_stock_prediction(model, centres_copy):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    assert main(label(model, "--confidence", "0")) == 0
    predictor = nnUNetPredictor(device=torch.device("cpu"), use_mirroring=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,))
    scan = centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTr" / "B_01_0000.nii.gz"
    ((expected, probabilities),) = predictor.predict_from_files_sequential([[str(scan)]], None, save_probabilities=True)
    made = find_dataset(105).folder
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(made / "labelsTr" / "B_01.nii.gz"))), expected)
    assert confidences(made)["B_01"] == pytest.approx(probabilities[1][expected > 0].mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, ["-t", "101"], ("another dataset", "Dataset101_A")),
        (None, ["-o", "102"], ("102", "in use")),
        (None, ["-o", "0"], ("between 1 and 999",)),
        (None, ["--name", "a b"], ("name",)),
        (None, ["--confidence", "1.2"], ("between 0 and 1", "1.2")),
        (None, ["-f", "2"], ("fold 2",)),
        ("patch", [], ("UDAPlans.json", "'patch_size' has changed")),
        ("intensities", [], ("UDAPlans.json", "'preprocessing' has changed")),
        ("plans", [], ("must stand in nnUNet_preprocessed",)),
        ("source", [], ("Dataset101_A",)),
        ("channels", [], ("channels", "MR")),
        ("ending", [], ("file_ending",)),
    ],
)
def test_unfit_input_is_refused_before_anything_is_predicted(model, centres_copy, refuses, monkeypatch, change, options, words):
    monkeypatch.setattr(pseudo_labels, "_predict", lambda *_: pytest.fail("predicted"))
    plans = centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / f"{PLANS}.json"
    target = centres_copy / "nnUNet_raw" / "Dataset102_B" / "dataset.json"
    if change == "patch":
        content = json.loads(plans.read_text())
        content["configurations"]["3d_fullres"]["patch_size"][0] += 16
        plans.write_text(json.dumps(content))
    elif change == "intensities":
        content = json.loads(plans.read_text())
        content["foreground_intensity_properties_per_channel"]["0"]["mean"] += 1
        plans.write_text(json.dumps(content))
    elif change == "plans":
        plans.unlink()
    elif change == "source":
        (centres_copy / "nnUNet_raw" / "Dataset101_A").rename(centres_copy / "nnUNet_raw" / "elsewhere")
    elif change == "channels":
        target.write_text(json.dumps({**json.loads(target.read_text()), "channel_names": {"0": "MR"}}))
    elif change == "ending":
        target.write_text(json.dumps({**json.loads(target.read_text()), "file_ending": ".nrrd"}))
    refuses(centres_copy, label(model, *options), *words)


def test_no_confident_scan_leaves_nothing(model, centres_copy, refuses, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "_predict", lambda *_: {"B_00": 0.7, "B_01": None})
    refuses(centres_copy, label(model), "0.9", "0.700", "--confidence")
    monkeypatch.setattr(pseudo_labels, "_predict", lambda *_: {"B_00": None})
    refuses(centres_copy, label(model), "nothing in any scan")


def test_plans_that_cannot_be_written_take_the_dataset_along(model, centres_copy, refuses, monkeypatch):
    def fail(*_, **__):
        raise UserError("disk full")

    assert main(label(model, "--confidence", "0")) == 0
    with monkeypatch.context() as patch:
        patch.setattr(pseudo_labels, "plans_of_merged", fail)
        refuses(centres_copy, label(model, "--confidence", "0", "--overwrite"), "disk full")
    for place in centres_copy.glob("*/Dataset105_SelfTrained"):
        shutil.rmtree(place)
    monkeypatch.setattr(pseudo_labels, "plans_of_merged", fail)
    assert main(label(model, "--confidence", "0")) == 2
    assert not [path for path in (centres_copy / "nnUNet_raw").iterdir() if "105" in path.name or path.name.startswith(".")]
