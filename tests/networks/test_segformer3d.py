"""SegFormer3D: the published size, attention by hand, and grids that are no cubes."""

import pytest
import torch
from torch.testing import assert_close

from nnunet_da.networks import SegFormer3D
from nnunet_da.networks.segformer3d import Attention, to_map, to_tokens
from nnunet_da.training.features import bottleneck_shape, with_feature_forward

TINY = {"widths": (4, 8, 10, 16), "depths": (1, 1, 1, 1), "decoder_width": 8}


def test_parameter_count():
    assert sum(p.numel() for p in SegFormer3D(1, 2).parameters()) == 4_492_066


def test_a_grid_that_is_no_cube():
    """128 x 192 x 192 gives 32 * 48 * 48 tokens, which have no cube root; here the same shape, smaller, and the issue's on no memory."""
    network = SegFormer3D(1, 3, **TINY).eval()
    assert network(torch.randn(1, 1, 64, 96, 32)).shape == (1, 3, 64, 96, 32)
    with torch.device("meta"):
        assert SegFormer3D(1, 2)(torch.empty(2, 1, 128, 192, 192)).shape == (2, 2, 128, 192, 192)


def test_maps_of_the_encoder():
    maps = SegFormer3D(1, 2).encoder(torch.randn(1, 1, 32, 64, 32))
    assert [tuple(x.shape[1:]) for x in maps] == [(32, 8, 16, 8), (64, 4, 8, 4), (160, 2, 4, 2), (256, 1, 2, 1)]


def test_tokens_keep_their_place():
    x = torch.randn(2, 3, 2, 4, 5)
    assert torch.equal(to_map(to_tokens(x), x.shape[2:]), x)
    assert torch.equal(to_tokens(x)[:, 1 * 20 + 3 * 5 + 2], x[:, :, 1, 3, 2])


def test_attention_by_hand():
    """Softmax of scaled products, one head at a time, keys from cells of 2 x 2 x 2 tokens."""
    torch.manual_seed(0)
    attention, grid = Attention(8, heads=2, reduction=2), torch.Size((2, 4, 2))
    tokens = torch.randn(1, 16, 8)
    short = attention.shorten_norm(attention.shorten(tokens[0].T.reshape(1, 8, 2, 4, 2)).reshape(8, 2).T)
    query, both = attention.query(tokens[0]), attention.key_value(short)
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = torch.softmax(query[:, head] @ both[:, :8][:, head].T / 2, dim=1)  # sqrt(4) = 2
        parts.append(weights @ both[:, 8:][:, head])
    assert_close(attention(tokens, grid)[0], attention.output(torch.cat(parts, 1)))


def test_every_parameter_receives_gradient():
    network = SegFormer3D(1, 2, **TINY)
    network(torch.randn(2, 1, 32, 64, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad.any() for name, parameter in network.named_parameters() if name.endswith("weight"))


def test_alignment_finds_its_features():
    network = with_feature_forward(SegFormer3D(1, 2, **TINY)).eval()
    x = torch.randn(3, 1, 32, 32, 64)
    logits, features = network(x, n_labelled=2, with_features=True)
    assert features.shape[1:] == bottleneck_shape(network, 1, (32, 32, 64)) == (16, 1, 1, 2)
    assert torch.allclose(logits, network(x[:2]), atol=1e-5)


def test_initialisation_is_applied_by_nnunet_too():
    network = SegFormer3D(1, 2)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    network.apply(network.initialize)
    query = network.encoder.stages[3].blocks[0].attention.query
    assert query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not query.bias.any()
    depthwise = network.encoder.stages[3].blocks[0].mlp.convolution.weight  # fan-out 27 * 1024 / 1024
    assert depthwise.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"widths": (32, 64)}, "widths must be 4"),
        ({"heads": (3, 2, 5, 8)}, "32 with 3 heads"),
        ({"reductions": (4, 3, 1, 1)}, "divisors of 8, 4, 2 and 1"),
        ({"depths": (0, 1, 1, 1)}, "depths must be 4 positive"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        SegFormer3D(1, 2, **arguments)


def test_sizes_that_are_no_multiples_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 32.*48 along Y.*fits is 64"):
        SegFormer3D(1, 2, **TINY)(torch.zeros(1, 1, 32, 48, 32))


def test_deep_supervision_is_refused():
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        SegFormer3D(1, 2, **TINY, deep_supervision=True)
