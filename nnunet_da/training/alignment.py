"""Where features are taken for the alignment, and what of them: the settings `align_at` and `pooling`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nnunet_da.adaptation import pool_by_class, pool_features
from nnunet_da.training.features import BOTTLENECK, OUTPUT

CLASS_MEAN = "class_mean"


@dataclass(frozen=True)
class Alignment:
    """One choice.

    Attributes:
        place: as in `FeatureForward.forward`.
        pooling: "mean", "mean_std", or "class_mean" within the classes that the network predicts, in both domains alike.
        has_regions: whether outputs are sigmoids of overlapping regions, not a softmax.
    """

    place: str = BOTTLENECK
    pooling: str = "mean"
    has_regions: bool = False

    @property
    def decodes_all(self) -> bool:
        """Whether the decoder must run on samples of both domains."""
        return self.place == OUTPUT or self.pooling == CLASS_MEAN

    def probed(self, n_labelled: int, n_all: int) -> int:
        """Samples that the supervised loss can send a gradient to: all, where they share a batch norm after the place."""
        return n_labelled if self.place == BOTTLENECK and not self.decodes_all else n_all

    def width(self, channels: int, classes: int) -> int:
        """Pooled features of one sample."""
        return channels * {"mean": 1, "mean_std": 2, CLASS_MEAN: classes}[self.pooling]

    def forward(
        self, network: nn.Module, images: Tensor, n_labelled: int | None = None, probe: Tensor | None = None
    ) -> tuple[Any, Tensor, Tensor | None]:
        """Labelled samples' logits, all samples' features, and all samples' full-resolution logits where pooling asks for them."""
        options = {"n_labelled": n_labelled, "with_features": True, "probe": probe}
        if not self.decodes_all:
            logits, features = network(images, **options, place=self.place)
            return logits, features, None
        return network(images, **options, place=self.place, decode_all=True)

    def maps(self, features: Tensor) -> Tensor:
        """(N, C, ...) what is pooled: the features, or the probabilities that the output stands for."""
        return self._probabilities(features) if self.place == OUTPUT else features

    def pool(self, maps: Tensor, output: Tensor | None, valid: Tensor | None) -> Tensor:
        """(N, F) of maps (N, C, ...) and, for the class mean, full-resolution logits (N, K, ...), which receive no gradient."""
        if self.pooling != CLASS_MEAN:
            return pool_features(maps, valid, self.pooling)
        assert output is not None
        return pool_by_class(maps, self._probabilities(output.detach()), valid)

    def _probabilities(self, logits: Tensor) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.sigmoid() if self.has_regions else logits.softmax(dim=1)
