"""Features of whole scans from trained networks: the same patches for every network, drawn alike in every domain."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nnunet_da.settings import PLANS_KEY
from nnunet_da.training.alignment import Alignment
from nnunet_da.training.checkpoint import load_weights
from nnunet_da.training.features import BOTTLENECK
from nnunet_da.training.loaders import PADDING_LABEL
from nnunet_da.training.trainer import DomainAdaptationTrainer

__all__ = ["PADDING_LABEL", "Alignment", "Scan", "case_features", "cut_patches", "trained_network"]


@dataclass(frozen=True)
class Scan:
    """A preprocessed scan.

    Attributes:
        name: `dataset/case`; seeds its patches.
        data: (C, Z, Y, X) float32.
        inside: (1, Z, Y, X) bool, False where preprocessing marked padding.
    """

    name: str
    data: NDArray[np.float32]
    inside: NDArray[np.bool_]


def trained_network(checkpoint: dict[str, Any], file: Path, device: torch.device) -> nn.Module:
    """The network of a checkpoint, in eval mode.

    Raises:
        UserError: the weights are another network's.
    """
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    arguments = checkpoint["init_args"]
    plans = PlansManager(arguments["plans"])
    configuration = plans.get_configuration(arguments["configuration"])
    channels = determine_num_input_channels(plans, configuration, arguments["dataset_json"])
    outputs = plans.get_label_manager(arguments["dataset_json"]).num_segmentation_heads
    deep_supervision = checkpoint[PLANS_KEY]["settings"]["deep_supervision"]
    network = DomainAdaptationTrainer.build_network_architecture(plans, configuration, channels, outputs, deep_supervision)
    load_weights(network, checkpoint["network_weights"], file)
    return network.to(device).eval()


def case_features(
    networks: Mapping[str, nn.Module],
    scans: Iterable[Scan],
    patch_size: Sequence[int],
    *,
    patches: int,
    alignment: Alignment,
    seed: int,
    device: torch.device,
    batch_size: int = 2,
) -> dict[str, NDArray[np.float32]]:
    """Pooled features, the mean of a case's patches, with padding left out.

    Args:
        networks: name -> network with an `encoder`, as `trained_network` gives it.
        patch_size: voxels, two axes for 2d networks.
        patches: drawn per case, anywhere in it, from (seed, name) alone.
        alignment: whose features, and how they are pooled.
        batch_size: patches at a time.

    Returns:
        Name -> (cases, F).
    """
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in networks}
    for scan in scans:
        rng = np.random.default_rng([seed, zlib.crc32(scan.name.encode())])
        data, inside = (torch.from_numpy(part) for part in cut_patches(scan, patch_size, patches, rng))
        for name, network in networks.items():
            pooled = [
                _pooled(network, batch.to(device), mask.to(device), alignment)
                for batch, mask in zip(data.split(batch_size), inside.split(batch_size), strict=True)
            ]
            found[name].append(torch.cat(pooled).mean(dim=0).cpu().numpy())
    return {name: np.stack(rows) for name, rows in found.items()}


def cut_patches(
    scan: Scan, patch_size: Sequence[int], patches: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Patches anywhere in a scan by stock nnU-Net's law without forced foreground; a scan smaller than a patch is padded with 0 around it.

    Returns:
        (N, C, ...) data and (N, 1, ...) mask, 1 inside the scan; a 2d patch is a slice along the first axis.
    """
    size = np.array([1] * (3 - len(patch_size)) + list(patch_size))
    shape = np.array(scan.data.shape[1:])
    missing = np.maximum(size - shape, 0)
    margins = [(0, 0), *((half, half) for half in -(-missing // 2))]  # an odd voxel falls on either side, as in nnU-Net
    data = np.pad(scan.data, margins)
    inside = np.pad(scan.inside.astype(np.float32), margins)
    places = np.array(data.shape[1:]) - size + 1
    starts = rng.integers(0, places, (patches if places.prod() > 1 else 1, 3))  # from one place alone all would be the same
    boxes = [tuple([slice(None), *(slice(start, start + length) for start, length in zip(corner, size, strict=True))]) for corner in starts]
    cut = np.stack([data[box] for box in boxes]), np.stack([inside[box] for box in boxes])
    return cut if len(patch_size) == 3 else (cut[0][:, :, 0], cut[1][:, :, 0])


@torch.inference_mode()
def _pooled(network: nn.Module, data: torch.Tensor, inside: torch.Tensor, alignment: Alignment) -> torch.Tensor:
    output = None
    if alignment.place == BOTTLENECK and not alignment.decodes_all:
        features = network.encoder(data)[-1]  # type: ignore[operator]  # the decoder has nothing to say
    else:
        _, features, output = alignment.forward(network, data)
    return alignment.pool(alignment.maps(features.float()), output, inside)
