"""A trained model with its batch normalisation adapted to a target: stock nnU-Net predicts with it as with any other."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_da.checkpoints import read_checkpoint
from nnunet_da.datasets import RawDataset, find_dataset, write_json
from nnunet_da.errors import UserError
from nnunet_da.export.files import MODEL_CHECKPOINT, first_existing, put
from nnunet_da.export.run import Run, find_run
from nnunet_da.outputs import check_folder, versions_of
from nnunet_da.preprocessing import preprocess_scans, target_cache
from nnunet_da.settings import PLANS_KEY
from nnunet_da.stock_predictor import check_other_domain, make_predictor

RECORD = "batch_norm.json"
STATISTICS = ("running_mean", "running_var")
KEPT = ("network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes", "current_epoch")


@dataclass(frozen=True)
class AdaptationRequest:
    """What shall be adapted to what.

    Attributes:
        model_folder: `DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION`, of any trainer.
        target: id or name of the dataset whose imagesTr are looked at; its labels are not.
        output: folder laid out like nnUNet_results.
        folds: "0", "1", ... or "all"; none for every numbered one.
        checkpoint: "final", "best" or "latest"; written as `checkpoint_final.pth`, which prediction takes unasked.
        cases: how many scans, evenly spaced in the list of them; None for all.
        momentum: weight of the target's statistics against the model's own.
        device: "cpu" or "cuda".
        processes: for preprocessing where there is no target cache.
        overwrite: replace a model of before.
    """

    model_folder: Path
    target: str
    output: Path
    folds: tuple[str, ...] = ()
    checkpoint: str = "final"
    cases: int | None = None
    momentum: float = 1.0
    device: str = "cpu"
    processes: int = 2
    overwrite: bool = False


@dataclass(frozen=True)
class AdaptedModel:
    """What was written.

    Attributes:
        folder: for `nnUNetv2_predict_from_modelfolder -m`.
        folds: in it.
        layers: batch normalisations adapted, per fold.
        patches: that the statistics rest on.
        cases: scans that they come from.
        from_cache: whether these were preprocessed already.
    """

    folder: Path
    folds: tuple[str, ...]
    layers: int
    patches: int
    cases: tuple[str, ...]
    from_cache: bool


def adapt_model(request: AdaptationRequest) -> AdaptedModel:
    """Recompute the running statistics of every fold's batch normalisation on patches that cover the target's training scans.

    Nothing else of the weights changes, and the same call gives the same numbers. Raises before it computes or writes anything.

    Raises:
        UserError: no run, a network without batch normalisation, a target of other channels or the model's own dataset, numbers out of
            range, or an output in the way.
    """
    run = find_run(request.model_folder, list(request.folds), request.checkpoint)
    target = find_dataset(request.target)
    check_other_domain(run, target)
    if not 0 < request.momentum <= 1:
        raise UserError(f"the momentum must be above 0 and at most 1, got {request.momentum}")
    place = request.output / run.plans["dataset_name"] / run.folder.resolve().name
    _check_free(place, run, request.overwrite)
    _count_layers(run)
    cases = _chosen(sorted(target.training_images()), request.cases)
    with tempfile.TemporaryDirectory(prefix=".nnunet-da-adapt-", dir=first_existing(place.parent.absolute())) as temporary:
        scratch = Path(temporary)
        scans, from_cache = _scans(run, target, cases, request.processes, scratch)
        adapted = _write(scratch / "model", run, scans, cases, request, from_cache)
        put(scratch / "model", place, scratch)
    return AdaptedModel(place, tuple(run.checkpoints), adapted["layers"], adapted["patches"], tuple(cases), from_cache)


def _check_free(place: Path, run: Run, overwrite: bool) -> None:
    check_folder(place.parent)
    if place.absolute().is_relative_to(run.folder.absolute()):
        raise UserError(f"the adapted model must not lie inside the trained one, got {place}: choose another output with -o")
    if not place.exists():
        return
    if not (place / RECORD).is_file():
        raise UserError(f"{place} must be free or an earlier adapted model, it holds something else: choose another output with -o")
    if not overwrite:
        raise UserError(f"{place} exists already: choose another output, or replace it with --overwrite")


def _count_layers(run: Run) -> None:
    """Refuse before any scan is preprocessed."""
    from nnunet_da.adaptation.batch_statistics import batch_norm_layers

    network = make_predictor(run, list(run.checkpoints)[:1], "cpu").network
    if not batch_norm_layers(network):
        raise UserError(
            f"only batch normalisation keeps statistics that can be adapted, but the network of {run.folder} has none (stock nnU-Net uses"
            " instance normalisation, which adapts to every scan by itself): predict with the model as it is"
        )


def _chosen(cases: list[str], most: int | None) -> list[str]:
    if most is None or most >= len(cases):
        return cases
    return [cases[index * len(cases) // most] for index in range(most)]


def _scans(run: Run, target: RawDataset, cases: list[str], processes: int, scratch: Path) -> tuple[Any, bool]:
    """The preprocessed scans, as nnU-Net's dataset: of the cache that `nnunet-da preprocess` made, else preprocessed for the time being."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    name = read_checkpoint(next(iter(run.checkpoints.values())))["init_args"]["configuration"]
    configuration = PlansManager(run.plans).get_configuration(name).configuration
    try:
        cache = target_cache(run.plans["dataset_name"], target.name, configuration)
        cache.check(run.plans, configuration)
        return nnUNetDatasetBlosc2(str(cache.folder), cases), True
    except UserError as error:
        print(f"no target cache is used ({error}): preprocessing {len(cases)} scan(s) for the time being")
    images = {case: files for case, files in target.training_images().items() if case in cases}
    preprocess_scans(images, scratch / "scans", run.plans, name, run.description, processes, f"Preprocessing target {target.name}")
    return nnUNetDatasetBlosc2(str(scratch / "scans"), cases), False


