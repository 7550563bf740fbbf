"""What an alignment term sees of one domain."""

from dataclasses import dataclass

from torch import Tensor

from nnunet_da.training.alignment import Alignment


@dataclass(frozen=True)
class DomainBatch:
    """Features of one domain's samples, in float32, connected to the network.

    Attributes:
        features: (N, C, ...) maps of the place that is aligned, the bottleneck by default.
        pooled: (N, F) pooled over the image, padding left out.
        cases: the case of each sample.
    """

    features: Tensor
    pooled: Tensor
    cases: list[str]


def domain_batch(alignment: Alignment, features: Tensor, output: Tensor | None, valid: Tensor | None, cases: list[str]) -> DomainBatch:
    """Pool the features of one domain; shapes as in `Alignment.pool`."""
    maps = alignment.maps(features)
    return DomainBatch(maps, alignment.pool(maps, output, valid), cases)
