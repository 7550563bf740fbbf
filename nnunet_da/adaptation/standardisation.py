"""Features on the scale of their own variation, for a domain classifier."""

import torch
from torch import Tensor, nn

SMALLEST_SHARE = 0.1  # a standard deviation below this share of the features' mean one counts as this share: it would rule the gradient
SMALLEST_SD = 1e-8  # where no feature has ever moved


class RunningStandardisation(nn.Module):
    """(x - m) / s of features x (N, F): m and s are running means and standard deviations per feature, both domains counted as one.

    Pooled features of a segmentation network vary little around values that are the same for all scans, and a classifier of the raw ones
    has to find the site in that little (docs/evidence.md). Unlike batch normalisation, m and s are those of many batches once a training
    has run a while, and carry no gradient: dL/dx = (dL/dy) / s.

    In training mode each call first takes in its samples. Batch number k, with mean b and variance v, weighs w = max(1 / k, momentum):
    m' = m + w (b - m), s'^2 = s^2 + w (v + (1 - w) (b - m)^2 - s^2). Up to k = 1 / momentum these are the moments of all samples so far
    (batches of one size), then of the recent ones. A batch with an infinite value or NaN is not taken in. In evaluation mode m and s stay;
    before the first batch they are 0 and 1.

    Several processes must all give the joint batch, in whatever order; their statistics are then equal but for rounding.

    Args:
        features: F.
        momentum: least weight of a new batch, above 0 and at most 1.

    Raises:
        ValueError: momentum out of range.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, features: int, momentum: float = 0.01) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}.")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F), N may be 0, to the same shape. Raises ValueError for another shape."""
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"Features must be (N, {len(self.mean)}), got {tuple(features.shape)}.")
        if self.training and len(features):
            self._take_in(features.detach())
        deviation = self.variance.sqrt()
        smallest = (SMALLEST_SHARE * deviation.mean()).clamp(min=SMALLEST_SD)
        return (features - self.mean) / deviation.maximum(smallest)

    def _take_in(self, features: Tensor) -> None:
        finite = features.isfinite().all()  # stays on the device
        self.batches += finite
        weight = (1 / self.batches.clamp(min=1)).clamp(min=self.momentum)
        change = features.mean(dim=0) - self.mean
        spread = features.var(dim=0, correction=0) + (1 - weight) * change**2
        self.mean.copy_(torch.where(finite, self.mean + weight * change, self.mean))
        self.variance.copy_(torch.where(finite, self.variance + weight * (spread - self.variance), self.variance))
