"""`adapt-bn`: exact statistics of the target's patches, every other weight as it was, and stock prediction with the result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nnunet_da import paths
from nnunet_da.batch_norm import AdaptationRequest, adapt_model
from nnunet_da.cli.main import main
from nnunet_da.target_patches import covering_patches

STOCK, BATCH, SOURCE_ONLY = "UDAPlans", "BatchPlans", "nnUNetTrainer_UDA_SourceOnly"


@pytest.fixture
def make_model(centres_copy: Path, make_trainer):
    """plans, folds -> a results folder of an untrained network; `BATCH` plans a TransUNet3D with batch normalisation."""
    folder = centres_copy / "nnUNet_preprocessed" / "Dataset101_A"
    planned = json.loads((folder / "PFDAformerDemoPlans.json").read_text())
    planned["plans_name"] = BATCH
    planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["norm"] = "batch"
    (folder / f"{BATCH}.json").write_text(json.dumps(planned))

    def make(plans: str = BATCH, folds: tuple[int, ...] = (0,), trainer: str = SOURCE_ONLY) -> Path:
        for fold in folds:
            made = make_trainer(trainer, plans, fold=fold)
            folder = Path(made.output_folder)
            folder.mkdir(parents=True, exist_ok=True)
            made.save_checkpoint(str(folder / "checkpoint_final.pth"))
        for name, content in (("plans", made.plans_manager.plans), ("dataset", made.dataset_json)):
            (folder.parent / f"{name}.json").write_text(json.dumps(content))
        return folder.parent

    return make


def weights_in(model: Path, fold: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(model / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)["network_weights"]


def statistics_in(model: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights_in(model).items() if name.endswith(("running_mean", "running_var"))}


def adapt(model: Path, output: Path, **options):
    return adapt_model(AdaptationRequest(model, "102", output, **options))


def test_only_running_statistics_change(make_model, centres_copy):
    model = make_model(folds=(0, 1))
    adapted = adapt(model, centres_copy / "adapted")
    assert adapted.folder == centres_copy / "adapted" / "Dataset101_A" / model.name
    assert adapted.folds == ("0", "1")
    assert adapted.from_cache
    assert adapted.cases == ("B_00", "B_01", "B_02", "B_03")
    for fold in (0, 1):
        before, after = weights_in(model, fold), weights_in(adapted.folder, fold)
        assert list(before) == list(after)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed == set(statistics_in(model))
    assert {file.name for file in adapted.folder.iterdir()} == {"fold_0", "fold_1", "plans.json", "dataset.json", "batch_norm.json"}
    record = json.loads((adapted.folder / "batch_norm.json").read_text())
    assert record["target"] == "Dataset102_B"
    assert record["patches"] == adapted.patches
    checkpoint = torch.load(adapted.folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert "optimizer_state" not in checkpoint


def test_compiled_prediction_changes_nothing(make_model, centres_copy, monkeypatch):
    model = make_model()
    monkeypatch.setenv("nnUNet_compile", "true")
    assert set(statistics_in(adapt(model, centres_copy / "adapted", cases=1).folder)) == set(statistics_in(model))


def test_statistics_are_those_of_torch_on_the_same_patches(make_model, centres_copy, monkeypatch):
    """Without padding: torch's own layers in training mode, over the same patches of the cache, one by one."""
    monkeypatch.setattr("nnunet_da.target_patches.PADDING_LABEL", -9)  # zeros at a scan's border are marked as outside of it
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    from nnunet_da.adaptation.batch_statistics import batch_norm_layers
    from nnunet_da.export.run import find_run
    from nnunet_da.stock_predictor import make_predictor
    from nnunet_da.target_patches import patch_batches

    model = make_model()
    adapted = adapt(model, centres_copy / "adapted")
    predictor = make_predictor(find_run(model), ["0"], "cpu")
    planned = predictor.configuration_manager
    cache = centres_copy / "nnUNet_preprocessed" / "Dataset101_A" / f"{planned.data_identifier}_target_Dataset102_B"
    scans = nnUNetDatasetBlosc2(str(cache), list(adapted.cases))
    patches = covering_patches({case: scans.load_case(case)[0].shape[1:] for case in adapted.cases}, planned.patch_size)
    assert len(patches) == adapted.patches
    network = predictor.network.eval()
    for layer in batch_norm_layers(network).values():
        layer.momentum = None
        layer.reset_running_stats()
        layer.train()
    with torch.no_grad():
        for images, inside in patch_batches(scans, patches, planned.patch_size, planned.batch_size, torch.device("cpu")):
            assert inside.all()
            network(images)
    for name, value in statistics_in(adapted.folder).items():
        assert_close(value, network.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_the_same_call_gives_the_same_bytes_with_and_without_a_cache(make_model, centres_copy, capsys):
    model = make_model()
    one, two = adapt(model, centres_copy / "one"), adapt(model, centres_copy / "two")
    shutil.rmtree(centres_copy / "nnUNet_preprocessed")
    (centres_copy / "nnUNet_preprocessed").mkdir()
    three = adapt(model, centres_copy / "three", processes=1)
    assert not three.from_cache
    assert "no target cache is used" in capsys.readouterr().out
    for other in (two, three):
        assert all(torch.equal(value, weights_in(one.folder)[name]) for name, value in weights_in(other.folder).items())
    assert sorted(path.name for path in three.folder.parent.iterdir()) == [model.name]


def test_fewer_scans_and_a_part_of_their_statistics(make_model, centres_copy):
    model = make_model()
    assert adapt(model, centres_copy / "few", cases=2).cases == ("B_00", "B_02")
    own, new = statistics_in(model), statistics_in(adapt(model, centres_copy / "all").folder)
    half = statistics_in(adapt(model, centres_copy / "half", momentum=0.5).folder)
    for name, value in half.items():
        assert_close(value, (own[name] + new[name]) / 2, rtol=1e-4, atol=1e-5)


def test_patches_cover_a_scan_and_stand_in_the_middle_of_a_smaller_one():
    patches = covering_patches({"a": (20, 16, 40)}, (16, 16, 16))
    covered = np.zeros((20, 16, 40), dtype=bool)
    for patch in patches:
        covered[tuple(slice(start, start + 16) for start in patch.start)] = True
    assert covered.all()
    assert len(patches) == 2 * 1 * 3
    assert [patch.start for patch in covering_patches({"b": (10, 16, 13)}, (16, 16, 16))] == [(-3, 0, -1)]
    assert len(covering_patches({"c": (5, 16, 16)}, (16, 16))) == 5  # slices
    assert covering_patches({"a": (20, 16, 40)}, (16, 16, 16)) == patches


def test_instance_norm_is_refused(make_model, centres_copy, refuses):
    model = make_model(STOCK)
    refuses(centres_copy, ["adapt-bn", str(model), "-t", "102", "-o", str(centres_copy / "o")], "batch normalisation", "instance")


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (None, ["-t", "101"], ("another dataset", "Dataset101_A")),
        (None, ["-t", "109"], ("109",)),
        (None, ["-t", "102", "--momentum", "0"], ("momentum", "0.0")),
        (None, ["-t", "102", "-f", "3"], ("fold 3",)),
        (None, ["-t", "102", "--checkpoint", "best"], ("checkpoint_best",)),
        ("channels", ["-t", "102"], ("channels", "MR")),
        ("trainer", ["-t", "102"], ("nnUNetTrainer_Gone", "nnUNet_extTrainer")),
        ("damaged", ["-t", "102"], ("damaged",)),
        ("plans", ["-t", "102"], ("plans.json",)),
    ],
)
def test_unfit_input_is_refused_and_nothing_is_left(make_model, centres_copy, refuses, change, options, words):
    model = make_model()
    file = model / "fold_0" / "checkpoint_final.pth"
    if change == "channels":
        description = centres_copy / "nnUNet_raw" / "Dataset102_B" / "dataset.json"
        description.write_text(json.dumps({**json.loads(description.read_text()), "channel_names": {"0": "MR"}}))
    elif change == "trainer":
        checkpoint = torch.load(file, weights_only=False)
        torch.save({**checkpoint, "trainer_name": "nnUNetTrainer_Gone"}, file)
    elif change == "damaged":
        file.write_bytes(file.read_bytes()[:1000])
    elif change == "plans":
        (model / "plans.json").unlink()
    refuses(centres_copy, ["adapt-bn", str(model), "-o", str(centres_copy / "o"), *options], *words)


