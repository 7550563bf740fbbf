"""TransUNet3D: the paper's counts and shapes, positions, checkpointing, compile, AMP, and what nnU-Net does to a network."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from nnunet_da.adaptation import mmd
from nnunet_da.networks import TransUNet3D

SMALL = {"base_channels": 4, "vit_patch": 2, "depth": 2, "width": 16, "heads": 4, "mlp_width": 32}
PATCH = (16, 32, 48)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(patch_size=PATCH, **changes):
    return TransUNet3D(1, 2, patch_size, **{**SMALL, **changes})


def count(module):
    return sum(p.numel() for p in module.parameters())


def gradients(network, x):
    network.zero_grad()
    torch.manual_seed(1)  # dropout
    network(x).square().mean().backward()
    return [p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize(
    ("conv_bias", "encoder", "decoder", "network"),
    [(False, 858_848, 3_208_064, 56_551_074), (True, 859_296, 3_208_512, 56_551_970)],
)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_parameters_of_the_paper(conv_bias, encoder, decoder, network, norm):
    with torch.device("meta"):
        model = TransUNet3D(1, 2, (192, 192, 192), conv_bias=conv_bias, norm=norm)
    transformer = model.encoder.transformer
    assert count(model.encoder.stages) == encoder
    assert count(transformer.embedding) == 33_554_944
    assert transformer.positions.shape == (1, 27, 512)
    assert [count(block) for block in transformer.blocks] == [3_152_384] * 6
    assert count(transformer.norm) == 1_024
    assert count(transformer) == 52_484_096
    assert count(model.decoder.stages) == decoder
    assert count(model.decoder.seg_layers) == 66
    assert count(model) == network


def test_shapes_of_the_paper():
    with torch.device("meta"):
        model = TransUNet3D(1, 2, (192, 192, 192))
        features = model.encoder(torch.empty(4, 1, 192, 192, 192))
        assert [tuple(f.shape) for f in features] == [
            (4, 32, 192, 192, 192),
            (4, 64, 96, 96, 96),
            (4, 128, 48, 48, 48),
            (4, 512, 3, 3, 3),
        ]
        assert model.decoder([f[:2] for f in features]).shape == (2, 2, 192, 192, 192)
    assert model.encoder.output_channels == [32, 64, 128, 512]
    assert model.decoder.stages[0][0].in_channels == 512 + 128


def test_pooled_skips():
    with torch.device("meta"):
        model = TransUNet3D(1, 2, (192, 192, 192), skip_source="pooled")
        assert count(model) == 61_556_386
        features = model.encoder(torch.empty(1, 1, 64, 64, 64))
        assert [tuple(f.shape[1:3]) for f in features] == [(32, 32), (64, 16), (128, 8), (512, 1)]
        assert model.decoder(features).shape == (1, 2, 64, 64, 64)


@pytest.mark.parametrize(("patch_size", "vit_patch"), [((32, 48, 48), 2), ((16, 32, 48), [1, 2, 3]), ((64, 64, 64), 8)])
def test_anisotropic_patches(patch_size, vit_patch):
    network = small(patch_size, vit_patch=vit_patch).eval()
    assert network(torch.randn(1, 1, *patch_size)).shape == (1, 2, *patch_size)


def test_arguments_survive_json():
    arguments = json.loads(
        json.dumps({**SMALL, "patch_size": PATCH, "vit_patch": [2, 2, 2], "norm": "instance", "deep_supervision": False})
    )
    assert TransUNet3D(input_channels=1, num_classes=2, **arguments)(torch.randn(1, 1, *PATCH)).shape == (1, 2, *PATCH)


def test_stock_nnunet_builds_it_from_plans():
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    path = "nnunet_da.networks.transunet3d.TransUNet3D"
    network = get_network_from_plans(path, {**SMALL, "patch_size": list(PATCH)}, [], 1, 3, allow_init=True, deep_supervision=False)
    assert type(network) is TransUNet3D
    assert network.eval()(torch.randn(1, 1, *PATCH)).shape == (1, 3, *PATCH)
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        get_network_from_plans(path, {**SMALL, "patch_size": list(PATCH)}, [], 1, 3, deep_supervision=True)


def test_stock_pretrained_weights_fit_another_number_of_classes(tmp_path):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    trained, fresh = small(), TransUNet3D(1, 5, PATCH, **SMALL)
    torch.save({"network_weights": trained.state_dict()}, tmp_path / "checkpoint.pth")
    load_pretrained_weights(fresh, str(tmp_path / "checkpoint.pth"))
    assert torch.equal(fresh.encoder.stages[0][0].weight, trained.encoder.stages[0][0].weight)
    assert torch.equal(fresh.decoder.stages[2][0].weight, trained.decoder.stages[2][0].weight)


def test_forward_is_decoder_of_encoder_and_keeps_samples_apart():
    network, x = small().eval(), torch.randn(3, 1, *PATCH)
    features = network.encoder(x)
    assert torch.equal(network(x), network.decoder(features))
    assert_close(network.decoder([f[:1] for f in features]), network(x[:1]))


def test_batch_norm_sees_both_domains_together():
    network, x = small(dropout=0.0), torch.randn(2, 1, *PATCH) * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    assert not torch.allclose(network.encoder(x)[0][:1], network.encoder(x[:1])[0])
    instance = small(norm="instance")
    assert_close(instance.encoder(x)[0][:1], instance.encoder(x[:1])[0])


@pytest.mark.parametrize("factor", [2, 8])
def test_token_mean_is_the_pooled_interpolated_map(factor):
    grid = small().eval().encoder(torch.randn(2, 1, *PATCH))[-1]
    tokens = grid.mean(dim=(2, 3, 4))
    for align_corners, same in ((False, True), (True, False)):
        map_ = functional.interpolate(grid, scale_factor=factor, mode="trilinear", align_corners=align_corners)
        assert torch.allclose(tokens, map_.mean(dim=(2, 3, 4)), atol=1e-6) == same


def test_grid_keeps_the_order_of_space():
    """A bright corner must move the token of that corner; depth 0 leaves no attention to spread it."""
    network = small(depth=0).eval()
    x = torch.randn(1, 1, *PATCH)
    changed = x.clone()
    changed[..., :2, -2:, 20:22] += 5
    difference = (network.encoder(x)[-1] - network.encoder(changed)[-1]).abs().sum(dim=1)[0]  # grid 1 x 2 x 3
    assert difference.argmax().item() == 4  # (0, 1, 1)


def test_attention_mixes_tokens():
    network, x = small().eval(), torch.randn(1, 1, *PATCH)
    changed = x.clone()
    changed[..., :2] += 5
    assert ((network.encoder(x)[-1] - network.encoder(changed)[-1])[..., -1].abs() > 0).any()


def test_block_equals_torch_transformer_layer():
    block = small().encoder.transformer.blocks[0].eval()
    layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=True, layer_norm_eps=1e-6).eval()
    pairs = [
        (layer.self_attn.in_proj_weight, block.query_key_value.weight),
        (layer.self_attn.in_proj_bias, block.query_key_value.bias),
        (layer.self_attn.out_proj.weight, block.attention_out[0].weight),
        (layer.linear1.weight, block.mlp[0].weight),
        (layer.linear2.weight, block.mlp[3].weight),
        (layer.linear1.bias, block.mlp[0].bias),
    ]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter) / 4)
        for theirs, ours in pairs:
            theirs.copy_(ours)
        for name in ("weight", "bias"):
            getattr(layer.norm1, name).copy_(getattr(block.norm_attention, name))
            getattr(layer.norm2, name).copy_(getattr(block.norm_mlp, name))
        layer.self_attn.out_proj.bias.copy_(block.attention_out[0].bias)
        layer.linear2.bias.copy_(block.mlp[3].bias)
    tokens = torch.randn(2, 6, 16)
    assert_close(block(tokens), layer(tokens), rtol=1e-4, atol=1e-5)


def test_positions_start_at_zero_and_are_interpolated_on_another_grid():
    transformer = small((32, 32, 32)).eval().encoder.transformer  # grid 2 x 2 x 2
    assert not transformer.positions.any()
    ramp = torch.arange(8.0).view(1, 8, 1).expand(1, 8, 16)
    with torch.no_grad():
        transformer.positions.copy_(ramp)
    assert transformer._positions_on((2, 2, 2)) is transformer.positions
    on_longer = transformer._positions_on((2, 2, 4))[0, :, 0].view(2, 2, 4)
    assert_close(on_longer[0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))  # x by hand
    assert_close(on_longer[:, 0, 0], torch.tensor([0.0, 4.0]))  # z stays


def test_inference_on_another_size():
    network = small().eval()
    assert network(torch.randn(1, 1, 32, 16, 64)).shape == (1, 2, 32, 16, 64)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_checkpointing_changes_no_bit(norm):
    """Gradients, logits and BatchNorm's running statistics, which a recomputed forward would update twice; with dropout."""
    plain, saving = small(norm=norm), small(norm=norm, activation_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 1, *PATCH)
    for expected, value in zip(gradients(plain, x), gradients(saving, x), strict=True):
        assert torch.equal(expected, value)
    for expected, value in zip(plain.state_dict().values(), saving.state_dict().values(), strict=True):
        assert torch.equal(expected, value)
    momenta = {m.momentum for m in saving.modules() if isinstance(m, nn.BatchNorm3d)}
    assert momenta <= {0.1}


