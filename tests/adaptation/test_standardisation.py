"""Running statistics of features against numpy, and that a classifier learns behind them what it cannot learn without."""

import copy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nnunet_da.adaptation import DomainClassifier, RunningStandardisation, domain_accuracy, domain_loss


def batches(count: int, size: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 3, generator=generator, dtype=torch.float64) * torch.tensor([1, 0.5, 2]) + 7 for _ in range(count)]


def test_early_statistics_are_those_of_all_samples():
    scale, given = RunningStandardisation(3, momentum=0.01).double(), batches(20)
    for batch in given:
        out = scale(batch)
    seen = torch.cat(given).numpy()
    assert_close(scale.mean.numpy(), seen.mean(axis=0))
    assert_close(scale.variance.numpy(), seen.var(axis=0))
    assert_close(out.numpy(), (given[-1].numpy() - seen.mean(axis=0)) / seen.std(axis=0))


def test_later_ones_forget():
    scale = RunningStandardisation(3, momentum=0.1).double()
    for batch in batches(300):
        scale(batch)
    for batch in batches(300, seed=1):
        scale(batch * 3 + 10)
    recent = torch.cat(batches(300, seed=1)).numpy() * 3 + 10
    assert np.all(np.abs(scale.mean.numpy() - recent.mean(axis=0)) < recent.std(axis=0))
    assert scale.variance.sqrt().numpy() == pytest.approx(recent.std(axis=0), rel=0.4)


def test_evaluation_changes_nothing():
    scale = RunningStandardisation(3).double()
    scale(batches(1)[0])
    before = copy.deepcopy(scale.state_dict())
    scale.eval()(batches(1, seed=3)[0])
    assert_close(scale.state_dict(), before)


def test_statistics_are_saved_with_the_weights():
    scale, other = RunningStandardisation(3).double(), RunningStandardisation(3).double()
    for batch in batches(5):
        scale(batch)
    other.load_state_dict(scale.state_dict())
    after = batches(1, seed=9)[0]
    assert_close(other(after), scale(after))
    assert other.batches == 6


def test_gradient_takes_the_statistics_as_numbers():
    scale = RunningStandardisation(3).double()
    scale(batches(1)[0])
    features = batches(1, seed=2)[0].requires_grad_()
    scale(features).sum().backward()
    assert_close(features.grad, (1 / scale.variance.sqrt()).expand(4, 3))


def test_no_feature_rules_the_gradient_because_it_hardly_moves():
    scale = RunningStandardisation(3)
    features = (torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 1e-6])).requires_grad_()
    scale(features).square().sum().backward()
    reach = features.grad.norm(dim=0)
    assert reach[2] < reach[0] / 1000
    never = RunningStandardisation(2)
    assert not never(torch.full((4, 2), 3.0)).any()


def test_before_the_first_batch_features_stay_what_they_are():
    scale, features = RunningStandardisation(3), torch.randn(4, 3)
    assert torch.equal(scale.eval()(features), features)
    assert scale.train()(torch.empty(0, 3)).shape == (0, 3)
    assert scale.batches == 0


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_batch_that_is_not_finite_leaves_no_trace(bad):
    scale, other = RunningStandardisation(3).double(), RunningStandardisation(3).double()
    first, last = batches(2)
    broken = first.clone()
    broken[1, 2] = bad
    for batch in (broken, first, broken, last):
        scale(batch)
    for batch in (first, last):
        other(batch)
    assert_close(scale.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_compiles_without_a_graph_break():
    scale = RunningStandardisation(3).double()
    compiled, features = torch.compile(copy.deepcopy(scale), backend="eager", fullgraph=True), batches(1)[0]
    assert_close(compiled(features), scale(features))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 4), (4, 3, 1)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        RunningStandardisation(3)(torch.zeros(shape))


@pytest.mark.parametrize("momentum", [0.0, -0.1, 1.5])
def test_refuses_a_momentum_out_of_range(momentum):
    with pytest.raises(ValueError, match="momentum"):
        RunningStandardisation(3, momentum)


def test_classifier_learns_a_site_that_moves_features_by_little():
    """Scans lie a few per cent of their size apart, and sites half of that, in 64 features."""
    generator = torch.Generator().manual_seed(0)
    typical, site = torch.rand(64, generator=generator), 0.01 * torch.randn(64, generator=generator)

    def late_accuracy(standardised: bool) -> float:
        torch.manual_seed(0)
        head, scale = DomainClassifier(64), RunningStandardisation(64) if standardised else torch.nn.Identity()
        optimizer, right = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=1e-2), []
        for _ in range(300):
            scans = typical + 0.02 * torch.randn(4, 64)
            scans[2:] += site
            logits = head(scale(scans))
            optimizer.zero_grad()
            domain_loss(logits[:2], logits[2:]).backward()
            optimizer.step()
            right.append(domain_accuracy(logits[:2], logits[2:]).item())
        return float(np.mean(right[200:]))

    assert late_accuracy(standardised=True) > late_accuracy(standardised=False) + 0.2
