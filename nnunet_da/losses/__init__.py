"""Supervised losses; pure torch, one loss per file."""

from nnunet_da.losses.convolution_l2 import convolution_l2
from nnunet_da.losses.dice_ce_focal import DiceCEFocalLoss, cross_entropy_loss, dice_loss, focal_loss
from nnunet_da.losses.squared_dice import SquaredDiceLoss

__all__ = ["DiceCEFocalLoss", "SquaredDiceLoss", "convolution_l2", "cross_entropy_loss", "dice_loss", "focal_loss"]
