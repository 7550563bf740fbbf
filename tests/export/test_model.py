"""What an export holds, what it does not, that stock look-up and prediction take it, and what it refuses."""

import getpass
import io
import json
import pickletools
import shutil
import socket
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
import torch

from nnunet_da import paths
from nnunet_da.cli.main import main
from nnunet_da.export import export_model

SECRETS = ("rochester", "case_smith", "/scratch/jane", "cluster17", "1718000000", "2024-06-10")  # planted by make_run
STOCK_FOLDER = "Dataset101_A/nnUNetTrainer__UDAPlans__3d_fullres"
CHECKPOINT = "fold_0/checkpoint_final.pth"


def texts_of(content, seen=None):
    """Every text in an object, its keys and its attributes."""
    seen = set() if seen is None else seen
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, str | Path):
        yield str(content)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from texts_of(key, seen)
            yield from texts_of(value, seen)
    elif isinstance(content, list | tuple | set):
        for value in content:
            yield from texts_of(value, seen)
    if hasattr(content, "__dict__"):
        yield from texts_of(vars(content), seen)


def texts_in(name: str, data: bytes):
    """Every text of an exported file: JSON's, a checkpoint's objects and its raw pickle, a page's words."""
    yield name
    if name.endswith(".json"):
        yield from texts_of(json.loads(data))
    elif name.endswith(".pth"):
        yield from texts_of(torch.load(io.BytesIO(data), weights_only=False))
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from archive.namelist()
            pickle = next(entry for entry in archive.namelist() if entry.endswith("data.pkl"))
            yield from (argument for _, argument, _ in pickletools.genops(archive.read(pickle)) if isinstance(argument, str))
    else:
        yield from data.decode().replace("`", " ").split()


def files_in(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def export(run: Path, *options: str) -> Path:
    output = run.parents[2] / "model.zip"
    assert main(["export", str(run), "-o", str(output), *options]) == 0
    return output


@pytest.mark.parametrize(
    ("trainer", "plans"), [("nnUNetTrainer_UDA_GRL_MMD", "UDAPlans"), ("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans")]
)
def test_nothing_private_is_in_any_text_of_any_file(make_run, tmp_path, trainer, plans):
    archive = export(make_run(trainer, plans, folds=("0", "1")))
    files = files_in(archive)
    assert len(files) == 5
    places = (str(Path.home()), str(tmp_path), "/tmp", "pytest-of", str(paths.PACKAGE_DIR.parent))
    for name, data in files.items():
        for text in texts_in(name, data):
            assert not PurePosixPath(text).is_absolute(), (name, text)
            assert not PureWindowsPath(text).is_absolute(), (name, text)
            assert not [secret for secret in (*SECRETS, *places) if secret in text.lower()], (name, text)
            assert text not in (getpass.getuser(), socket.gethostname(), socket.getfqdn()), (name, text)
        assert not [secret for secret in SECRETS if secret.encode() in data.lower()], name  # numbers and tensors' storage, too


def test_the_walk_finds_what_a_run_holds(make_run):
    run = make_run()
    for name in ("plans.json", "dataset.json", CHECKPOINT):
        texts = list(texts_in(name, (run / name).read_bytes()))
        assert any("case_smith" in text for text in texts), name
        assert any(PurePosixPath(text).is_absolute() for text in texts), name


def test_stock_network_becomes_a_run_of_the_stock_trainer(make_run):
    run = make_run(folds=("0", "3"))
    files = files_in(export(run))
    assert set(files) == {
        f"{STOCK_FOLDER}/{name}" for name in ("README.md", "dataset.json", "plans.json", CHECKPOINT, CHECKPOINT.replace("0", "3"))
    }
    checkpoint = torch.load(io.BytesIO(files[f"{STOCK_FOLDER}/{CHECKPOINT}"]), weights_only=True)
    assert set(checkpoint) == {"network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes"}
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1)
    plans = json.loads(files[f"{STOCK_FOLDER}/plans.json"])
    assert list(plans["configurations"]) == ["3d_fullres"]
    assert "nnunet_da" not in json.dumps(plans)
    before = torch.load(run / CHECKPOINT, weights_only=False)["network_weights"]
    assert list(before) == list(checkpoint["network_weights"])
    assert all(torch.equal(before[key], checkpoint["network_weights"][key]) for key in before)


