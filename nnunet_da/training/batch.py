"""What an alignment term sees of one domain."""

from dataclasses import dataclass

import torch
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


def shuffled(source: DomainBatch, target: DomainBatch) -> tuple[DomainBatch, DomainBatch]:
    """The same samples dealt out at random to two batches of the same sizes: what is aligned then is no domain."""
    n_source = len(source.cases)
    order = torch.randperm(n_source + len(target.cases)).to(source.pooled.device)
    features, pooled = (torch.cat(pair)[order] for pair in ((source.features, target.features), (source.pooled, target.pooled)))
    cases = [[*source.cases, *target.cases][index] for index in order.tolist()]
    return DomainBatch(features[:n_source], pooled[:n_source], cases[:n_source]), DomainBatch(
        features[n_source:], pooled[n_source:], cases[n_source:]
    )