def test_existing_models_are_kept(make_model, centres_copy, refuses):
    model = make_model()
    command = ["adapt-bn", str(model), "-t", "102", "-o", str(centres_copy / "o"), "--cases", "1"]
    refuses(centres_copy, [*command[:-4], "-o", str(centres_copy / "nnUNet_results")], "another output")
    refuses(centres_copy, [*command[:-4], "-o", str(model / "o")], "inside")
    assert main(command) == 0
    refuses(centres_copy, command, "--overwrite")
    assert main([*command, "--overwrite"]) == 0
    (centres_copy / "o" / "Dataset101_A" / model.name / "batch_norm.json").unlink()
    refuses(centres_copy, [*command, "--overwrite"], "something else")


def test_a_failure_in_the_middle_leaves_nothing(make_model, centres_copy, monkeypatch):
    from nnunet_da import batch_norm

    def full(*_):
        raise RuntimeError("no space left")

    model = make_model()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(batch_norm.UserError, match="disk space"):
        adapt(model, centres_copy / "o")
    assert not list((centres_copy / "o").rglob("*")) if (centres_copy / "o").exists() else True
    assert not list(centres_copy.glob(".nnunet-da*"))


def test_no_target_label_is_needed_or_named():
    for name in ("batch_norm.py", "target_patches.py", "stock_predictor.py", "pseudo_labels.py"):
        assert "labelsTr" not in (paths.PACKAGE_DIR / name).read_text(), name


def test_stock_prediction_takes_the_adapted_model(make_model, centres_copy):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    adapted = adapt(make_model(), centres_copy / "adapted")
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(adapted.folder), (0,))
    scan = centres_copy / "nnUNet_raw" / "Dataset102_B" / "imagesTr" / "B_00_0000.nii.gz"
    (predicted,) = predictor.predict_from_files_sequential([[str(scan)]], None)
    assert predicted.shape == (20, 28, 28)
