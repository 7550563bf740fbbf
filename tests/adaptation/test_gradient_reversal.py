"""Gradient reversal: identity forwards, exactly -strength backwards, and only where it stands."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nnunet_da.adaptation import DomainClassifier, domain_loss, ganin_strength, gradient_reversal


def flattened_gradients(loss, module):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)])


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, torch.tensor(0.25)])
def test_identity_forwards_and_minus_strength_backwards(strength):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    y = gradient_reversal(x, strength)
    assert torch.equal(x, y)
    (gradient,) = torch.autograd.grad((y**3).sum(), x)
    assert torch.equal(gradient, -strength * 3 * x.detach() ** 2)


def test_half_precision_keeps_its_type():
    x = torch.randn(3, dtype=torch.bfloat16, requires_grad=True)
    gradient_reversal(x, torch.tensor(0.5)).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert (x.grad == -0.5).all()


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_turns_the_encoder_only_and_leaves_head_and_segmentation(strength):
    """The whole scheme in small: a reversal in the trunk, a missing one or a doubled adversarial term changes a number here."""
    torch.manual_seed(0)
    encoder, segment, head = nn.Linear(5, 512), nn.Linear(512, 2), DomainClassifier().eval()
    encoder, segment, head = encoder.double(), segment.double(), head.double()
    x, labels = torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 1])

    def losses(reverse):
        features = encoder(x)
        logits = head(reverse(features))
        return nn.functional.cross_entropy(segment(features[:2]), labels), domain_loss(logits[:2], logits[2:])

    segmentation, plain = losses(lambda features: features)
    _, adversarial = losses(lambda features: gradient_reversal(features, strength))
    assert_close(flattened_gradients(adversarial, encoder), -strength * flattened_gradients(plain, encoder))
    assert torch.equal(flattened_gradients(adversarial, head), flattened_gradients(plain, head))
    total = flattened_gradients(sum(losses(lambda features: gradient_reversal(features, strength))), encoder)
    assert_close(total, flattened_gradients(segmentation, encoder) - strength * flattened_gradients(plain, encoder))
    assert flattened_gradients(plain, encoder).abs().sum() > 0


def test_a_step_makes_the_domains_harder_to_tell_apart():
    torch.manual_seed(0)
    features = torch.randn(8, 512, requires_grad=True)
    head = DomainClassifier().eval()
    logits = head(gradient_reversal(features, 1.0))
    loss = domain_loss(logits[:4], logits[4:])
    loss.backward()
    moved = head(features - 0.1 * features.grad)
    assert domain_loss(moved[:4], moved[4:]) > loss


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.1, 0.462117), (0.25, 0.848284), (0.5, 0.986614), (1.0, 0.999909)])
def test_schedule(progress, expected):
    assert ganin_strength(progress) == pytest.approx(expected, abs=5e-7)
    assert ganin_strength(progress, maximum=0.5) == pytest.approx(expected / 2, abs=5e-7)


def test_compiles_without_a_graph_break_and_follows_a_changing_strength():
    compiled = torch.compile(lambda x, strength: gradient_reversal(x * 2, strength).square().sum(), backend="aot_eager", fullgraph=True)
    for strength in (torch.tensor(0.5), torch.tensor(0.7), 0.25):
        x = torch.randn(4, requires_grad=True)
        compiled(x, strength).backward()
        assert_close(x.grad, -8 * strength * x.detach())


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf"), torch.ones(2)])
def test_refuses_a_strength(strength):
    with pytest.raises(ValueError, match="strength must be"):
        gradient_reversal(torch.zeros(1), strength)


@pytest.mark.parametrize("progress", [-0.01, 1.01, float("nan")])
def test_refuses_progress(progress):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        ganin_strength(progress)
