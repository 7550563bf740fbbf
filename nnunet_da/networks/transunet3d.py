"""TransUNet3D: a convolutional encoder, a vision transformer on its deepest map and a convolutional decoder.

The segmentation network of PF-DAformer (arXiv:2510.26903, section 4.1; docs/pf_daformer.md lists where the text leaves a choice and what we
chose). `encoder` and `decoder` behave like those of nnU-Net's own networks, so trainers can take features between them.
"""

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_da.networks.checkpointing import run
from nnunet_da.networks.vision_transformer import PatchEmbedding, VisionTransformer, resize

POOLINGS = 3
NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm3d, "instance": nn.InstanceNorm3d}
SKIP_SOURCES = ("before_pool", "pooled")


class TransUNet3D(nn.Module):
    """Three convolutional stages, a ViT on the 1/8 map, and a decoder with skips (PF-DAformer, Eq. 1, 2, 9 and 10).

    Built by nnU-Net as `TransUNet3D(input_channels=..., num_classes=..., **arch_kwargs, deep_supervision=False)`; every argument is JSON.
    The constructor already applies `initialize`. The defaults with patch 192x192x192, one channel and two classes are the paper's network
    (56,551,074 parameters).

    Args:
        input_channels: image channels C.
        num_classes: segmentation classes K, background included.
        patch_size: (Z, Y, X) of the training patch in voxels; every axis a multiple of 8 * vit_patch. It fixes the number of position
            embeddings; other input sizes (same multiples) interpolate them.
        conv_bias: bias of the 3x3x3 convolutions; the paper's setting has none, as a norm follows.
        norm: "batch" (paper) or "instance" (affine).
        base_channels: channels of the first stage; the next two have twice and four times as many.
        vit_patch: voxels of the 1/8 map per token, one number or one per axis.
        depth, width, heads, mlp_width: the transformer; width must be a multiple of heads.
        dropout: on positions, attention weights, attention output and MLP. 0.1 is the released code's value (the text gives none).
        activation_checkpointing: recompute stages and transformer blocks in the backward pass: less memory, same gradients.
        skip_source: "before_pool" (released code; the only reading with a full-resolution skip) or "pooled" (skips after each pooling and
            one more decoder stage).
        deep_supervision: only False; the method has none.

    Raises:
        ValueError: an argument out of range, with the value and what fits.
        NotImplementedError: deep_supervision is True.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        patch_size: Sequence[int],
        conv_bias: bool = False,
        norm: str = "batch",
        base_channels: int = 32,
        vit_patch: int | Sequence[int] = 8,
        depth: int = 6,
        width: int = 512,
        heads: int = 8,
        mlp_width: int = 2048,
        dropout: float = 0.1,
        activation_checkpointing: bool = False,
        skip_source: str = "before_pool",
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}.")
        if skip_source not in SKIP_SOURCES:
            raise ValueError(f"skip_source must be one of {', '.join(SKIP_SOURCES)}, got {skip_source!r}.")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got width {width} and heads {heads}.")
        patch_size, vit_patch = _three(patch_size, "patch_size"), _three(vit_patch, "vit_patch")
        _check_multiple(patch_size, vit_patch, "patch_size")
        channels = [base_channels * 2**level for level in range(POOLINGS)]
        convolution = {"bias": conv_bias, "norm": norm}
        z, y, x = (n // 2**POOLINGS for n in patch_size)
        transformer = VisionTransformer(channels[-1], (z, y, x), vit_patch, depth, width, heads, mlp_width, dropout)
        self.encoder = TransUNetEncoder(input_channels, channels, transformer, skip_source, convolution)
        self.decoder = TransUNetDecoder(num_classes, channels, width, skip_source, convolution)
        self.decoder.deep_supervision = deep_supervision
        self.encoder.activation_checkpointing = self.decoder.activation_checkpointing = activation_checkpointing
        self.apply(self.initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, Z, Y, X) of images (B, C, Z, Y, X)."""
        return self.decoder(self.encoder(x))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise one module; meant for `network.apply(network.initialize)`, as nnU-Net does.

        Convolutions: He normal with slope 0.01 and zero bias, as in stock nnU-Net, so that arms differ by architecture and not by start.
        Transformer: the usual ViT start, truncated normal of deviation 0.02 for linear layers and Xavier uniform for the patch embedding
        (He on its fan-in of 65,536 would assume a ReLU that does not follow). Norms and positions keep their constants (1, 0 and 0).
        """
        if isinstance(module, PatchEmbedding):  # nn.Module.apply visits children first: this overrides the He start of its convolution
            weight = module.projection.weight
            nn.init.xavier_uniform_(weight.view(weight.shape[0], -1))
        elif isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=1e-2)
            _zero_bias(module)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            _zero_bias(module)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Number of activations of one sample (Z, Y, X) that layers with weights write; nnU-Net's planners size patches with it.

        Counts every convolution output of both paths and the transformer's tokens. nnU-Net counts likewise for its own networks.
        """
        fine = math.prod(input_size)
        return self.encoder.feature_map_size(fine) + self.decoder.feature_map_size(fine)