def _write(folder: Path, run: Run, scans: Any, cases: list[str], request: AdaptationRequest, from_cache: bool) -> dict[str, Any]:
    """All folds, then the files that stand beside them; returns the record."""
    folder.mkdir()
    record: dict[str, Any] = {}
    for fold, file in run.checkpoints.items():
        record = _adapt_fold(run, fold, scans, cases, request)
        (folder / f"fold_{fold}").mkdir()
        _save(_with_statistics(read_checkpoint(file), record.pop("statistics")), folder / f"fold_{fold}" / MODEL_CHECKPOINT)
    for name in ("plans.json", "dataset.json"):
        shutil.copyfile(run.folder / name, folder / name)
    write_json(
        {
            **record,
            "target": find_dataset(request.target).name,
            "cases": cases,
            "checkpoint": request.checkpoint,
            "momentum": request.momentum,
            "from_cache": from_cache,
            "versions": versions_of("nnunetv2", "torch"),
        },
        folder / RECORD,
    )
    return record


def _adapt_fold(run: Run, fold: str, scans: Any, cases: list[str], request: AdaptationRequest) -> dict[str, Any]:
    import torch
    from tqdm import tqdm

    from nnunet_da.adaptation.batch_statistics import adapt_batch_norm, batch_norm_layers
    from nnunet_da.target_patches import covering_patches, patch_batches

    predictor = make_predictor(run, [fold], request.device)
    configuration, device = predictor.configuration_manager, torch.device(request.device)
    network = predictor.network.to(device)
    patches = covering_patches({case: scans.load_case(case)[0].shape[1:] for case in cases}, configuration.patch_size)
    batches = patch_batches(scans, patches, configuration.patch_size, configuration.batch_size, device)
    total = -(-len(patches) // min(configuration.batch_size, len(patches)))
    adapt_batch_norm(network, tqdm(batches, total=total, desc=f"Adapting fold {fold}"), request.momentum)
    statistics = {name: value.cpu() for name, value in network.state_dict().items() if name.endswith(STATISTICS)}
    return {"layers": len(batch_norm_layers(network)), "patches": len(patches), "statistics": statistics}


def _with_statistics(checkpoint: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
    """What prediction reads of a checkpoint, with other running statistics; no optimiser, heads or curves, so that nothing continues it."""
    adapted = {key: checkpoint[key] for key in KEPT if key in checkpoint}
    adapted["network_weights"] = {**checkpoint["network_weights"], **statistics}
    if PLANS_KEY in checkpoint:
        adapted[PLANS_KEY] = {"settings": checkpoint[PLANS_KEY]["settings"], "version": checkpoint[PLANS_KEY].get("version")}
    return adapted


def _save(checkpoint: dict[str, Any], file: Path) -> None:
    import torch

    try:
        with file.open("wb") as stream:
            torch.save(checkpoint, stream)
    except RuntimeError as error:
        raise UserError(f"the adapted model could not be written ({error}): free disk space, nothing was left behind") from error
