"""SegFormer3D: a hierarchical transformer encoder and a decoder of linear layers, on any grid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_da.networks.single_output import SingleOutputDecoder
from nnunet_da.networks.sizes import check_multiple

CELL = 32  # voxels per axis of the coarsest cell
EMBEDDINGS = ((7, 4), (3, 2), (3, 2), (3, 2))  # kernel and stride of the convolution that begins each stage
STAGES = len(EMBEDDINGS)


class SegFormer3D(nn.Module):
    """Four stages of attention with shortened keys, whose maps a small decoder fuses at a quarter of the resolution.

    Perera et al., SegFormer3D, 2024, arXiv:2404.10156, after SegFormer (Xie et al. 2021, arXiv:2105.15203). Built by nnU-Net as
    `SegFormer3D(input_channels=..., num_classes=..., **arch_kwargs, deep_supervision=False)`; every argument is JSON. The defaults have
    4,492,066 parameters for one channel and two classes. The grid of tokens (z, y, x) is carried along, so that images need not be cubes,
    as the released code's must: it takes the cube root of the number of tokens.

    Args:
        input_channels: image channels C.
        num_classes: segmentation classes K, background included.
        widths: channels of each stage; multiples of its heads.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        reductions: how much shorter each axis of the keys' grid is than the queries', per stage; divisors of 8, 4, 2, 1.
        mlp_ratio: hidden channels per channel in the blocks' MLP.
        decoder_width: channels of the decoder.
        dropout: on the fused map before the last layer.
        deep_supervision: only False; the method has none.

    Raises:
        ValueError: an argument out of range, with the value and what fits.
        NotImplementedError: deep_supervision is True.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        widths: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (2, 2, 2, 2),
        heads: Sequence[int] = (1, 2, 5, 8),
        reductions: Sequence[int] = (4, 2, 1, 1),
        mlp_ratio: int = 4,
        decoder_width: int = 256,
        dropout: float = 0.0,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        _check_stages(widths, depths, heads, reductions)
        self.encoder = SegFormerEncoder(input_channels, widths, depths, heads, reductions, mlp_ratio)
        self.decoder = SegFormerDecoder(num_classes, widths, decoder_width, dropout)
        self.decoder.deep_supervision = deep_supervision
        self.apply(self.initialize)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, Z, Y, X) of images (B, C, Z, Y, X)."""
        return self.decoder(self.encoder(x))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise one module, as SegFormer does: truncated normal of deviation 0.02 for linear layers, He normal over the outputs for
        convolutions, zero biases; norms keep their constants."""
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv3d):
            fan_out = module.kernel_size[0] ** 3 * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if isinstance(module, (nn.Linear, nn.Conv3d)) and module.bias is not None:
            nn.init.zeros_(module.bias)


class SegFormerEncoder(nn.Module):
    """Images (B, C, Z, Y, X) to maps at 1/4, 1/8, 1/16 and 1/32 of the resolution."""

    def __init__(
        self,
        input_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        reductions: Sequence[int],
        mlp_ratio: int,
    ) -> None:
        super().__init__()
        inputs = [input_channels, *widths]
        self.stages = nn.ModuleList(
            Stage(inputs[i], widths[i], *EMBEDDINGS[i], depths[i], heads[i], reductions[i], mlp_ratio) for i in range(STAGES)
        )
        self.output_channels = list(widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_multiple(x.shape[2:], CELL, "SegFormer3D")
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Stage(nn.Module):
    """A strided convolution to tokens, blocks of attention and MLP, and the tokens back on their grid."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, depth: int, heads: int, reduction: int, mlp_ratio: int) -> None:
        super().__init__()
        self.embedding = nn.Conv3d(inputs, width, kernel, stride, padding=kernel // 2)
        self.embedding_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, reduction, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        grid = x.shape[2:]
        tokens = self.embedding_norm(to_tokens(x))
        for block in self.blocks:
            tokens = block(tokens, grid)
        return to_map(self.norm(tokens), grid)


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a shortcut; tokens (B, N, width) of a grid (z, y, x), N = z y x."""

    def __init__(self, width: int, heads: int, reduction: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, reduction)
        self.mlp = ConvolutionalMLP(width, mlp_ratio * width)

    def forward(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens), grid)
        return tokens + self.mlp(self.norm2(tokens), grid)


class Attention(nn.Module):
    """Every token asks a coarser grid: keys and values come from cells of reduction^3 tokens."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value, self.output = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.shorten = nn.Conv3d(width, width, reduction, reduction) if reduction > 1 else None
        self.shorten_norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        keys = tokens
        if self.shorten is not None and self.shorten_norm is not None:
            keys = self.shorten_norm(to_tokens(self.shorten(to_map(tokens, grid))))
        query = self._split(self.query(tokens))
        key, value = (self._split(part) for part in self.key_value(keys).chunk(2, dim=-1))
        attended = functional.scaled_dot_product_attention(query, key, value)  # (B, heads, N, width / heads)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ConvolutionalMLP(nn.Module):
    """Two linear layers with a depthwise 3x3x3 convolution and BatchNorm between them: it tells tokens where they stand."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.convolution = nn.Conv3d(hidden, hidden, 3, padding=1, groups=hidden)
        self.norm = nn.BatchNorm3d(hidden)

    def forward(self, tokens: Tensor, grid: torch.Size) -> Tensor:
        x = self.norm(self.convolution(to_map(self.widen(tokens), grid)))
        return self.narrow(functional.gelu(to_tokens(x)))


class SegFormerDecoder(SingleOutputDecoder):
    """The encoder's maps to logits (B, K, Z, Y, X): each to one width and to 1/4, fused, classified, and enlarged four times."""

    def __init__(self, num_classes: int, widths: Sequence[int], width: int, dropout: float) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width)) for inputs in widths)
        self.fuse = nn.Sequential(nn.Conv3d(len(widths) * width, width, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(dropout)
        self.seg_layers = nn.ModuleList([nn.Conv3d(width, num_classes, 1)])  # the name nnU-Net's -pretrained_weights skips

    def forward(self, maps: list[Tensor]) -> Tensor:
        grid = maps[0].shape[2:]
        projected = [to_map(project(to_tokens(x)), x.shape[2:]) for project, x in zip(self.projections, maps, strict=True)]
        x = self.fuse(torch.cat([_resize(x, tuple(grid)) for x in reversed(projected)], dim=1))
        return _resize(self.seg_layers[0](self.dropout(x)), tuple(EMBEDDINGS[0][1] * n for n in grid))


def to_tokens(x: Tensor) -> Tensor:
    """(B, F, z, y, x) to (B, z y x, F)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, grid: torch.Size) -> Tensor:
    """(B, z y x, F) to (B, F, z, y, x)."""
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))


def _resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return functional.interpolate(x, size=size, mode="trilinear", align_corners=False)


def _check_stages(widths: Sequence[int], depths: Sequence[int], heads: Sequence[int], reductions: Sequence[int]) -> None:
    for name, values in (("widths", widths), ("depths", depths), ("heads", heads), ("reductions", reductions)):
        if len(values) != STAGES or min(values) < 1:
            raise ValueError(f"{name} must be {STAGES} positive numbers, one per stage, got {list(values)}.")
    for width, number in zip(widths, heads, strict=True):
        if width % number:
            raise ValueError(f"widths must be multiples of heads, got a width of {width} with {number} heads.")
    for coarsest, reduction in zip((8, 4, 2, 1), reductions, strict=True):
        if coarsest % reduction:
            raise ValueError(f"reductions must be divisors of 8, 4, 2 and 1, got {list(reductions)}.")
