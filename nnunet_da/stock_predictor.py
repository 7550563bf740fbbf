"""Stock nnU-Net's predictor on a results folder, and its questions answered before it fails on them."""

import contextlib
import io
from pathlib import Path
from typing import Any

from nnunet_da.checkpoints import check_weights, read_checkpoint
from nnunet_da.datasets import RawDataset
from nnunet_da.errors import UserError
from nnunet_da.export.run import Run


def make_predictor(run: Run, folds: list[str], device: str, *, mirroring: bool = True) -> Any:
    """`nnUNetPredictor` with the weights of some folds of a run.

    Every checkpoint is read here first, without running code that it may carry.

    Args:
        run: found by `find_run`, with the folds.
        folds: whose predictions are averaged.
        device: "cpu" or "cuda".
        mirroring: whether predictions are averaged over the mirrored scans too.

    Raises:
        UserError: a damaged checkpoint, a trainer that stock look-up does not find, weights of another network, or a cascade.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    checkpoints = {fold: read_checkpoint(run.checkpoints[fold]) for fold in folds}
    first = next(iter(checkpoints.values()))
    _check_configuration(run, first["init_args"]["configuration"])
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = nnUNetPredictor(device=torch.device(device), use_mirroring=mirroring, allow_tqdm=False)
        try:
            predictor.initialize_from_trained_model_folder(str(run.folder), tuple(folds), run.checkpoints[folds[0]].name)
        except RuntimeError as error:
            raise UserError(_why(first["trainer_name"], error)) from error
    compiled = predictor.network  # by nnUNet_compile: other names, and no layer to look at
    predictor.network = getattr(compiled, "_orig_mod", compiled)
    shapes = {name: tuple(value.shape) for name, value in predictor.network.state_dict().items()}
    for fold, checkpoint in checkpoints.items():
        check_weights(checkpoint["network_weights"], shapes, run.checkpoints[fold])
    return predictor


def check_other_domain(run: Run, target: RawDataset) -> None:
    """Refuse scans that a model cannot predict, and the model's own dataset.

    One that was merged into the model's dataset passes: statistics may be adapted to it; merging it once more is refused elsewhere.

    Raises:
        UserError: as above.
    """
    name = run.plans["dataset_name"]
    if target.name == name:
        raise UserError(f"the target must be another dataset than the model's, got {name} for both: name the unlabelled one with -t")
    channels = run.description.get("channel_names", run.description.get("modality", {}))
    expected, found = list(channels.values()), list(target.description["channel_names"].values())
    if [str(channel).casefold() for channel in expected] != [str(channel).casefold() for channel in found]:
        raise UserError(
            f"{target.name} must have the channels that the model in {run.folder} was trained on, {', '.join(map(str, expected))}, it has"
            f" {', '.join(map(str, found))}: name another target or model"
        )


def _check_configuration(run: Run, name: str) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if name not in run.plans["configurations"]:
        raise UserError(f"the plans of {run.folder} must hold the configuration {name} of its checkpoints: put its own plans.json back")
    if PlansManager(run.plans).get_configuration(name).previous_stage_name is not None:
        raise UserError(f"{Path(run.folder).name} is the second stage of a cascade, which is not adapted: name a 3d_fullres or 2d model")


def _why(trainer: str, error: RuntimeError) -> str:
    if "state_dict" in str(error):
        return f"the weights must fit the network that {trainer} builds: {str(error).splitlines()[-1].strip()}: use the run's own plans"
    return f'{trainer} must be found by stock look-up ({error}): export nnUNet_extTrainer="$(nnunet-da trainer-path)"'
