"""Activation checkpointing that leaves gradients and BatchNorm statistics as they are without it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def run(module: nn.Module, checkpointing: bool, *inputs: Tensor | None) -> Tensor:
    """Call a module, under activation checkpointing if asked and of use."""
    if not (checkpointing and torch.is_grad_enabled()):
        return module(*inputs)
    if torch.compiler.is_compiling():  # the compiled graph updates buffers once, whatever it recomputes
        return checkpoint(module, *inputs, use_reentrant=False)
    return checkpoint(module, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_running_statistics(module)))


@contextmanager
def _frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics while a forward is recomputed; they were updated the first time."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]  # type: ignore[union-attr]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)  # type: ignore[union-attr]
