"""MMD against golden numbers, an independent double loop and its own symmetries."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nnunet_da.adaptation import mmd
from nnunet_da.adaptation.mmd import BANDWIDTHS, median_distance


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


def reference_mmd(source, target, ratios, unbiased):
    """Eq. 19 read aloud, one pair at a time, in numpy."""
    pooled = np.concatenate([source, target])
    distances = [np.linalg.norm(pooled[i] - pooled[j]) for i in range(len(pooled)) for j in range(i)]
    s = np.median(distances)

    def kernel(a, b):
        return sum(math.exp(-(np.linalg.norm(a - b) ** 2) / (2 * (ratio * s) ** 2)) for ratio in ratios)

    def within(features):
        n = len(features)
        values = [kernel(features[i], features[j]) for i in range(n) for j in range(n) if i != j or not unbiased]
        return sum(values) / (n * (n - 1) if unbiased else n * n)

    between = sum(kernel(a, b) for a in source for b in target) / (len(source) * len(target))
    return within(source) + within(target) - 2 * between


LINE = (double([[0.0], [1.0]]), double([[2.0], [3.0]]))
PLANE = (double([[0, 0], [1, 0], [0, 1]]), double([[1, 1], [2, 1], [1, 2], [2, 2]]))


@pytest.mark.parametrize(
    ("sets", "options", "expected"),
    [
        (LINE, {}, 2.380848542177792),
        (LINE, {"estimator": "biased"}, 4.0695664643253435),
        (LINE, {"aggregate": "mean"}, 0.4761697084355585),
        (LINE, {"bandwidths": "dan"}, 2.9259361604993988),
        (LINE, {"bandwidths": "dan", "estimator": "biased"}, 4.232107292924313),
        (PLANE, {}, 1.7570607548475943),
        (PLANE, {"estimator": "biased"}, 2.9067801603151597),
        ((LINE[0], LINE[0]), {}, -2.3639567508320214),  # legitimately negative: no clamp
        ((LINE[0], LINE[0]), {"estimator": "biased"}, 0.0),
    ],
)
def test_golden_numbers(sets, options, expected):
    assert mmd(*sets, **options).item() == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("bandwidths", ["paper", "dan"])
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize(("n_source", "n_target"), [(2, 2), (3, 5), (6, 2)])
def test_equals_a_double_loop(bandwidths, estimator, n_source, n_target):
    generator = np.random.default_rng(n_source)
    source, target = generator.normal(size=(n_source, 7)), generator.normal(1.0, 2.0, size=(n_target, 7))
    expected = reference_mmd(source, target, BANDWIDTHS[bandwidths], estimator == "unbiased")
    value = mmd(torch.tensor(source), torch.tensor(target), bandwidths=bandwidths, estimator=estimator)
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_median_is_over_distinct_pairs_and_midway_between_two_middle_values():
    points = torch.cat(LINE)  # distances 1 1 1 2 2 3
    assert median_distance((points - points.T).square()).item() == 1.5


def test_unchanged_when_all_features_are_scaled_or_moved():
    torch.manual_seed(0)
    source, target = torch.randn(3, 8, dtype=torch.float64), torch.randn(4, 8, dtype=torch.float64) + 1
    assert_close(mmd(10 * source, 10 * target), mmd(source, target))
    assert_close(mmd(source - 5, target - 5), mmd(source, target))
    assert_close(mmd(target, source), mmd(source, target))


def test_unbiased_estimate_has_mean_zero_for_one_distribution():
    torch.manual_seed(0)
    values = torch.stack([mmd(*torch.randn(2, 3, 4, dtype=torch.float64)) for _ in range(800)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    biased = torch.stack([mmd(*torch.randn(2, 3, 4), estimator="biased") for _ in range(20)])
    assert (biased > 0).all()


def test_a_step_against_the_gradient_pulls_the_domains_together():
    torch.manual_seed(0)
    source = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    target = (torch.randn(4, 6, dtype=torch.float64) + 2).requires_grad_()
    value = mmd(source, target)
    to_source, to_target = torch.autograd.grad(value, [source, target])
    direction = (target.mean(0) - source.mean(0)).detach()
    assert (-to_source.mean(0)) @ direction > 0  # descent moves the source towards the target
    assert (-to_target.mean(0)) @ direction < 0
    assert mmd(source - 0.1 * to_source, target - 0.1 * to_target) < value


def test_gradient_treats_the_bandwidth_as_constant():
    """Finite differences of Eq. 19 with s frozen; a gradient through s would differ."""
    source, target = (features.clone().requires_grad_() for features in PLANE)
    (gradient,) = torch.autograd.grad(mmd(source, target), source)
    s = math.sqrt(2)

    def frozen(moved):
        pooled = torch.cat([moved, PLANE[1]])
        squared = torch.cdist(pooled, pooled).square()
        kernel = sum(torch.exp(-squared / (2 * (ratio * s) ** 2)) for ratio in BANDWIDTHS["paper"])
        off_diagonal = kernel - torch.diag(kernel.diagonal())
        return off_diagonal[:3, :3].sum() / 6 + off_diagonal[3:, 3:].sum() / 12 - 2 * kernel[:3, 3:].mean()

    step = torch.zeros_like(PLANE[0])
    step[0, 1] = 1e-6
    numeric = (frozen(PLANE[0] + step) - frozen(PLANE[0] - step)) / 2e-6
    assert gradient[0, 1].item() == pytest.approx(numeric.item(), rel=1e-6)


def test_gradient_is_exact_for_features_that_touch():
    source = double([[0.0, 0.0], [0.0, 0.0]]).requires_grad_()  # a root of the distance would have no gradient here
    target = double([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]]).requires_grad_()
    mmd(source, target).backward()
    assert source.grad.isfinite().all()
    assert target.grad.isfinite().all()
    assert target.grad[1].abs().sum() > 0


def test_identical_features_give_zero_and_no_gradient():
    source, target = torch.ones(2, 5, requires_grad=True), torch.ones(3, 5, requires_grad=True)
    value = mmd(source, target)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    assert not source.grad.any()
    assert not target.grad.any()


def test_zero_median_falls_back_to_the_mean_distance():
    source, target = double([[0.0]] * 4), double([[0.0], [3.0]])  # 10 of 15 distances are 0, the others 3: mean 1
    points = torch.cat([source, target])
    assert median_distance((points - points.T).square()).item() == 1.0
    assert mmd(source, target).isfinite()


@pytest.mark.parametrize(("n_source", "n_target"), [(0, 3), (3, 0), (0, 0)])
def test_a_side_without_samples_gives_a_zero_with_a_graph(n_source, n_target):
    source, target = torch.randn(n_source, 4, requires_grad=True), torch.randn(n_target, 4, requires_grad=True)
    value = mmd(source, target)
    value.backward()
    assert value.item() == 0.0
    assert not source.grad.any()
    assert not target.grad.any()


@pytest.mark.parametrize(("n_source", "n_target"), [(1, 3), (3, 1), (1, 1)])
def test_one_sample_on_a_side_is_biased_with_a_warning(n_source, n_target):
    torch.manual_seed(0)
    source, target = torch.randn(n_source, 4, requires_grad=True), torch.randn(n_target, 4)
    with pytest.warns(UserWarning, match=f"got {n_source} source and {n_target} target"):
        value = mmd(source, target)
    assert_close(value, mmd(source, target, estimator="biased"))
    value.backward()
    assert source.grad.any()


def test_half_precision_and_autocast_compute_in_float32():
    torch.manual_seed(0)
    source, target = torch.randn(3, 512).half(), torch.randn(3, 512).half()
    expected = mmd(source.double(), target.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = mmd(source, target)
    assert value.dtype == torch.float32
    assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)
    assert expected.dtype == torch.float64


def test_small_differences_survive_a_large_common_offset():
    torch.manual_seed(0)
    source, target = torch.randn(4, 16) + 1000, torch.randn(4, 16) + 1001  # |a|^2 + |b|^2 - 2ab would lose them
    assert_close(mmd(source, target).double(), mmd(source.double(), target.double()), rtol=1e-5, atol=1e-5)


def test_compiles_without_a_graph_break():
    torch.manual_seed(0)
    source, target = torch.randn(2, 8, requires_grad=True), torch.randn(3, 8)
    compiled = torch.compile(mmd, backend="aot_eager", fullgraph=True)
    assert_close(compiled(source, target), mmd(source, target))
    compiled(source, target).backward()
    assert source.grad.any()
    one = torch.compile(mmd, backend="eager", fullgraph=True)(source[:1], target)
    assert_close(one, mmd(source[:1], target, estimator="biased"))


@pytest.mark.parametrize(
    ("source", "target", "options", "words"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), {}, r"\(2, 3\) and \(2, 4\)"),
        (torch.zeros(2, 3, 1, 1, 1), torch.zeros(2, 3), {}, "Pool the maps"),
        (torch.zeros(2, 3), torch.zeros(2, 3), {"bandwidths": "median"}, "paper, dan, got 'median'"),
        (torch.zeros(2, 3), torch.zeros(2, 3), {"estimator": "u"}, "unbiased, biased"),
        (torch.zeros(2, 3), torch.zeros(2, 3), {"aggregate": "max"}, "sum, mean"),
    ],
)
def test_refuses(source, target, options, words):
    with pytest.raises(ValueError, match=words):
        mmd(source, target, **options)
