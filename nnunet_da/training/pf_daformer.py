"""The recipe of PF-DAformer: TransUNet3D, Dice + cross-entropy + focal loss, AdamW with warm-up and cosine."""

from typing import Any

import torch
from torch import nn

from nnunet_da.errors import UserError
from nnunet_da.losses import DiceCEFocalLoss
from nnunet_da.planning import TRANSUNET3D
from nnunet_da.training.schedule import WarmupCosineSchedule
from nnunet_da.training.trainer import DomainAdaptationTrainer

INITIAL_LR = 1e-4
WEIGHT_DECAY = 1e-2


class PFDAformerTrainer(DomainAdaptationTrainer):
    """Loss and optimiser of arXiv:2510.26903 and its released code; the plans must hold its network."""

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        network = self.configuration_manager.network_arch_class_name
        if network != TRANSUNET3D:
            raise UserError(
                f"{type(self).__name__} needs plans with {TRANSUNET3D}, these plan {network}:"
                " plan with a pf_daformer preset, or train with an nnUNetTrainer_UDA_* trainer"
            )
        if self.label_manager.has_regions:
            raise NotImplementedError("PF-DAformer's loss is a softmax loss: region-based labels need an nnUNetTrainer_UDA_* trainer.")

    def default_rates(self) -> tuple[float, float]:
        return INITIAL_LR, WEIGHT_DECAY

    def _build_loss(self) -> nn.Module:
        settings = self.settings
        return DiceCEFocalLoss(settings.seg_mix, settings.focal_gamma, settings.focal_alpha, ignore_label=self.label_manager.ignore_label)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        settings = self.settings
        schedule = WarmupCosineSchedule(optimizer, self.initial_lr, settings.lr_floor, settings.warmup_epochs, self.num_epochs)
        return optimizer, schedule
