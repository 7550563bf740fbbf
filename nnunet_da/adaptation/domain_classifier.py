"""The head that guesses a feature's domain, and its loss."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SOURCE, TARGET = 0, 1


class DomainClassifier(nn.Sequential):
    """Pooled features (N, features) to two domain logits (N, 2); index 0 is source, 1 is target.

    PF-DAformer 4.1.3: 512 -> 128 -> 64 -> 2, hidden layers FC, ReLU, LayerNorm, Dropout in this order, nothing after the last FC; 74,434
    parameters. Xavier uniform weights and zero biases, as in the released code (whose extra LayerNorm at the input the text does not have).

    Args:
        features: F of the input.
        hidden: widths of the hidden layers.
        dropout: probability in the hidden layers.
    """

    def __init__(self, features: int = 512, hidden: Sequence[int] = (128, 64), dropout: float = 0.2) -> None:
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(features, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(dropout)]
            features = width
        super().__init__(*layers, nn.Linear(features, 2))
        for module in self:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)


def domain_loss(logits_source: Tensor, logits_target: Tensor) -> Tensor:
    """Cross-entropy of the domain guess, each domain weighing one half whatever its number of samples.

    PF-DAformer Eq. 3 = Eq. 18 where the batch is balanced; otherwise samples are weighted by the inverse frequency of their domain. Two
    logits with cross-entropy equal binary cross-entropy on logit 1 minus logit 0. Computed in float32 at least.

    Args:
        logits_source: (N_s, 2).
        logits_target: (N_t, 2).

    Returns:
        Scalar >= 0; ln 2 = 0.693 is chance. A domain without samples gives 0, connected to the graph.

    Raises:
        ValueError: not (N, 2).
    """
    if logits_source.ndim != 2 or logits_target.ndim != 2 or logits_source.shape[1] != 2 or logits_target.shape[1] != 2:
        raise ValueError(f"Domain logits must be (N, 2), got {tuple(logits_source.shape)} and {tuple(logits_target.shape)}.")
    if not (len(logits_source) and len(logits_target)):
        return 0.0 * (logits_source.sum() + logits_target.sum())
    return (_cross_entropy(logits_source, SOURCE) + _cross_entropy(logits_target, TARGET)) / 2


def domain_accuracy(logits_source: Tensor, logits_target: Tensor) -> Tensor:
    """Balanced accuracy of the domain guess, a 0-d fraction; 0.5 is chance, NaN where a domain has no samples."""
    recall_source = (logits_source.argmax(dim=1) == SOURCE).float().mean()
    recall_target = (logits_target.argmax(dim=1) == TARGET).float().mean()
    return (recall_source + recall_target) / 2


def _cross_entropy(logits: Tensor, domain: int) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -functional.log_softmax(logits, dim=1)[:, domain].mean()