def test_variant_inherits_nothing_any_more(make_run):
    files = files_in(export(make_run(configuration="3d_fullres_variant")))
    folder = "Dataset101_A/nnUNetTrainer__UDAPlans__3d_fullres_variant"
    variant = json.loads(files[f"{folder}/plans.json"])["configurations"]
    parent = json.loads(files_in(export(make_run(), "--overwrite"))[f"{STOCK_FOLDER}/plans.json"])["configurations"]
    assert variant == {"3d_fullres_variant": parent["3d_fullres"]}


def test_only_what_prediction_reads_stays_of_the_dataset(make_run):
    description = json.loads(files_in(export(make_run()))[f"{STOCK_FOLDER}/dataset.json"])
    assert description == {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": 5, "file_ending": ".nii.gz"}


def test_dataset_name_can_be_replaced(make_run):
    files = files_in(export(make_run(), "--dataset-name", "Dataset501_Femur"))
    folder = "Dataset501_Femur/nnUNetTrainer__UDAPlans__3d_fullres"
    assert {name.rsplit("/", 1)[0].removesuffix("/fold_0") for name in files} == {folder}
    assert json.loads(files[f"{folder}/plans.json"])["dataset_name"] == "Dataset501_Femur"
    assert not any(b"Dataset101" in data for data in files.values())


def logits(folder: Path, trainers: str, monkeypatch) -> torch.Tensor:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    monkeypatch.setenv("nnUNet_extTrainer", trainers)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    image = torch.randn(1, 20, 28, 28, generator=torch.Generator().manual_seed(0))
    return predictor.predict_logits_from_preprocessed_data(image)


@pytest.mark.parametrize(
    ("trainer", "plans", "configuration", "after"),
    [
        ("nnUNetTrainer_UDA_GRL", "UDAPlans", "3d_fullres", "nnUNetTrainer"),
        ("nnUNetTrainer_UDA_MMD", "UDAResEncMPlans", "3d_fullres_variant", "nnUNetTrainer"),
        ("nnUNetTrainer", "UDAPlans", "3d_fullres", "nnUNetTrainer"),
        ("nnUNetTrainer_5epochs", "UDAPlans", "3d_fullres", "nnUNetTrainer_5epochs"),
        ("nnUNetTrainer_PFDAformer", "PFDAformerDemoPlans", "3d_fullres", "nnUNetTrainer_PFDAformer"),
    ],
)
def test_logits_stay_bitwise(make_run, tmp_path, monkeypatch, trainer, plans, configuration, after):
    """Before with our trainers, after without where the trainer is stock."""
    run = make_run(trainer, plans, configuration, mirroring=(2,))
    exported = export_model(run, tmp_path / "out")
    assert exported.folder_name == f"{after}__{plans}__{configuration}"
    ours = str(paths.trainers_dir())
    before = logits(run, ours, monkeypatch)
    assert before.std() > 0
    assert torch.equal(before, logits(exported.file, ours if exported.needs == "ours" else "", monkeypatch))


def test_two_exports_are_equal_byte_by_byte(make_run, tmp_path):
    run = make_run(folds=("0", "1"))
    first = export(run).read_bytes()
    elsewhere = tmp_path / "elsewhere" / "run"
    shutil.copytree(run, elsewhere)
    assert main(["export", str(elsewhere), "-o", str(tmp_path / "b" / "c.zip")]) == 0
    assert (tmp_path / "b" / "c.zip").read_bytes() == first
    assert main(["export", str(run), "-o", str(tmp_path / "folder")]) == 0
    files = {str(file.relative_to(tmp_path / "folder")): file.read_bytes() for file in (tmp_path / "folder").rglob("*") if file.is_file()}
    assert files == files_in(tmp_path / "model.zip")


def test_file_is_smaller(make_run):
    run = make_run()
    assert len(files_in(export(run))[f"{STOCK_FOLDER}/{CHECKPOINT}"]) < (run / CHECKPOINT).stat().st_size


def test_best_is_taken_where_asked_and_named_final(make_run):
    run = make_run()
    (run / "fold_0" / "checkpoint_final.pth").rename(run / "fold_0" / "checkpoint_best.pth")
    files = files_in(export(run, "--checkpoint", "best"))
    assert f"{STOCK_FOLDER}/{CHECKPOINT}" in files
    assert "| checkpoint | best, after 2 epochs |" in files[f"{STOCK_FOLDER}/README.md"].decode()


def test_overwrite_replaces_an_export_whole(make_run, tmp_path):
    run = make_run(folds=("0", "1"))
    for output in (tmp_path / "folder", tmp_path / "x.zip"):
        assert main(["export", str(run), "-o", str(output)]) == 0
        assert main(["export", str(run), "-o", str(output), "--folds", "1", "--overwrite"]) == 0
    assert [path.name for path in (tmp_path / "folder" / STOCK_FOLDER).glob("fold_*")] == ["fold_1"]
    assert not [name for name in files_in(tmp_path / "x.zip") if "fold_0" in name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "nnUNet_results", "x.zip"]


# --- what is refused, with every file left as it was


def test_output_in_the_way(make_run, tmp_path, refuses):
    run = make_run()
    for output in (tmp_path / "folder", tmp_path / "x.zip"):
        assert main(["export", str(run), "-o", str(output)]) == 0
        refuses(tmp_path, ["export", str(run), "-o", str(output)], "exists already", "--overwrite")


def test_a_run_is_never_replaced(make_run, tmp_path, refuses):
    run = make_run("nnUNetTrainer")
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "nnUNet_results"), "--overwrite"], "inside the run")
    another = tmp_path / "another" / STOCK_FOLDER
    shutil.copytree(run, another)
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "another"), "--overwrite"], "other files")


