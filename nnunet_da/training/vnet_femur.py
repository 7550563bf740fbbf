"""The recipe of V-Net femur: V-Net, Dice with squared denominators, an explicit L2 term, nnU-Net's SGD."""

import torch
from torch import Tensor, nn

from nnunet_da.losses import SquaredDiceLoss, convolution_l2
from nnunet_da.presets import VNET
from nnunet_da.training.supervised import SupervisedTrainer


class VNetFemurTrainer(SupervisedTrainer):
    """Loss of arXiv:2006.05513: Dice plus `l2_weight` times the sum of squared convolution weights.

    The optimiser is stock nnU-Net's SGD without its weight decay: the L2 term is in the loss already, where biases and norms stay out.
    """

    penalties = ("l2",)

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._check_network(VNET, "vnet_femur")
        if self.label_manager.has_regions:
            raise NotImplementedError("V-Net femur's loss is a softmax loss: train region-based labels with nnUNetTrainer_Stock.")

    def default_rates(self) -> tuple[float, float]:
        return self.initial_lr, 0.0

    def _build_loss(self) -> nn.Module:
        return SquaredDiceLoss(ignore_label=self.label_manager.ignore_label)

    def penalty_losses(self) -> dict[str, Tensor]:
        return {"l2": self.settings.l2_weight * convolution_l2(self._bare_network())}
