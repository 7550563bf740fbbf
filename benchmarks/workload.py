"""What is timed: trainers on plans without a dataset (random batches), and two small phantom centres for loaders and start-up."""

import contextlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SOURCE, TARGET, CONFIGURATION = "Dataset101_A", "Dataset102_B", "3d_fullres"
DATASET_JSON = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "bone": 1}, "numTraining": 5, "file_ending": ".nii.gz"}


@dataclass(frozen=True)
class Setup:
    """How to measure.

    Attributes:
        device: to train on.
        seconds: for each comparison, building and warming up apart.
        size: "full" for the presets' own networks and patches, "small" for what two cores can do, "tiny" to try the scripts.
        compiled: the modes of torch.compile to measure.
    """

    device: torch.device
    seconds: float
    size: str
    compiled: tuple[bool, ...]


def prepare(folder: Path) -> None:
    """nnU-Net's three folders, and one empty case by which trainers learn the file type."""
    from nnunet_da import paths

    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir()
        os.environ[name] = str(folder / name)
    os.environ["nnUNet_extTrainer"] = str(paths.trainers_dir())
    (folder / "nnUNet_preprocessed" / SOURCE / "Random").mkdir(parents=True)
    (folder / "nnUNet_preprocessed" / SOURCE / "Random" / "a.b2nd").touch()


def preset_plans(preset: str, patch_size: Sequence[int] | None = None, **architecture: Any) -> dict[str, Any]:
    """Plans as `nnunet-da plan` writes them, but for a dataset that does not exist.

    Args:
        preset: of the folder plans/; one without a network gets `stock_network`.
        patch_size: (Z, Y, X) voxels, None for the preset's.
        architecture: arguments of the network to change.
    """
    from nnunet_da.planning import load_preset
    from nnunet_da.settings import settings_from_dict, settings_to_dict

    recipe = load_preset(preset)
    patch = list(patch_size or recipe.patch_size or [128, 128, 128])
    network = recipe.network or stock_network(patch)
    arguments = {**network["arch_kwargs"], **({"patch_size": patch} if recipe.network else {}), **architecture}
    settings = settings_from_dict({"target_datasets": {TARGET: None}, **recipe.settings, "preset": preset})
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": False}
    configuration = {
        "data_identifier": "Random",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": recipe.batch_size,
        "patch_size": patch,
        "median_image_size_in_voxels": patch,
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        **{f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")},
        **{f"resampling_fn_{kind}_kwargs": resampling for kind in ("data", "seg", "probabilities")},
        "architecture": {**network, "arch_kwargs": arguments},
        "batch_dice": False,
        "nnunet_da": settings_to_dict(settings),
    }
    return {
        "dataset_name": SOURCE,
        "plans_name": recipe.plans_name,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "configurations": {CONFIGURATION: configuration},
    }


def stock_network(patch_size: Sequence[int]) -> dict[str, Any]:
    """nnU-Net's PlainConvUNet with as many poolings as leave four voxels, five at most."""
    stages = 1 + min(5, min(patch_size).bit_length() - 3)
    arguments = {
        "n_stages": stages,
        "features_per_stage": [min(32 * 2**stage, 320) for stage in range(stages)],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def build(name: str, plans: dict[str, Any], device: torch.device, compiled: bool = False) -> Any:
    """An initialised trainer, ours or stock, by its class name; weights follow one seed."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    os.environ["nnUNet_compile"] = "1" if compiled else "0"
    with quiet():
        trainer_class = nnUNetTrainer if name == "nnUNetTrainer" else recursive_find_trainer_class_by_name(name)
        plans = json.loads(json.dumps(plans)) | {"continue_training": False}
        trainer = trainer_class(plans, CONFIGURATION, 0, dict(DATASET_JSON), device)
        trainer.enable_deep_supervision = plans["configurations"][CONFIGURATION]["nnunet_da"]["deep_supervision"]
        torch.manual_seed(0)
        trainer.initialize()
    trainer.network.train()
    return trainer


def random_batch(trainer: Any, target: bool = True) -> dict[str, Any]:
    """A batch as the trainer's loader gives it, of noise; pinned for a GPU as nnU-Net's workers do."""
    generator = torch.Generator().manual_seed(0)
    patch, n, channels = tuple(trainer.configuration_manager.patch_size), trainer.batch_size, trainer.num_input_channels
    images = [torch.randn(n, channels, *patch, generator=generator) for _ in range(2)]
    labels = (torch.rand(n, 1, *patch, generator=generator) > 0.8).short()
    scaled: Any = labels
    if trainer.enable_deep_supervision:
        sizes = [[round(p * s) for p, s in zip(patch, scale, strict=True)] for scale in trainer._get_deep_supervision_scales()]
        scaled = [torch.nn.functional.interpolate(labels.float(), size=size).short() for size in sizes]
    batch = {"data": images[0], "target": scaled, "keys": ["a"] * n}
    if target:
        images = [torch.cat([image, torch.ones(n, 1, *patch)], dim=1) for image in images]  # the mark of what is no padding
        batch |= {"data": images[0], "data_target": images[1], "keys_target": ["b"] * n}
    return _pinned(batch) if trainer.device.type == "cuda" else batch


def make_centres() -> str:
    """Write, plan and preprocess two phantom centres in nnU-Net's folders; returns the name of plans with a small stock network."""
    from nnunet_da import paths
    from nnunet_da.datasets import read_json, write_json
    from nnunet_da.phantom.cohort import Window, centre
    from nnunet_da.phantom.dataset import write_dataset
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    window = Window(size_mm=(150.0, 128.0, 128.0), pixel_mm=2.0)
    with quiet():
        write_dataset(paths.nnunet_raw(), 101, "A", centre("tulane"), 5, 0, 0, window=window)
        write_dataset(paths.nnunet_raw(), 102, "B", centre("rochester"), 4, 0, 1, labels=False, window=window)
        file, _ = plan(PlanRequest("101", ["102"], "uda", spacing_mm=[3.0, 3.0, 3.0]))
        plans = read_json(file, "plans")
        arguments = plans["configurations"][CONFIGURATION]["architecture"]["arch_kwargs"]
        arguments["features_per_stage"] = [max(4, features // 8) for features in arguments["features_per_stage"]]
        write_json(plans, file)
        preprocess("101", file.stem, CONFIGURATION, processes=1)
    return file.stem


def build_on_centres(name: str, plans_name: str, device: torch.device) -> Any:
    """An initialised trainer on `make_centres`, as nnUNetv2_train makes it."""
    from nnunetv2.run.run_training import get_trainer_from_args

    os.environ["nnUNet_compile"] = "0"
    with quiet():
        trainer = get_trainer_from_args("101", CONFIGURATION, 0, name, plans_name, device=device)
        trainer.initialize()
    return trainer


@contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _pinned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _pinned(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_pinned(part) for part in value]
    return value.pin_memory() if isinstance(value, torch.Tensor) else value
