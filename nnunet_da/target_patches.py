"""Patches that cover preprocessed scans, as prediction tiles them, in batches that mix scans as training does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_da.training.loaders import PADDING_LABEL


@dataclass(frozen=True)
class Patch:
    """Where a patch begins in a scan, in voxels; below 0 where the scan is smaller than the patch."""

    case: str
    start: tuple[int, ...]


def covering_patches(shapes: Mapping[str, Sequence[int]], patch_size: Sequence[int], seed: int = 0) -> list[Patch]:
    """As few patches as cover every scan, in random order, the same for the same seed.

    Args:
        shapes: case -> (Z, Y, X).
        patch_size: three axes, or two for slices.
    """
    patches = [Patch(case, start) for case, shape in shapes.items() for start in product(*_starts(shape, _three_axes(patch_size)))]
    order = np.random.default_rng(seed).permutation(len(patches))
    return [patches[index] for index in order]


def patch_batches(
    dataset: Any, patches: Sequence[Patch], patch_size: Sequence[int], batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (B, C, ...) and masks (B, 1, ...), 1 inside the scan; the last batch is filled up from the beginning.

    Args:
        dataset: nnU-Net's, of preprocessed scans.
        patches: not empty.
        patch_size: as above.
        batch_size: the same in every batch, fewer only where there are fewer patches in all.
        device: of the batches.
    """
    size = min(batch_size, len(patches))
    for first in range(0, len(patches), size):
        chosen = [patches[index % len(patches)] for index in range(first, first + size)]
        images, masks = zip(*(_cut(dataset, patch, patch_size) for patch in chosen), strict=True)
        yield torch.stack(images).to(device), torch.stack(masks).to(device)


def _three_axes(patch_size: Sequence[int]) -> tuple[int, ...]:
    return tuple([1] * (3 - len(patch_size)) + [int(length) for length in patch_size])


def _starts(shape: Sequence[int], patch: Sequence[int]) -> list[list[int]]:
    """Per axis, by stock prediction's rule without overlap; a smaller scan stands in the middle of its patch."""
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    padded = tuple(max(have, want) for have, want in zip(shape, patch, strict=True))
    steps = compute_steps_for_sliding_window(padded, tuple(patch), 1.0)
    margins = [(full - have) // 2 for full, have in zip(padded, shape, strict=True)]
    return [[step - margin for step in along] for along, margin in zip(steps, margins, strict=True)]


def _cut(dataset: Any, patch: Patch, patch_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd

    data, labels, *_ = dataset.load_case(patch.case)
    box = [[start, start + length] for start, length in zip(patch.start, _three_axes(patch_size), strict=True)]
    image = torch.from_numpy(np.asarray(crop_and_pad_nd(data, box, 0))).float()
    inside = torch.from_numpy(np.asarray(crop_and_pad_nd(labels, box, PADDING_LABEL))[:1] != PADDING_LABEL).float()
    return (image, inside) if len(patch_size) == 3 else (image[:, 0], inside[:, 0])
