"""A forward that also returns bottleneck features, on any nnU-Net network, without touching its state_dict."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FeatureForward(nn.Module):
    """Mixed into a network with `encoder` and `decoder`; called with an image alone it is the network's own forward."""

    encoder: nn.Module
    decoder: nn.Module

    def forward(self, x: Tensor, n_labelled: int | None = None, with_features: bool = False, probe: Tensor | None = None) -> Any:
        """Logits, and with `with_features` also bottleneck features.

        Args:
            x: (B, C, ...) images, labelled ones first.
            n_labelled: how many samples the decoder runs on, None for all.
            with_features: return (logits, features) with features (B, C', ...) of all samples.
            probe: zeros (n_labelled, C', ...) added to the decoder's bottleneck input; its gradient is what the supervised loss
                sends there. An input, unlike a hook, is seen by torch.compile.
        """
        if not with_features and probe is None:
            return super().forward(x)
        skips = self.encoder(x)
        labelled = list(skips) if n_labelled in (None, len(x)) else [skip[:n_labelled] for skip in skips]  # a slice of all would be copied
        if probe is not None:
            labelled[-1] = labelled[-1] + probe.to(labelled[-1].dtype)
        logits = self.decoder(labelled)
        return (logits, skips[-1]) if with_features else logits


def with_feature_forward(network: nn.Module) -> nn.Module:
    """Give a built network the forward above, in place; weights, names and logits stay bitwise the same.

    Raises:
        NotImplementedError: the network has no `encoder` and `decoder` to take features between.
    """
    if not isinstance(getattr(network, "encoder", None), nn.Module) or not isinstance(getattr(network, "decoder", None), nn.Module):
        raise NotImplementedError(
            f"Alignment needs a network with `encoder` and `decoder` like nnU-Net's own, got {type(network).__name__}:"
            " plan another network."
        )
    network.__class__ = _with_features(type(network))  # type: ignore[arg-type]  # classes are hashable
    return network


@functools.cache
def _with_features(network_class: type[nn.Module]) -> type[nn.Module]:
    return type(network_class.__name__, (FeatureForward, network_class), {})


def bottleneck_shape(network: FeatureForward, input_channels: int, patch_size: Sequence[int]) -> torch.Size:
    """(C', ...) of the bottleneck for one patch, found without computing: the encoder runs on the meta device."""
    encoder = copy.deepcopy(network.encoder).to("meta").eval()
    with torch.no_grad():
        return encoder(torch.empty(1, input_channels, *patch_size, device="meta"))[-1].shape[1:]
