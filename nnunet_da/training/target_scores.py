"""Label-free scores of a trainer's network on target patches: numbers to look at, nothing is chosen or trained by them."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from torch import Tensor, autocast

from nnunet_da.evaluation.label_free import NAMES, LabelFreeScores, perturbed
from nnunet_da.training.loaders import mark_padding


def score_names(batches: int) -> list[str]:
    """Curves that `target_scores` gives: none where no batches are drawn."""
    return list(NAMES) if batches else []


def score_loader(trainer: Any, dataset: Any) -> nnUNetDataLoader:
    """Stock loader of target patches as validation draws them: no augmentation, no foreground forcing, padding marked in a last channel.

    It draws from NumPy's global state: the caller seeds it, and should give the same batches in every epoch, so that the curves move
    because the network does.

    Args:
        trainer: initialised.
        dataset: the target's preprocessed scans.
    """
    transforms = mark_padding(trainer.get_validation_transforms(None))
    patch_size = trainer.configuration_manager.patch_size
    loader = nnUNetDataLoader(
        dataset, trainer.batch_size, patch_size, patch_size, trainer.label_manager, oversample_foreground_percent=0.0, transforms=transforms
    )
    loader.has_ignore = False  # else it would look for annotated voxels, which a target does not have
    return loader


def target_scores(trainer: Any, loader: Iterator[dict[str, Any]], batches: int) -> dict[str, float]:
    """Score the network as it is; the trainer's random state, weights and mode stay as they were.

    The change whose effect `target_agreement` measures is drawn from the batch's number alone, the same in every epoch, run and rank.

    Args:
        trainer: initialised; its network is called as in validation.
        loader: gives batches whose `data` is (B, C + 1, ...), the last channel not 0 where the patch is scan.
        batches: how many to draw.

    Returns:
        Name -> value for `score_names`, of this rank's patches; see `LabelFreeScores` for what is NaN.
    """
    if batches == 0:
        return {}
    scores = LabelFreeScores(trainer.label_manager.has_regions)
    was_training = trainer.network.training
    trainer.network.eval()
    try:
        with torch.no_grad():
            for number in range(batches):
                _score_batch(trainer, scores, next(loader)["data"].to(trainer.device, non_blocking=True), number)
    finally:
        trainer.network.train(was_training)
    return scores.values()


def _score_batch(trainer: Any, scores: LabelFreeScores, data: Tensor, number: int) -> None:
    images, inside = data.split([trainer.num_input_channels, 1], dim=1)
    generator = torch.Generator().manual_seed(number)
    changed, axes = perturbed(images, inside, generator), flipped_axes(trainer.inference_allowed_mirroring_axes, generator)
    logits_changed = _logits(trainer, changed.flip(axes)).flip(axes)
    scores.update(_logits(trainer, images.contiguous()), logits_changed, inside)


def flipped_axes(allowed: tuple[int, ...] | None, generator: torch.Generator) -> list[int]:
    """A random choice of the spatial axes that may be mirrored, as axes of a (B, C, ...) tensor; never none where one is allowed."""
    if not allowed:
        return []
    subset = int(torch.randint(1, 2 ** len(allowed), (1,), generator=generator))
    return [2 + axis for bit, axis in enumerate(allowed) if subset >> bit & 1]


def _logits(trainer: Any, images: Tensor) -> Tensor:
    """(B, K, ...) at full resolution, by the forward of stock validation."""
    with autocast(trainer.device.type, enabled=True) if trainer.device.type == "cuda" else nullcontext():
        output = trainer.network(images)
    return output[0] if isinstance(output, (list, tuple)) else output
