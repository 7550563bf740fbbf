"""The L2 regulariser of V-Net femur: squared convolution weights."""

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def convolution_l2(network: nn.Module) -> Tensor:
    """Sum of squared weights of all convolutions and transposed convolutions, in float32 at least.

    Biases, norms and PReLU slopes stay out: their size is no measure of how complex the network is. Added to a loss with weight
    lambda, it is under plain SGD the same as a weight decay of 2 lambda on these weights; under AdamW, whose decay is decoupled, it is not.

    Raises:
        ValueError: the network has no convolution.
    """
    weights = [module.weight for module in network.modules() if isinstance(module, _ConvNd)]
    if not weights:
        raise ValueError(f"A network with convolutions was expected, {type(network).__name__} has none: leave the L2 term out.")
    return torch.stack([weight.to(torch.promote_types(weight.dtype, torch.float32)).square().sum() for weight in weights]).sum()