def test_output_where_no_folder_can_be(make_run, tmp_path, refuses):
    run = make_run()
    (tmp_path / "file").write_text("mine")
    for output in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "file" / "below" / "x.zip"):
        refuses(tmp_path, ["export", str(run), "-o", str(output)], "is a file")
    (tmp_path / "mine.zip").write_text("mine")
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "mine.zip"), "--overwrite"], "other files")
    refuses(tmp_path, ["export", str(run), "-o", str(run)], "inside the run")


def test_not_a_run(make_run, tmp_path, refuses):
    run = make_run()
    refuses(tmp_path, ["export", str(run / "fold_0"), "-o", str(tmp_path / "x.zip")], "plans.json", "above the folds")
    refuses(tmp_path, ["export", str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.zip")], "results folder")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--folds", "0", "4"], ["fold 4", "found 0, 1"]),
        (["--checkpoint", "best"], ["checkpoint_best.pth", "found final"]),
        (["--checkpoint", "last"], ["final, best, latest", "'last'"]),
        (["--dataset-name", "../Femur"], ["Dataset101_CENTRE", "'../Femur'"]),
    ],
)
def test_missing_fold_checkpoint_or_name(make_run, tmp_path, refuses, options, words):
    refuses(tmp_path, ["export", str(make_run(folds=("0", "1"))), "-o", str(tmp_path / "x.zip"), *options], *words)


@pytest.mark.parametrize("fold", ["0", "1"])
def test_damaged_checkpoint(make_run, tmp_path, refuses, fold):
    run = make_run(folds=("0", "1"))
    file = run / f"fold_{fold}" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:-500])
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "new" / "x.zip")], f"fold_{fold}", "damaged")
    assert not (tmp_path / "new").exists()


def test_folds_of_two_trainers(make_run, tmp_path, refuses):
    run, other = make_run(folds=("0", "1")), make_run("nnUNetTrainer_UDA_GRL")
    shutil.copy(other / CHECKPOINT, run / "fold_1" / "checkpoint_final.pth")
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "x.zip")], "nnUNetTrainer_UDA_GRL_MMD", "--folds")


def test_weights_of_another_network(make_run, tmp_path, refuses):
    run = make_run()
    plans = json.loads((run / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"][0] = 12
    (run / "plans.json").write_text(json.dumps(plans))
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "x.zip")], "encoder.stages.0", "instead of (12,)")


def test_plans_without_the_configuration(make_run, tmp_path, refuses):
    run = make_run()
    plans = json.loads((run / "plans.json").read_text())
    (run / "plans.json").write_text(json.dumps(plans | {"configurations": {}}))
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "x.zip")], "configuration 3d_fullres")


def test_a_path_where_names_are_kept(make_run, tmp_path, refuses):
    run = make_run()
    description = json.loads((run / "dataset.json").read_text())
    (run / "dataset.json").write_text(json.dumps(description | {"labels": {"background": 0, "bone from /scratch/jane/a": 1}}))
    refuses(tmp_path, ["export", str(run), "-o", str(tmp_path / "x.zip")], "dataset.json", "/scratch/jane")
