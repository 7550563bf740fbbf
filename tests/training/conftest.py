"""Plans of the baselines on the tiny labelled centre, without a target. They share data with the plans that are there already."""

import json
import os
from pathlib import Path

import pytest

SHORT = {"num_epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "save_every": 1, "seed": 7, "target_datasets": {}}
# preset -> plans of the same preprocessing, patch size of its network, arguments of a smaller network where size does not matter: a
# checkpoint of the whole Swin UNETR with its optimiser is 750 MB
SHARED = {
    "stock": ("UDAPlans", None, {}),
    "segformer3d": ("PFDAformerDemoPlans", [32, 32, 32], {"widths": [4, 8, 10, 16], "depths": [1, 1, 1, 1], "decoder_width": 8}),
    "swin_unetr": ("PFDAformerDemoPlans", [32, 32, 64], {"feature_size": 12}),
    "vnet_femur": ("PFDAformerDemoPlans", [16, 16, 16], {}),
}


@pytest.fixture
def make_baseline(two_centres: Path, make_trainer):
    """`make_trainer` on plans of the baselines."""
    for preset in SHARED:
        _write_plans(Path(os.environ["nnUNet_preprocessed"]) / "Dataset101_A", preset)
    return make_trainer


def _write_plans(folder: Path, name: str) -> None:
    from nnunet_da.presets import load_preset
    from nnunet_da.settings import settings_from_dict, settings_to_dict

    parent, patch_size, smaller = SHARED[name]
    preset, plans = load_preset(name), json.loads((folder / f"{parent}.json").read_text())
    plans["plans_name"] = preset.plans_name
    configuration = plans["configurations"]["3d_fullres"]
    settings = settings_from_dict({**preset.settings, "warmup_epochs": 0, "preset": name, "mirror_axes": [], **SHORT})
    configuration["nnunet_da"] = settings_to_dict(settings)
    if preset.network is not None:
        configuration["patch_size"] = patch_size
        configuration["architecture"] = {**preset.network, "arch_kwargs": {**preset.network["arch_kwargs"], **smaller}}
    (folder / f"{preset.plans_name}.json").write_text(json.dumps(plans))
