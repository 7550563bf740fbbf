"""V-Net: MONAI is the oracle of the four-level network, weight for weight; counts are those of systems.md."""

import pytest
import torch
from monai.networks.nets import VNet as MonaiVNet

from nnunet_da.networks import VNet
from nnunet_da.training.features import bottleneck_shape, with_feature_forward


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("levels", "activation", "classes", "expected"),
    [
        ("milletari", "elu", 2, 45_597_898),
        ("milletari", "prelu", 2, 45_601_516),
        ("milletari", "elu", 1, 45_593_892),
        ("femur", "elu", 2, 12_237_130),
        ("femur", "prelu", 2, 12_238_828),
    ],
)
def test_parameter_counts(levels, activation, classes, expected):
    with torch.device("meta"):
        assert parameters(VNet(1, classes, levels, activation)) == expected


@pytest.mark.parametrize("activation", ["elu", "prelu"])
def test_four_levels_are_monais_weight_for_weight(activation):
    """In training mode as well: dropout draws at the same places."""
    torch.manual_seed(0)
    monai = MonaiVNet(in_channels=1, out_channels=2, act="prelu" if activation == "prelu" else ("elu", {"inplace": True}))
    ours = VNet(1, 2, "milletari", activation)
    weights, given = {}, monai.state_dict()
    for here, there in ours.monai_names():
        weights |= {name.replace(there, here, 1): value for name, value in given.items() if name.startswith(f"{there}.")}
    ours.load_state_dict(weights)
    assert len(weights) == len(given)
    x = torch.randn(2, 1, 16, 32, 16)
    for training in (False, True):
        results = []
        for network in (monai, ours):
            network.train(training)
            torch.manual_seed(1)
            results.append(network(x))
        assert torch.equal(*results)


def test_three_levels_are_the_four_without_the_deepest_stages():
    three, four = VNet(1, 2, "femur"), VNet(1, 2, "milletari")
    for fine in range(4):
        assert str(three.encoder.stages[fine]) == str(four.encoder.stages[fine])
    for fine in (-1, -2):
        assert str(three.decoder.stages[fine]) == str(four.decoder.stages[fine])
    assert three.encoder.output_channels == [16, 32, 64, 128]


def test_every_parameter_receives_gradient():
    network = VNet(1, 2)
    network(torch.randn(2, 1, 16, 8, 16)).square().mean().backward()
    # bias of a convolution before BatchNorm: its gradient is 0 but for rounding, so it need only be there
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.any() for name, parameter in network.named_parameters() if name.endswith("weight"))


def test_alignment_finds_its_features():
    network = with_feature_forward(VNet(1, 2)).eval()
    x = torch.randn(3, 1, 16, 8, 16)
    logits, features = network(x, n_labelled=2, with_features=True)
    assert features.shape[1:] == bottleneck_shape(network, 1, (16, 8, 16)) == (128, 2, 1, 2)
    assert torch.allclose(logits, network(x[:2]), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"levels": "five"}, "femur, milletari"), ({"activation": "relu"}, "elu, prelu"), ({"input_channels": 3}, "divides 16, got 3")],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        VNet(**{"input_channels": 1, "num_classes": 2} | arguments)


@pytest.mark.parametrize(("levels", "size"), [("femur", (16, 12, 16)), ("milletari", (16, 24, 16))])
def test_sizes_that_are_no_multiples_are_refused(levels, size):
    with pytest.raises(ValueError, match=f"multiples of {8 if levels == 'femur' else 16}.*along Y.*next that fits is"):
        VNet(1, 2, levels)(torch.zeros(1, 1, *size))


def test_deep_supervision_is_refused():
    network = VNet(1, 2)
    network.decoder.deep_supervision = False
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        network.decoder.deep_supervision = True
    with pytest.raises(NotImplementedError):
        VNet(1, 2, deep_supervision=True)