class ConvStage(nn.Sequential):
    """Twice: 3x3x3 convolution, norm, ReLU; the size stays."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool, norm: str) -> None:
        layers: list[nn.Module] = []
        for inputs in (in_channels, out_channels):
            layers.append(nn.Conv3d(inputs, out_channels, kernel_size=3, padding=1, bias=bias))
            layers.append(NORMS[norm](out_channels, affine=True))
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class DecoderStage(ConvStage):
    """Interpolate x to the skip's size, concatenate, convolve; without a skip, double the size.

    Interpolation and concatenation are part of the stage so that activation checkpointing keeps only their inputs.
    """

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is None:
            return super().forward(resize(x, tuple(2 * n for n in x.shape[2:])))
        return super().forward(torch.cat([resize(x.to(skip.dtype), tuple(skip.shape[2:])), skip], dim=1))


class TransUNetEncoder(nn.Module):
    """Images (B, C, Z, Y, X) to a list: three skips from fine to coarse, then the token grid (B, width, d, h, w) after the last LayerNorm.

    The mean of the grid over (d, h, w) is the pooled feature of PF-DAformer's domain head and MMD: it equals the mean over the tokens, and
    the mean of the grid interpolated to any multiple of its size.
    """

    def __init__(
        self, input_channels: int, channels: list[int], transformer: VisionTransformer, skip_source: str, convolution: dict[str, Any]
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(ConvStage(i, o, **convolution) for i, o in zip([input_channels, *channels], channels, strict=False))
        self.pool = nn.MaxPool3d(2)
        self.transformer = transformer
        self.output_channels = [*channels, transformer.width]
        self.skip_source = skip_source
        self.activation_checkpointing = False

    def forward(self, x: Tensor, tap: Callable[[int, Tensor], Tensor] | None = None) -> list[Tensor]:
        """The list of (B, C, ...); `tap` gets the number and output of each convolutional stage and returns what goes on from there."""
        _check_multiple(tuple(x.shape[2:]), self.transformer.vit_patch, "Input size")
        skips = []
        for level, stage in enumerate(self.stages):
            fine = run(stage, self.activation_checkpointing, x)
            fine = fine if tap is None else tap(level, fine)
            x = self.pool(fine)
            skips.append(fine if self.skip_source == "before_pool" else x)
        return [*skips, self.transformer(x, self.activation_checkpointing)]

    def feature_map_size(self, voxels: int) -> int:
        """Activations for an input of so many voxels."""
        convolutions = sum(2 * c * voxels // 8**level for level, c in enumerate(self.output_channels[:-1]))
        tokens = voxels // 8**POOLINGS // math.prod(self.transformer.vit_patch)
        return convolutions + tokens * self.transformer.activations_per_token


class TransUNetDecoder(nn.Module):
    """The encoder's list to logits (B, K, Z, Y, X).

    Each stage: trilinear interpolation (align_corners=False) to the skip's size, concatenation, two convolutions. The token grid goes
    straight to the deepest skip's size, without a stage at 1/8.
    """

    def __init__(self, num_classes: int, channels: list[int], width: int, skip_source: str, convolution: dict[str, Any]) -> None:
        super().__init__()
        skips = channels[::-1]
        outputs = skips if skip_source == "before_pool" else [2 * skips[0], *skips]
        skips = [*skips, 0][: len(outputs)]  # "pooled" has no skip at full resolution
        inputs = [width, *outputs]
        self.stages = nn.ModuleList(DecoderStage(i + s, o, **convolution) for i, s, o in zip(inputs, skips, outputs, strict=False))
        self.seg_layers = nn.ModuleList(
            [nn.Conv3d(outputs[-1], num_classes, kernel_size=1)]
        )  # the name nnU-Net's -pretrained_weights skips
        self.num_classes = num_classes
        self.stage_channels = outputs
        self.activation_checkpointing = False

    @property
    def deep_supervision(self) -> bool:
        """Always False; nnU-Net's trainer and predictor set it."""
        return False

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        if enabled:
            raise NotImplementedError(
                "TransUNet3D has no deep supervision, but it was asked for: use a trainer that switches it off (nnUNetTrainer_PFDAformer, "
                "nnUNetTrainer_PFDAformer_SourceOnly, ...) with this network."
            )

    def forward(self, skips: list[Tensor]) -> Tensor:
        *skips, x = skips
        for stage, skip in zip_longest(self.stages, reversed(skips)):
            x = run(stage, self.activation_checkpointing, x, skip)
        return self.seg_layers[0](x)

    def feature_map_size(self, voxels: int) -> int:
        """Activations for an input of so many voxels."""
        convolutions = sum(2 * c * voxels // 8**level for level, c in enumerate(reversed(self.stage_channels)))
        return convolutions + self.num_classes * voxels


def _zero_bias(module: nn.Conv3d | nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _three(values: int | Sequence[int], name: str) -> tuple[int, int, int]:
    values = (values,) * 3 if isinstance(values, int) else tuple(int(v) for v in values)
    if len(values) != 3 or min(values) < 1:
        raise ValueError(f"{name} must be three positive numbers (Z, Y, X), got {values}. TransUNet3D is for 3D configurations only.")
    return values


def _check_multiple(size: tuple[int, ...], vit_patch: tuple[int, int, int], what: str) -> None:
    if len(size) != 3:
        raise ValueError(f"{what} must have three axes (Z, Y, X), got {size}.")
    for axis, n, patch in zip("ZYX", size, vit_patch, strict=True):
        unit = 2**POOLINGS * patch
        if n % unit or n < unit:
            fitting = max(math.ceil(n / unit), 1) * unit
            raise ValueError(
                f"{what} {size}: axis {axis} is {n}, but must be a multiple of {unit} (8 from pooling x vit_patch {patch}); "
                f"the next that fits is {fitting}."
            )