def test_checkpointing_saves_less_for_the_backward_pass():
    def saved_elements(network):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(x)
        return total

    x = torch.randn(1, 1, *PATCH)
    assert saved_elements(small(activation_checkpointing=True)) < 0.35 * saved_elements(small())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"norm": "instance"}, {"activation_checkpointing": True}, {"skip_source": "pooled"}])
def test_compiles_without_a_graph_break(changes):
    network = small(dropout=0.0, **changes).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x = torch.randn(2, 1, *PATCH, dtype=torch.float64)
    expected = gradients(network, x)
    after = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(before)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    for eager, value in zip(expected, gradients(compiled, x), strict=True):
        assert_close(value, eager)
    assert_close(network.state_dict(), after)  # the running statistics moved once
    network.eval()
    assert_close(torch.compile(network, backend="eager", fullgraph=True)(x), network(x))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_amp(checkpointing):
    network, x = small(dropout=0.0, activation_checkpointing=checkpointing), torch.randn(2, 1, *PATCH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(x)
    logits.float().square().mean().backward()
    assert logits.dtype == torch.bfloat16
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert (logits.float() - network(x)).abs().mean() < 0.05 * logits.float().std()


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_alignment_reaches_the_encoder_and_not_the_decoder(norm):
    """The released code detaches the features of MMD; and a mean right after InstanceNorm would be constant."""
    network = small(norm=norm)
    pooled = network.encoder(torch.randn(4, 1, *PATCH))[-1].mean(dim=(2, 3, 4))
    mmd(pooled[:2], pooled[2:]).backward()
    assert network.encoder.stages[0][0].weight.grad.abs().max() > 1e-6
    assert network.encoder.transformer.blocks[0].mlp[0].weight.grad.any()
    assert all(p.grad is None for p in network.decoder.parameters())


def test_every_parameter_gets_a_gradient():
    network = small(conv_bias=True, norm="instance")
    unused = [
        name for (name, p), g in zip(network.named_parameters(), gradients(network, torch.randn(2, 1, *PATCH)), strict=True) if not g.any()
    ]
    assert all(name.endswith("bias") for name in unused)  # a norm takes a bias away again


def test_dropout_is_active_in_training_only():
    network, x = small(dropout=0.5), torch.randn(2, 1, *PATCH)
    assert not torch.equal(network.encoder(x)[-1], network.encoder(x)[-1])
    network.eval()
    assert torch.equal(network(x), network(x))
    assert {m.p for m in TransUNet3D(1, 2, PATCH, **{**SMALL, "depth": 1}).modules() if isinstance(m, nn.Dropout)} == {0.1}


def test_initialisation():
    network = TransUNet3D(1, 2, (32, 32, 32), vit_patch=2, depth=1, width=128, heads=4, mlp_width=256)
    network.apply(network.initialize)  # as nnU-Net does
    transformer, convolution = network.encoder.transformer, network.encoder.stages[2][3]
    assert convolution.weight.std().item() == pytest.approx((2 / (128 * 27)) ** 0.5, rel=0.02)  # He on the fan-in
    assert transformer.blocks[0].mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.03)
    fan = 128 * 8 + 128
    assert transformer.embedding.projection.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.03)  # Xavier
    assert not transformer.embedding.projection.bias.any()


