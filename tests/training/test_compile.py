"""torch.compile of the very call of a training step: one graph, and the logits, features and gradients of the plain network."""

import copy
import json

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

from nnunet_da import paths
from nnunet_da.networks import TransUNet3D
from nnunet_da.training.alignment import Alignment
from nnunet_da.training.features import feature_shape, with_feature_forward

PATCH, DEFAULT = (16, 16, 32), Alignment()
inductor = pytest.param("inductor", marks=pytest.mark.slow)


def stock(deep_supervision):
    return PlainConvUNet(
        1,
        3,
        features_per_stage=[4, 8, 16],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2],
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=deep_supervision,
    )


def transunet(norm, checkpointing):
    transformer = {"vit_patch": 2, "depth": 2, "width": 16, "heads": 2, "mlp_width": 32, "dropout": 0.0}
    return TransUNet3D(1, 2, PATCH, norm=norm, base_channels=4, activation_checkpointing=checkpointing, **transformer)


NETWORKS = {
    "stock": lambda: stock(True),
    "stock_without_deep_supervision": lambda: stock(False),
    "transunet_instance": lambda: transunet("instance", False),
    "transunet_instance_checkpointing": lambda: transunet("instance", True),
    "transunet_batch_checkpointing": lambda: transunet("batch", True),
}


def step(network, call, images, alignment):
    """Logits, features, gradient of every weight and of the probe."""
    shape = feature_shape(network, alignment.place, 1, PATCH)
    probe = torch.zeros(alignment.probed(2, 4), *shape, device=images.device, requires_grad=True)
    logits, features, _ = alignment.forward(call, images, 2, probe)
    scales = logits if isinstance(logits, (list, tuple)) else [logits]
    alignment = features.mean((2, 3, 4)).square().sum()
    (gradient,) = torch.autograd.grad(alignment, features, retain_graph=True)  # the trainer's own order: each term, then all together
    (sum(scale.square().mean() for scale in scales) + alignment).backward()
    return [*scales, features, gradient, probe.grad, *(p.grad for p in network.parameters() if p.grad is not None)]


def check_compiled(network, backend, device="cpu", alignment=DEFAULT):
    network = with_feature_forward(network).to(device)
    same = copy.deepcopy(network)
    images = torch.randn(4, 1, *PATCH, device=device)
    compiled = torch.compile(same, backend=backend, fullgraph=True)  # fullgraph: a graph break is an error
    received, expected = step(same, compiled, images, alignment), step(network, network, images, alignment)
    received += [buffer.float() for buffer in same.buffers()]
    expected += [buffer.float() for buffer in network.buffers()]
    for tensor, wanted in zip(received, expected, strict=True):  # fused sums move single elements near a kink by more
        assert (tensor - wanted).norm() < 1e-3 * wanted.norm() + 1e-5


@pytest.mark.parametrize("backend", ["aot_eager", inductor])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name.startswith("transunet_") else name for name in NETWORKS],
)
def test_one_graph_with_the_plain_result(name, backend):
    torch._dynamo.reset()
    torch.manual_seed(0)
    check_compiled(NETWORKS[name](), backend)


@pytest.mark.parametrize("backend", ["aot_eager"])
@pytest.mark.parametrize("name", ["stock", pytest.param("transunet_batch_checkpointing", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("place", "pooling"), [("encoder", "mean"), ("bottleneck", "class_mean"), ("output", "mean")])
def test_one_graph_wherever_features_are_aligned(name, backend, place, pooling):
    torch._dynamo.reset()
    torch.manual_seed(0)
    check_compiled(NETWORKS[name](), backend, alignment=Alignment(place, pooling))


def test_the_192_preset_recomputes_its_activations():
    preset = json.loads((paths.plans_dir() / "pf_daformer_paper.json").read_text())
    assert preset["patch_size"] == [192, 192, 192]
    assert preset["network"]["arch_kwargs"]["activation_checkpointing"] is True
