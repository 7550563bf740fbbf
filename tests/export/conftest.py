"""Runs as trainers leave them behind, with secrets wherever a run can hold one; no training."""

import json
from pathlib import Path

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

SECRETS = ("rochester", "case_smith", "/scratch/jane", "cluster17", "1718000000", "2024-06-10")
PRIVATE_DATASET = {
    "name": "Rochester hips",
    "reference": "/scratch/jane/protocol.pdf",
    "description": "copied from cluster17 on 2024-06-10",
    "dataset": {"case_smith": {"images": ["/scratch/jane/case_smith_0000.nii.gz"], "label": "/scratch/jane/case_smith.nii.gz"}},
}
PRIVATE_SETTINGS = {
    "target_datasets": {"Dataset102_Rochester": ["case_smith"]},
    "init_checkpoint": "/scratch/jane/checkpoint_final.pth",
    "preset": "uda",
}


@pytest.fixture
def make_run(two_centres: Path, tmp_path: Path):
    """trainer, plans, configuration, folds -> a results folder whose folds have random weights and private surroundings."""

    def make(
        trainer: str = "nnUNetTrainer_UDA_GRL_MMD",
        plans: str = "UDAPlans",
        configuration: str = "3d_fullres",
        folds: tuple[str, ...] = ("0",),
        mirroring: tuple[int, ...] | None = (0, 1),
    ) -> Path:
        run = tmp_path / "nnUNet_results" / "Dataset101_A" / f"{trainer}__{plans}__{configuration}"
        content = json.loads((two_centres / "nnUNet_preprocessed" / "Dataset101_A" / f"{plans}.json").read_text())
        content["configurations"]["3d_fullres"]["nnunet_da"].update(PRIVATE_SETTINGS)
        content["configurations"]["3d_fullres_rochester"] = {"inherits_from": "3d_fullres", "nnunet_da": PRIVATE_SETTINGS}
        content["configurations"]["3d_fullres_variant"] = {"inherits_from": "3d_fullres", "nnunet_da": {**PRIVATE_SETTINGS, "w_mmd": 1}}
        content["remark"] = "case_smith on cluster17"
        description = json.loads((two_centres / "nnUNet_raw" / "Dataset101_A" / "dataset.json").read_text()) | PRIVATE_DATASET
        for fold in folds:
            (run / f"fold_{fold}" / "validation").mkdir(parents=True)
            checkpoint = _checkpoint(trainer, content, configuration, fold, description, mirroring)
            torch.save(checkpoint, run / f"fold_{fold}" / "checkpoint_final.pth")
            (run / f"fold_{fold}" / "training_log_2024-06-10.txt").write_text("case_smith on cluster17 in /scratch/jane")
            (run / f"fold_{fold}" / "debug.json").write_text('{"hostname": "cluster17"}')
            (run / f"fold_{fold}" / "validation" / "summary.json").write_text('{"metric_per_case": "case_smith"}')
        for name, file in (("plans.json", content), ("dataset.json", description), ("dataset_fingerprint.json", {"case": "case_smith"})):
            (run / name).write_text(json.dumps(file))
        return run

    return make


def _checkpoint(trainer: str, plans: dict, configuration: str, fold: str, description: dict, mirroring: tuple[int, ...] | None) -> dict:
    torch.manual_seed(int(fold) if fold.isdecimal() else 99)
    planned = PlansManager(plans).get_configuration(configuration)
    network = get_network_from_plans(
        planned.network_arch_class_name, planned.network_arch_init_kwargs, planned.network_arch_init_kwargs_req_import, 1, 2
    )
    weights = network.state_dict()
    return {
        "network_weights": weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(1000)}}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"epoch_start_timestamps": [1718000000.0], "file": "/scratch/jane/log.txt"},
        "_best_ema": 0.5,
        "current_epoch": 2,
        "init_args": {
            "plans": plans,
            "configuration": configuration,
            "fold": int(fold) if fold.isdecimal() else fold,
            "dataset_json": description,
            "device": torch.device("cpu"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": mirroring,
        "nnunet_da": {"version": "0.1.0", "settings": {**PRIVATE_SETTINGS}, "heads": {"w": torch.zeros(1000)}},
        "hostname": "cluster17",
    }
