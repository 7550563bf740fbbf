"""Gradient reversal: train a head to tell the domains apart and the features before it to hide them."""

import math
from typing import Any

import torch
from torch import Tensor


def gradient_reversal(x: Tensor, strength: float | Tensor) -> Tensor:
    """Return x unchanged; in the backward pass multiply its gradient by -strength.

    Ganin & Lempitsky 2015, arXiv:1409.7495; PF-DAformer Eq. 5 and 6. Put it on the domain branch only: in the trunk it would also reverse
    the segmentation gradient.

    Args:
        x: features of any shape.
        strength: >= 0; a float, or a 0-d tensor where it changes every step of a compiled function (no recompilation).

    Raises:
        ValueError: strength is a tensor with axes, or a negative or non-finite number.
    """
    if isinstance(strength, Tensor):
        if strength.ndim:
            raise ValueError(f"Gradient reversal strength must be a number or a 0-d tensor, got shape {tuple(strength.shape)}.")
    elif not 0 <= strength < math.inf:
        raise ValueError(f"Gradient reversal strength must be finite and >= 0, got {strength}: the sign is already in the layer.")
    return _GradientReversal.apply(x, strength)


def ganin_strength(progress: float, maximum: float = 1.0) -> float:
    """Schedule from 0 towards maximum: maximum * (2 / (1 + exp(-10 progress)) - 1).

    Ganin et al. 2016, arXiv:1505.07818, section 5.2.2.

    Args:
        progress: steps done / steps planned, in [0, 1]; from the global step, so that a resumed run continues the curve.
        maximum: the limit, >= 0.

    Raises:
        ValueError: progress outside [0, 1].
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"Training progress must lie in [0, 1], got {progress}.")
    return maximum * (2 / (1 + math.exp(-10 * progress)) - 1)


class _GradientReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float | Tensor) -> Tensor:
        if isinstance(strength, Tensor):
            ctx.save_for_backward(strength)
        else:
            ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        strength = ctx.saved_tensors[0].to(gradient) if ctx.saved_tensors else ctx.strength
        return -strength * gradient, None
