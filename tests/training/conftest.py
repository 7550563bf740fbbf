"""Plans of the baselines for the tiny labelled centre, made once per session where a test asks for them."""

import json
import os
from pathlib import Path

import pytest

PATCHES = {"segformer3d": [32, 32, 32], "swin_unetr": [32, 32, 64], "vnet_femur": [16, 16, 16]}
SHORT = {"num_epochs": 2, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1, "save_every": 1, "seed": 7}
# smaller networks where the size does not matter: a checkpoint of the full Swin UNETR with its optimiser is 750 MB
SMALLER = {
    "SegFormer3DPlans": {"widths": [4, 8, 10, 16], "depths": [1, 1, 1, 1], "decoder_width": 8},
    "SwinUNETRPlans": {"feature_size": 12},
}


@pytest.fixture(scope="session")
def baselines(two_centres: Path) -> Path:
    """The two centres, with the source planned and preprocessed for every kind of baseline, without any target."""
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.preprocessing import preprocess

    for preset in ("stock", *PATCHES):
        options = {"patch_size": PATCHES[preset], "spacing_mm": [2.5, 2.0, 2.0]} if preset in PATCHES else {}
        file, configuration = plan(PlanRequest("101", [], preset, dict(SHORT), processes=1, **options))
        if file.stem in SMALLER:
            plans = json.loads(file.read_text())
            plans["configurations"][configuration]["architecture"]["arch_kwargs"].update(SMALLER[file.stem])
            file.write_text(json.dumps(plans))
        preprocess("101", file.stem, configuration, processes=1)
    return two_centres


@pytest.fixture
def make_baseline(baselines: Path, make_trainer):
    """`make_trainer` on the baselines' plans."""
    assert Path(os.environ["nnUNet_preprocessed"]).is_dir()
    return make_trainer
