import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nnunet_da.losses import convolution_l2


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.PReLU(2), nn.ConvTranspose3d(2, 2, 2), nn.Flatten(), nn.Linear(2 * 27, 1)
    )


def test_value_worked_by_hand():
    one = nn.Conv3d(1, 1, 1)
    nn.init.constant_(one.weight, 3.0)
    nn.init.constant_(one.bias, 100.0)
    two = nn.ConvTranspose3d(1, 1, (1, 1, 2), bias=False)
    nn.init.constant_(two.weight, -2.0)
    assert convolution_l2(nn.Sequential(one, nn.BatchNorm3d(1), two)) == 9 + 4 + 4


def test_only_convolution_weights_receive_its_gradient():
    net = network()
    convolution_l2(net).backward()
    received = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert received == {"0.weight", "3.weight"}
    assert_close(net[0].weight.grad, 2 * net[0].weight.detach())


def test_under_plain_sgd_it_is_a_weight_decay_of_twice_its_weight():
    weight, x = 0.03, torch.randn(4, 1, 4, 4, 4)
    in_the_loss, decayed = network(), network()
    decayed.load_state_dict(copy.deepcopy(in_the_loss.state_dict()))
    convolutions = [decayed[0].weight, decayed[3].weight]
    rest = [parameter for parameter in decayed.parameters() if all(parameter is not one for one in convolutions)]
    optimizers = (
        torch.optim.SGD(in_the_loss.parameters(), 0.1),
        torch.optim.SGD([{"params": convolutions, "weight_decay": 2 * weight}, {"params": rest}], 0.1),
    )
    for _ in range(3):
        for net, optimizer in zip((in_the_loss, decayed), optimizers, strict=True):
            optimizer.zero_grad()
            loss = net(x).square().mean()
            (loss + weight * convolution_l2(net) if net is in_the_loss else loss).backward()
            optimizer.step()
    for a, b in zip(in_the_loss.parameters(), decayed.parameters(), strict=True):
        assert_close(a, b)


def test_half_precision_weights_are_summed_in_float32():
    assert convolution_l2(network().half()).dtype == torch.float32


def test_a_network_without_convolution_is_refused():
    with pytest.raises(ValueError, match="Linear has none"):
        convolution_l2(nn.Linear(2, 2))
