import pytest
import torch
from torch import nn

from nnunet_da.networks import TransUNet3D
from nnunet_da.training.features import bottleneck_shape, with_feature_forward

SMALL = {
    "patch_size": (16, 16, 32),
    "base_channels": 4,
    "vit_patch": 2,
    "depth": 1,
    "width": 16,
    "heads": 2,
    "mlp_width": 32,
    "dropout": 0.0,
}


def network():
    torch.manual_seed(0)
    return with_feature_forward(TransUNet3D(1, 2, norm="instance", **SMALL))


def test_bottleneck_shape_without_computing():
    assert bottleneck_shape(network(), 1, (16, 16, 32)) == (16, 1, 1, 2)


def test_decoder_runs_on_the_labelled_samples_alone():
    net, x = network(), torch.randn(4, 1, 16, 16, 32)
    logits, features = net(x, n_labelled=2, with_features=True)
    assert logits.shape == (2, 2, 16, 16, 32)
    assert features.shape == (4, 16, 1, 1, 2)
    assert torch.allclose(logits, net(x[:2]), atol=1e-6)


def test_probe_receives_the_gradient_at_the_decoder_input():
    net, x = network(), torch.randn(2, 1, 16, 16, 32)
    probe = torch.zeros(2, 16, 1, 1, 2, requires_grad=True)
    net(x, probe=probe).square().mean().backward()
    skips = [skip.detach() for skip in net.encoder(x)]
    skips[-1].requires_grad_()
    net.decoder(skips).square().mean().backward()
    assert torch.allclose(probe.grad, skips[-1].grad, rtol=1e-4, atol=1e-9)


def test_compiles_to_one_graph_with_every_argument():
    net, x = network(), torch.randn(4, 1, 16, 16, 32)
    probe = torch.zeros(2, 16, 1, 1, 2, requires_grad=True)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    logits, features = compiled(x, n_labelled=2, with_features=True, probe=probe)
    expected, expected_features = net(x, n_labelled=2, with_features=True)
    assert torch.allclose(logits, expected, atol=1e-5)
    assert torch.allclose(features, expected_features, atol=1e-5)
    logits.sum().backward()
    assert probe.grad.abs().sum() > 0


def test_state_dict_keeps_its_names():
    assert list(network().state_dict()) == list(TransUNet3D(1, 2, norm="instance", **SMALL).state_dict())


def test_a_network_without_encoder_is_refused():
    with pytest.raises(NotImplementedError, match="encoder"):
        with_feature_forward(nn.Conv3d(1, 1, 1))
