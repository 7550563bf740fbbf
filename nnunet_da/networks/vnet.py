"""V-Net from MONAI's blocks, with three or four levels, as an encoder and a decoder like nnU-Net's own networks."""

from collections.abc import Iterator
from typing import Any

from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import Tensor, nn

from nnunet_da.networks.single_output import SingleOutputDecoder
from nnunet_da.networks.sizes import check_multiple

WIDTH = 16  # channels at full resolution
# convolutions per stage, fine to coarse on the way down and coarse to fine on the way up
LEVELS = {"femur": ((1, 2, 3), (2, 1, 1)), "milletari": ((1, 2, 3, 2), (2, 2, 1, 1))}
ACTIVATIONS: dict[str, Any] = {"elu": ("elu", {"inplace": True}), "prelu": "prelu"}
DROPOUT = 0.5  # of stages of 128 channels and more, and of whole channels of every skip connection: MONAI's choice


class VNet(nn.Module):
    """V-Net (Milletari et al. 2016, arXiv:1606.04797): 5x5x5 convolutions with residual sums, halving and doubling by strided ones.

    Built by nnU-Net as `VNet(input_channels=..., num_classes=..., **arch_kwargs, deep_supervision=False)`. With "milletari" it is MONAI's
    VNet weight for weight (45,601,516 parameters with PReLU, 45,597,898 with ELU, for one channel and two classes); with "femur" the
    same without the deepest stages (12,238,828 and 12,237,130), as a summary of the later ST-V-Net describes the femur network.

    Args:
        input_channels: image channels C; a divisor of 16, since the first stage repeats the image over its channels.
        num_classes: segmentation classes K, background included.
        levels: "femur" (three halvings; axes are multiples of 8) or "milletari" (four; multiples of 16).
        activation: "prelu" (the paper) or "elu" (MONAI's default).
        deep_supervision: only False; the method has none.

    Raises:
        ValueError: an argument out of range, with the value and what fits.
        NotImplementedError: deep_supervision is True.
    """

    def __init__(
        self, input_channels: int, num_classes: int, levels: str = "femur", activation: str = "prelu", deep_supervision: bool = False
    ) -> None:
        super().__init__()
        if levels not in LEVELS:
            raise ValueError(f"levels must be one of {', '.join(LEVELS)}, got {levels!r}.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        if WIDTH % input_channels:
            raise ValueError(f"VNet takes images whose number of channels divides {WIDTH}, got {input_channels}.")
        down, up = LEVELS[levels]
        self.encoder = VNetEncoder(input_channels, down, ACTIVATIONS[activation])
        self.decoder = VNetDecoder(num_classes, up, ACTIVATIONS[activation])
        self.decoder.deep_supervision = deep_supervision

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K, Z, Y, X) of images (B, C, Z, Y, X)."""
        return self.decoder(self.encoder(x))

    def monai_names(self) -> Iterator[tuple[str, str]]:
        """(name here, name in MONAI's VNet) of every stage that holds weights; for weights from there."""
        yield "encoder.stages.0", "in_tr"
        for level in range(1, len(self.encoder.stages)):
            yield f"encoder.stages.{level}", f"down_tr{WIDTH * 2**level}"
        for index in range(len(self.decoder.stages)):
            yield f"decoder.stages.{index}", f"up_tr{WIDTH * 2 ** (len(self.decoder.stages) - index)}"
        yield "decoder.output", "out_tr"


class VNetEncoder(nn.Module):
    """Images (B, C, Z, Y, X) to one map per stage, from fine to coarse, the last with 16 * 2^levels channels."""

    def __init__(self, input_channels: int, convolutions: tuple[int, ...], activation: Any) -> None:
        super().__init__()
        first = InputTransition(3, input_channels, WIDTH, activation)
        widths = [WIDTH * 2**level for level in range(len(convolutions) + 1)]
        coarser = [
            DownTransition(3, width, number, activation, dropout_prob=DROPOUT if 2 * width >= 128 else None)
            for width, number in zip(widths, convolutions, strict=False)
        ]
        self.stages = nn.ModuleList([first, *coarser])
        self.output_channels = widths

    def forward(self, x: Tensor) -> list[Tensor]:
        check_multiple(x.shape[2:], 2 ** (len(self.stages) - 1), "VNet")
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class VNetDecoder(SingleOutputDecoder):
    """The encoder's maps to logits (B, K, Z, Y, X)."""

    def __init__(self, num_classes: int, convolutions: tuple[int, ...], activation: Any) -> None:
        super().__init__()
        outputs = [WIDTH * 2 ** (len(convolutions) - index) for index in range(len(convolutions))]
        inputs = [outputs[0], *outputs]
        self.stages = nn.ModuleList(
            UpTransition(3, i, o, number, activation, dropout_prob=(DROPOUT if o >= 128 else None, DROPOUT))
            for i, o, number in zip(inputs, outputs, convolutions, strict=False)
        )
        self.output = OutputTransition(3, outputs[-1], num_classes, activation)

    def forward(self, maps: list[Tensor]) -> Tensor:
        *skips, x = maps
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            x = stage(x, skip)
        return self.output(x)
