"""MONAI's Swin UNETR, its parts gathered into an encoder and a decoder like those of nnU-Net's own networks."""

import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import Tensor, nn

from nnunet_da.networks.single_output import SingleOutputDecoder
from nnunet_da.networks.sizes import check_multiple

CELL = 32  # voxels per axis of the coarsest cell
ENCODER = ("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10")
DECODER = ("decoder5", "decoder4", "decoder3", "decoder2", "decoder1", "out")


class SwinUNETR(nn.Module):
    """Swin UNETR (Hatamizadeh et al. 2022, arXiv:2201.01266): windowed attention on the way down, residual convolutions on the way up.

    Built by nnU-Net as `SwinUNETR(input_channels=..., num_classes=..., **arch_kwargs, deep_supervision=False)`. The layers are MONAI's,
    weight for weight, under MONAI's names behind `encoder.` and `decoder.`; 62,186,708 parameters with 48 features, one channel and two
    classes. Axes are multiples of 32, and no patch of 32 x 32 x 32: its one coarsest cell is too little for the instance norms.

    Args:
        input_channels: image channels C.
        num_classes: segmentation classes K, background included.
        feature_size: channels at full resolution, a multiple of 12.
        activation_checkpointing: recompute the transformer's blocks in the backward pass: less memory, same gradients.
        deep_supervision: only False; the method has none.

    Raises:
        ValueError: feature_size is no multiple of 12.
        NotImplementedError: deep_supervision is True.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        feature_size: int = 48,
        activation_checkpointing: bool = False,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        device = torch.get_default_device()
        with torch.device("cpu"):  # MONAI reads numbers off tensors while it builds, which a meta device does not have
            whole = MonaiSwinUNETR(input_channels, num_classes, feature_size=feature_size, use_checkpoint=activation_checkpointing)
        whole.to(device)
        self.encoder, self.decoder = SwinEncoder(whole), SwinDecoder(whole)
        self.decoder.deep_supervision = deep_supervision

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, Z, Y, X) of images (B, C, Z, Y, X)."""
        return self.decoder(self.encoder(x))


class SwinEncoder(nn.Module):
    """Images (B, C, Z, Y, X) to maps at 1/1, 1/2, 1/4, 1/8, 1/16 and 1/32, the last with 16 times the features."""

    swinViT: nn.Module  # noqa: N815 - MONAI's name
    encoder1: nn.Module
    encoder2: nn.Module
    encoder3: nn.Module
    encoder4: nn.Module
    encoder10: nn.Module

    def __init__(self, whole: MonaiSwinUNETR) -> None:
        super().__init__()
        for name in ENCODER:
            self.add_module(name, getattr(whole, name))
        self.normalize = whole.normalize

    def forward(self, x: Tensor) -> list[Tensor]:
        check_multiple(x.shape[2:], CELL, "SwinUNETR")
        half, quarter, eighth, sixteenth, coarsest = self.swinViT(x, self.normalize)
        return [
            self.encoder1(x),
            self.encoder2(half),
            self.encoder3(quarter),
            self.encoder4(eighth),
            sixteenth,
            self.encoder10(coarsest),
        ]


class SwinDecoder(SingleOutputDecoder):
    """The encoder's maps to logits (B, K, Z, Y, X)."""

    def __init__(self, whole: MonaiSwinUNETR) -> None:
        super().__init__()
        for name in DECODER:
            self.add_module(name, getattr(whole, name))

    def forward(self, maps: list[Tensor]) -> Tensor:
        *skips, x = maps
        for name, skip in zip(DECODER, reversed(skips), strict=False):
            x = self.get_submodule(name)(x, skip)
        return self.get_submodule(DECODER[-1])(x)
