"""The domain head and its loss."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from nnunet_da.adaptation import DomainClassifier, domain_accuracy, domain_loss


def test_layers_and_parameters_of_the_paper():
    head = DomainClassifier()
    hidden = [nn.Linear, nn.ReLU, nn.LayerNorm, nn.Dropout]
    assert [type(layer) for layer in head] == [*hidden, *hidden, nn.Linear]
    assert sum(p.numel() for p in head.parameters()) == 74_434
    assert head[3].p == head[7].p == 0.2
    assert head(torch.randn(3, 512)).shape == (3, 2)


def test_starts_from_xavier():
    torch.manual_seed(0)
    head = DomainClassifier()
    for layer in (layer for layer in head if isinstance(layer, nn.Linear)):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        assert not layer.bias.any()
        assert 0.9 * bound < layer.weight.abs().max() <= bound


def test_value_worked_by_hand():
    source, target = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([[0.0, 0.0]])
    expected = ((math.log(2) + math.log(4 / 3)) / 2 + math.log(2)) / 2
    assert domain_loss(source, target).item() == pytest.approx(expected, rel=1e-6)


def test_chance_is_ln_2_whatever_the_balance():
    """Adding the adversarial term twice, as the released code did, would give 1.386."""
    assert domain_loss(torch.zeros(5, 2), torch.zeros(1, 2)).item() == pytest.approx(math.log(2), rel=1e-6)


def test_source_is_index_0():
    sure = torch.tensor([[9.0, 0.0]])
    assert domain_loss(sure, sure.flip(1)) < 1e-3 < 1 < domain_loss(sure.flip(1), sure)
    assert domain_accuracy(sure, sure.flip(1)) == 1
    assert domain_accuracy(sure, sure) == 0.5


def test_equals_binary_cross_entropy_on_the_difference_of_logits():
    torch.manual_seed(0)
    source, target = torch.randn(2, 3, 2, dtype=torch.float64)
    logits = torch.cat([source, target]).diff(dim=1).squeeze(1)
    domains = torch.tensor([0.0, 0, 0, 1, 1, 1], dtype=torch.float64)
    assert_close(domain_loss(source, target), functional.binary_cross_entropy_with_logits(logits, domains))


def test_equals_cross_entropy_weighted_by_inverse_frequency():
    torch.manual_seed(0)
    source, target = torch.randn(5, 2, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    domains = torch.tensor([0] * 5 + [1] * 2)
    weight = torch.tensor([7 / 5, 7 / 2], dtype=torch.float64)
    assert_close(domain_loss(source, target), functional.cross_entropy(torch.cat([source, target]), domains, weight=weight))


@pytest.mark.parametrize(("n_source", "n_target"), [(0, 2), (2, 0), (0, 0)])
def test_a_missing_domain_gives_a_zero_with_a_graph(n_source, n_target):
    source, target = torch.randn(n_source, 2, requires_grad=True), torch.randn(n_target, 2, requires_grad=True)
    loss = domain_loss(source, target)
    loss.backward()
    assert loss.item() == 0.0
    assert not source.grad.any()
    assert not target.grad.any()


def test_half_precision_is_summed_in_float32():
    logits = torch.randn(4, 2).half()
    assert domain_loss(logits[:2], logits[2:]).dtype == torch.float32


def test_compiles_without_a_graph_break():
    source, target = torch.randn(3, 2), torch.randn(3, 2)
    compiled = torch.compile(domain_loss, backend="eager", fullgraph=True)
    assert_close(compiled(source, target), domain_loss(source, target))


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, 3)])
def test_refuses_other_shapes(logits):
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        domain_loss(logits, torch.zeros(3, 2))