def test_feature_map_size_counts_what_the_layers_write():
    network, written = small(), 0

    def add(_module, _inputs, output):
        nonlocal written
        written += output.numel()

    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            module.register_forward_hook(add)
    network.eval()(torch.zeros(1, 1, *PATCH))
    assert network.compute_conv_feature_map_size(PATCH) == written
    with torch.device("meta"):
        pooled = small(skip_source="pooled")
    assert pooled.compute_conv_feature_map_size(PATCH) > 0


def test_nnunet_can_switch_deep_supervision_off_but_not_on():
    network = small()
    network.decoder.deep_supervision = False
    assert network.decoder.deep_supervision is False
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        network.decoder.deep_supervision = True
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        small(deep_supervision=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch_size": (16, 40, 48)}, r"axis Y is 40.*multiple of 16 .*fits is 48"),
        ({"patch_size": (8, 32, 48)}, r"axis Z is 8.*fits is 16"),
        ({"patch_size": (32, 48)}, "3D configurations only"),
        ({"vit_patch": [2, 2]}, "vit_patch must be three"),
        ({"vit_patch": 0}, "positive"),
        ({"norm": "group"}, "batch, instance, got 'group'"),
        ({"skip_source": "after"}, "before_pool, pooled, got 'after'"),
        ({"width": 18}, "width 18 and heads 4"),
    ],
)
def test_refuses_arguments(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes)


@pytest.mark.parametrize(("size", "words"), [((16, 32, 40), r"axis X is 40.*fits is 48"), ((16, 32), "three axes")])
def test_refuses_inputs(size, words):
    with pytest.raises(ValueError, match=words):
        small()(torch.zeros(1, 1, *size))


def test_never_imports_nnunet():
    code = "import sys, nnunet_da.networks, nnunet_da.adaptation, nnunet_da.losses; sys.exit('nnunetv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
