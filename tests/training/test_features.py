import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from nnunet_da.networks import TransUNet3D
from nnunet_da.training.features import bottleneck_shape, feature_shape, with_feature_forward

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


STOCK = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "conv_op": nn.Conv3d,
    "kernel_sizes": 3,
    "strides": [1, 2, 2],
    "n_conv_per_stage_decoder": 1,
    "norm_op": nn.BatchNorm3d,
    "norm_op_kwargs": {},
    "nonlin": nn.ReLU,
    "deep_supervision": True,
}
NETWORKS = {
    "transunet": lambda: TransUNet3D(1, 2, norm="batch", **SMALL),
    "transunet_pooled": lambda: TransUNet3D(1, 2, norm="batch", skip_source="pooled", **SMALL),
    "plain": lambda: PlainConvUNet(1, num_classes=2, n_conv_per_stage=1, **STOCK),
    "residual": lambda: ResidualEncoderUNet(1, num_classes=2, n_blocks_per_stage=1, **STOCK),
}


def first_scale(logits):
    return logits[0] if isinstance(logits, list) else logits


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("place", "decode_all"), [("encoder", False), ("encoder", True), ("bottleneck", True), ("output", True)])
def test_every_place_gives_the_networks_own_logits_and_features(name, place, decode_all):
    """Batch norms in training mode: also the statistics are those of the plain calls."""
    torch.manual_seed(0)
    net, x = with_feature_forward(NETWORKS[name]()), torch.randn(4, 1, 16, 16, 32)
    skips = net.encoder(x)
    stage = []
    handle = net.encoder.stages[1].register_forward_hook(lambda module, inputs, output: stage.append(output))
    net.encoder(x)
    handle.remove()
    expected = first_scale(net.decoder(skips if decode_all else [skip[:2] for skip in skips]))
    probe = torch.zeros(4 if decode_all or place == "encoder" else 2, *feature_shape(net, place, 1, (16, 16, 32)))
    logits, features, *output = net(x, n_labelled=2, with_features=True, probe=probe, place=place, decode_all=decode_all)
    assert torch.equal(first_scale(logits), expected[:2])
    assert torch.equal(features, {"encoder": stage[0], "bottleneck": skips[-1], "output": expected}[place])
    assert len(output) == decode_all
    assert not decode_all or torch.equal(output[0], expected)
    assert features.shape[1:] == feature_shape(net, place, 1, (16, 16, 32))


@pytest.mark.parametrize("name", ["transunet", "residual"])
def test_a_probe_in_the_encoder_acts_on_all_that_follows(name):
    """Moving the features of the second stage by hand moves the logits as the probe does."""
    torch.manual_seed(0)
    net, x = with_feature_forward(NETWORKS[name]()), torch.randn(2, 1, 16, 16, 32)
    probe = torch.randn(2, *feature_shape(net, "encoder", 1, (16, 16, 32)))
    moved = first_scale(net(x, with_features=True, probe=probe, place="encoder")[0])
    handle = net.encoder.stages[1].register_forward_hook(lambda module, inputs, output: output + probe)
    expected = first_scale(net(x))
    handle.remove()
    assert torch.equal(moved, expected)


def test_an_encoder_without_stages_is_refused_by_name():
    net = network()
    net.encoder = nn.Sequential(nn.Conv3d(1, 1, 1))
    with pytest.raises(NotImplementedError, match="align_at=encoder needs an encoder in stages"):
        net(torch.zeros(1, 1, 4, 4, 4), with_features=True, place="encoder")
    shallow = {**STOCK, "n_stages": 2, "features_per_stage": [4, 6], "strides": [1, 2]}
    with pytest.raises(NotImplementedError, match="three stages or more, got 2"):
        feature_shape(with_feature_forward(PlainConvUNet(1, num_classes=2, n_conv_per_stage=1, **shallow)), "encoder", 1, (8, 8, 8))


def test_state_dict_keeps_its_names():
    assert list(network().state_dict()) == list(TransUNet3D(1, 2, norm="instance", **SMALL).state_dict())


def test_a_network_without_encoder_is_refused():
    with pytest.raises(NotImplementedError, match="encoder"):
        with_feature_forward(nn.Conv3d(1, 1, 1))
