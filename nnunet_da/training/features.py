"""A forward that also returns features, on any nnU-Net network, without touching its state_dict."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from torch import Tensor, nn

from nnunet_da.networks.transunet3d import TransUNetEncoder

BOTTLENECK, ENCODER, OUTPUT = "bottleneck", "encoder", "output"
ENCODER_STAGE = 1  # the second: half the resolution in most networks, past the raw intensities and far from the decision


class FeatureForward(nn.Module):
    """Mixed into a network with `encoder` and `decoder`; called with an image alone it is the network's own forward."""

    encoder: nn.Module
    decoder: nn.Module

    def forward(
        self,
        x: Tensor,
        n_labelled: int | None = None,
        with_features: bool = False,
        probe: Tensor | None = None,
        place: str = BOTTLENECK,
        decode_all: bool = False,
    ) -> Any:
        """Logits, and with `with_features` also features.

        Args:
            x: (B, C, ...) images, labelled ones first.
            n_labelled: how many samples logits are returned for, None for all.
            with_features: return (logits, features) with features (B, C', ...) of all samples.
            probe: zeros (N, C', ...) added to the features of the first N samples on their way to the logits; its gradient is what the
                supervised loss sends there. An input, unlike a hook, is seen by torch.compile.
            place: whose features: the encoder's last output, the output of its stage `ENCODER_STAGE`, or the logits at full resolution.
            decode_all: run the decoder on all samples, not on the labelled ones alone, and return the full-resolution logits of all of them
                as a third value. The place "output" needs it. Batch norms of the decoder then see all samples too.
        """
        if not with_features and probe is None:
            return super().forward(x)
        skips, features = encode(self.encoder, x, place, probe)
        decoded = list(skips) if decode_all else first(list(skips), n_labelled)
        if place == BOTTLENECK:
            decoded[-1] = add_probe(decoded[-1], probe)
        logits = self.decoder(decoded)
        if not decode_all:
            return (logits, features) if with_features else logits
        scales = list(logits) if isinstance(logits, (list, tuple)) else [logits]
        output = scales[0]
        if place == OUTPUT:
            features, scales[0] = output, add_probe(output, probe)
        scales = first(scales, n_labelled)
        labelled = scales if isinstance(logits, (list, tuple)) else scales[0]
        return (labelled, features, output) if with_features else labelled


def encode(encoder: nn.Module, x: Tensor, place: str, probe: Tensor | None) -> tuple[Sequence[Tensor], Tensor]:
    """The encoder's outputs, and the features of a place in it; a probe at an earlier stage acts on all that follows.

    Raises:
        NotImplementedError: the encoder has no stages to look between.
    """
    if place != ENCODER:
        skips = encoder(x)
        return skips, skips[-1]
    found: list[Tensor] = []

    def tap(stage: int, features: Tensor) -> Tensor:
        if stage != ENCODER_STAGE:
            return features
        found.append(features)
        return add_probe(features, probe)

    skips = _encode_by_stages(encoder, x, tap)
    return skips, found[0]


def _encode_by_stages(encoder: nn.Module, x: Tensor, tap: Any) -> Sequence[Tensor]:
    if isinstance(encoder, TransUNetEncoder):
        return encoder(x, tap)
    if not isinstance(encoder, (PlainConvEncoder, ResidualEncoder)):
        raise NotImplementedError(
            f"align_at=encoder needs an encoder in stages like nnU-Net's own or TransUNet3D's, got {type(encoder).__name__}:"
            " align at the bottleneck or the output."
        )
    stem = getattr(encoder, "stem", None)
    x = x if stem is None else stem(x)
    skips = []
    for number, stage in enumerate(encoder.stages):
        x = tap(number, stage(x))
        skips.append(x)
    return skips


def first(tensors: list[Tensor], n: int | None) -> list[Tensor]:
    """The first n samples of each, None for all; a slice of all would be copied."""
    return tensors if n in (None, len(tensors[0])) else [tensor[:n] for tensor in tensors]


def add_probe(features: Tensor, probe: Tensor | None) -> Tensor:
    """Add a probe to the first samples, as many as it has."""
    if probe is None:
        return features
    n, probe = len(probe), probe.to(features.dtype)
    return features + probe if n == len(features) else torch.cat([features[:n] + probe, features[n:]])


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
    """(C', ...) of the bottleneck for one patch, see `feature_shape`."""
    return feature_shape(network, BOTTLENECK, input_channels, patch_size)


def feature_shape(network: FeatureForward, place: str, input_channels: int, patch_size: Sequence[int]) -> torch.Size:
    """(C', ...) of the features for one patch, found without computing: the network runs on the meta device.

    Raises:
        NotImplementedError: no stage of the encoder lies between the first and the bottleneck.
    """
    image = torch.empty(1, input_channels, *patch_size, device="meta")
    with torch.no_grad():
        if place == OUTPUT:
            logits = copy.deepcopy(network).to("meta").eval()(image)
            return (logits[0] if isinstance(logits, (list, tuple)) else logits).shape[1:]
        skips, features = encode(copy.deepcopy(network.encoder).to("meta").eval(), image, place, None)
    if place == ENCODER and len(skips) < ENCODER_STAGE + 2:
        raise NotImplementedError(f"align_at=encoder needs an encoder of three stages or more, got {len(skips)}: align at the bottleneck.")
    return features.shape[1:]
