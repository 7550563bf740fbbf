"""Baselines: what others train with, on the same plans and batches as our methods."""

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from nnunet_da.presets import SEGFORMER3D, SWIN_UNETR
from nnunet_da.training.schedule import WarmupCosineSchedule
from nnunet_da.training.supervised import SupervisedTrainer


class StrongAugmentationTrainer(SupervisedTrainer, nnUNetTrainerDA5):
    """Stock nnU-Net with the augmentation of its own `nnUNetTrainerDA5`."""


class TransformerTrainer(SupervisedTrainer):
    """A transformer with stock nnU-Net's loss, and AdamW with warm-up and cosine: SGD at nnU-Net's rate does not suit one."""

    needed_network: str
    preset: str
    rates: tuple[float, float]  # learning rate, weight decay

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._check_network(self.needed_network, self.preset)

    def default_rates(self) -> tuple[float, float]:
        return self.rates

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=self.weight_decay)
        settings = self.settings
        schedule = WarmupCosineSchedule(optimizer, self.initial_lr, settings.lr_floor, settings.warmup_epochs, self.num_epochs)
        return optimizer, schedule


class SegFormer3DTrainer(TransformerTrainer):
    """SegFormer3D (Perera et al. 2024, arXiv:2404.10156) at the rate and weight decay of its released recipe."""

    needed_network, preset, rates = SEGFORMER3D, "segformer3d", (1e-4, 1e-2)


class SwinUNETRTrainer(TransformerTrainer):
    """Swin UNETR (Hatamizadeh et al. 2022, arXiv:2201.01266) at the rate and weight decay usual for it."""

    needed_network, preset, rates = SWIN_UNETR, "swin_unetr", (1e-4, 1e-5)
