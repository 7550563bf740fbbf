"""A vision transformer on a 3D feature map: tokens in, tokens out, laid on their grid."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from nnunet_da.networks.checkpointing import run

LAYER_NORM_EPS = 1e-6


def resize(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """Trilinear interpolation of (B, C, z, y, x) to a size, align_corners=False: with whole factors it keeps the mean over space."""
    return functional.interpolate(x, size=size, mode="trilinear", align_corners=False)


class PatchEmbedding(nn.Module):
    """Non-overlapping patches to tokens: a convolution whose stride is its kernel (the projection of Eq. 1)."""

    def __init__(self, in_channels: int, width: int, vit_patch: tuple[int, int, int]) -> None:
        super().__init__()
        self.projection = nn.Conv3d(in_channels, width, kernel_size=vit_patch, stride=vit_patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x)


class VisionTransformer(nn.Module):
    """Maps (B, C, z, y, x) to a token grid (B, width, d, h, w): embedding, learnable positions, pre-norm blocks, a last LayerNorm."""

    def __init__(
        self,
        in_channels: int,
        map_size: tuple[int, int, int],
        vit_patch: tuple[int, int, int],
        depth: int,
        width: int,
        heads: int,
        mlp_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.vit_patch, self.width = vit_patch, width
        self.grid = tuple(n // p for n, p in zip(map_size, vit_patch, strict=True))
        self.embedding = PatchEmbedding(in_channels, width, vit_patch)
        self.positions = nn.Parameter(torch.zeros(1, math.prod(self.grid), width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, mlp_width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.activations_per_token = width + depth * (5 * width + mlp_width)

    def forward(self, x: Tensor, activation_checkpointing: bool = False) -> Tensor:
        embedded = self.embedding(x)
        grid = tuple(embedded.shape[2:])
        tokens = self.dropout(embedded.flatten(2).transpose(1, 2) + self._positions_on(grid))  # (B, N, width)
        for block in self.blocks:
            tokens = run(block, activation_checkpointing, tokens)
        return self.norm(tokens).transpose(1, 2).unflatten(2, grid)

    def _positions_on(self, grid: tuple[int, ...]) -> Tensor:
        if grid == self.grid:
            return self.positions
        planned = self.positions.transpose(1, 2).unflatten(2, self.grid)
        return resize(planned, grid).flatten(2).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Pre-norm: x + attention(LN x), then x + MLP(LN x); scaled dot-product attention times V (Eq. 2 prints no V), GELU."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.norm_mlp = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_width), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp_width, width), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention_out(self._attend(self.norm_attention(tokens)))
        return tokens + self.mlp(self.norm_mlp(tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        heads = self.query_key_value(tokens).view(batch, count, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, N, width / heads)
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return attended.transpose(1, 2).reshape(batch, count, width)
