"""Adaptive batch normalisation: the running statistics of a trained network recomputed on another domain.

Li et al., Revisiting batch normalization for practical domain adaptation, 2016, arXiv:1603.04779. A layer's mean is the mean of its
batches' means, its variance that of their unbiased variances (Ioffe & Szegedy 2015, Algorithm 2; torch with momentum None), where each
batch was normalised by its own. Departure: padding counts for nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class _Sums:
    """Of the batches' means and variances, float64."""

    mean: Tensor
    variance: Tensor
    batches: int = 0


@dataclass
class _Recorder:
    """Stands in for the forward of every layer while batches run."""

    inside: Tensor | None = None
    sums: dict[nn.Module, _Sums] = field(default_factory=dict)

    def forward(self, layer: _BatchNorm, x: Tensor) -> Tensor:
        mean, variance, n = batch_moments(x, self.inside)
        unbiased = variance * n / (n - 1).clamp(min=1)
        sums = self.sums.setdefault(layer, _Sums(torch.zeros_like(mean), torch.zeros_like(mean)))
        sums.mean += mean
        sums.variance += unbiased
        sums.batches += 1
        return functional.batch_norm(x, mean.to(x.dtype), variance.to(x.dtype), layer.weight, layer.bias, False, 0.0, layer.eps)


def batch_norm_layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """Name -> layer of every batch normalisation that keeps running statistics (an instance norm, which keeps none, is no such layer)."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return {
        name: layer for name, layer in network.named_modules() if isinstance(layer, kinds) and isinstance(layer.running_mean, torch.Tensor)
    }


def adapt_batch_norm(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor | None]], momentum: float = 1.0) -> int:
    """Replace running means and variances by those of other images, in place; every other weight and buffer stays.

    Args:
        network: with batch normalisation; it runs in eval mode but for these layers, so nothing is dropped out.
        batches: (B, C, ...) images with (B, 1, ...) masks, 1 inside the scan and 0 in padding, or None.
        momentum: weight of the new statistics against the network's own in [0, 1].

    Returns:
        The number of batches.

    Raises:
        ValueError: no batch normalisation, no batch, or a momentum out of range.
    """
    layers = batch_norm_layers(network)
    if not layers:
        raise ValueError("A network with batch normalisation was expected, this one has none.")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be in [0, 1], got {momentum}.")
    recorder, was_training, count = _Recorder(), network.training, 0
    network.eval()
    try:
        with torch.inference_mode(), _recording(list(layers.values()), recorder):
            for images, recorder.inside in batches:
                network(images)
                count += 1
    finally:
        network.train(was_training)
    if not count:
        raise ValueError("At least one batch was expected, got none.")
    for layer in layers.values():
        if layer in recorder.sums:  # a layer that prediction does not use, such as one for deep supervision, keeps its own
            _update(layer, recorder.sums[layer], momentum)
    return count


def batch_moments(x: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance per channel of (B, C, ...) in float64, and the number of voxels they rest on.

    A cell of a coarser map than the mask weighs as much as the share of its voxels inside the image. A batch of nothing but padding, or
    features without space, counts in full.
    """
    x = x.double()
    axes = (0, *range(2, x.ndim))
    weights = _weights(x, inside)
    n = weights.sum()
    mean = (x * weights).sum(axes) / n
    deviation = x - mean.view(1, -1, *[1] * (x.ndim - 2))
    return mean, (deviation.square() * weights).sum(axes) / n, n


def _weights(x: Tensor, inside: Tensor | None) -> Tensor:
    everything = x.new_ones(len(x), 1, *x.shape[2:])
    if inside is None or x.ndim != inside.ndim:
        return everything
    pool = functional.adaptive_avg_pool2d if x.ndim == 4 else functional.adaptive_avg_pool3d
    share = pool(inside.to(x.dtype), tuple(x.shape[2:]))  # type: ignore[arg-type]
    return share if bool(share.any()) else everything


@contextmanager
def _recording(layers: list[_BatchNorm], recorder: _Recorder) -> Iterator[None]:
    """Have the layers call the recorder."""
    with ExitStack() as stack:
        for layer in layers:
            layer.forward = lambda x, layer=layer: recorder.forward(layer, x)  # type: ignore[method-assign, misc]
            stack.callback(layer.__dict__.pop, "forward")
        yield


def _update(layer: _BatchNorm, sums: _Sums, momentum: float) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    for buffer, total in ((layer.running_mean, sums.mean), (layer.running_var, sums.variance)):
        buffer.copy_((1 - momentum) * buffer.double() + momentum * total / sums.batches)
