"""Supervised losses; pure torch, one loss per file."""

from nnunet_da.losses.dice_ce_focal import DiceCEFocalLoss, cross_entropy_loss, dice_loss, focal_loss

__all__ = ["DiceCEFocalLoss", "cross_entropy_loss", "dice_loss", "focal_loss"]
