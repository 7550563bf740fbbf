"""Segmentation networks; pure torch, one architecture per file."""

from nnunet_da.networks.transunet3d import TransUNet3D

__all__ = ["TransUNet3D"]
