"""Segmentation networks, one architecture per file; those of MONAI's blocks are loaded when asked for, as MONAI takes its time."""

from typing import TYPE_CHECKING, Any

from nnunet_da.networks.segformer3d import SegFormer3D
from nnunet_da.networks.transunet3d import TransUNet3D

if TYPE_CHECKING:
    from nnunet_da.networks.swin_unetr import SwinUNETR
    from nnunet_da.networks.vnet import VNet

__all__ = ["SegFormer3D", "SwinUNETR", "TransUNet3D", "VNet"]


def __getattr__(name: str) -> Any:
    if name == "VNet":
        from nnunet_da.networks.vnet import VNet

        return VNet
    if name == "SwinUNETR":
        from nnunet_da.networks.swin_unetr import SwinUNETR

        return SwinUNETR
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
