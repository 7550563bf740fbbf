"""What an alignment term sees of one domain."""

from dataclasses import dataclass

from torch import Tensor

from nnunet_da.adaptation import pool_features


@dataclass(frozen=True)
class DomainBatch:
    """Bottleneck features of one domain's samples, in float32, connected to the encoder.

    Attributes:
        features: (N, C, ...) bottleneck maps.
        pooled: (N, F) pooled over the image, padding left out.
        cases: the case of each sample.
    """

    features: Tensor
    pooled: Tensor
    cases: list[str]


def domain_batch(features: Tensor, valid: Tensor | None, pooling: str, cases: list[str]) -> DomainBatch:
    """Pool the features of one domain; shapes as in `pool_features`."""
    return DomainBatch(features, pool_features(features, valid, pooling), cases)
