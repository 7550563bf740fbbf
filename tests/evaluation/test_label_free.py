import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch.testing import assert_close

from nnunet_da.evaluation import label_free, overlap
from nnunet_da.evaluation.label_free import NAMES, LabelFreeScores, dilated, foreground, perturbed, voxel_entropy

H_QUARTER = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))  # 0.8113 bits
UNSURE = math.log(3.0)  # logit of 3 to 1


def logits_of(foreground_logit: torch.Tensor) -> torch.Tensor:
    """(Z, Y, X) logits of foreground against background -> (1, 2, Z, Y, X)."""
    return torch.stack([torch.zeros_like(foreground_logit), foreground_logit])[None]


def scores(logits, changed=None, inside=None, regions=False) -> dict[str, float]:
    result = LabelFreeScores(regions)
    inside = torch.ones(len(logits), 1, *logits.shape[2:]) if inside is None else inside
    result.update(logits, logits if changed is None else changed, inside)
    return result.values()


def sure(mask: torch.Tensor) -> torch.Tensor:
    return logits_of(torch.where(mask, 50.0, -50.0))


def box(*slices: slice) -> torch.Tensor:
    mask = torch.zeros(9, 9, 9, dtype=torch.bool)
    mask[slices] = True
    return mask


# --- entropy


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [([1.0, 0.0], 0.0), ([0.5, 0.5], 1.0), ([0.25, 0.75], H_QUARTER), ([0.25] * 4, 1.0), ([0.5, 0.5, 0.0, 0.0], 0.5)],
)
def test_softmax_entropy_by_hand(distribution, expected):
    assert voxel_entropy(torch.tensor([distribution]), regions=False).item() == pytest.approx(expected, abs=1e-6)


def test_region_entropy_is_the_mean_of_binary_ones():
    assert voxel_entropy(torch.tensor([[0.5, 1.0, 0.25]]), regions=True).item() == pytest.approx((1 + 0 + H_QUARTER) / 3)


def test_entropy_is_taken_near_the_foreground():
    """One voxel found at 3 to 1, all others surely background: the 5 x 5 x 5 voxels around it count, not the 729 of the patch."""
    logit = torch.full((9, 9, 9), -50.0)
    logit[4, 4, 4] = UNSURE
    assert scores(logits_of(logit))["target_entropy"] == pytest.approx(H_QUARTER / 5**3)


def test_more_background_does_not_make_it_more_certain():
    small, large = torch.full((9, 9, 9), -50.0), torch.full((21, 21, 21), -50.0)
    small[4, 4, 4], large[10, 10, 10] = UNSURE, UNSURE
    assert scores(logits_of(small))["target_entropy"] == pytest.approx(scores(logits_of(large))["target_entropy"])


def test_padding_counts_nowhere():
    logit = torch.full((9, 9, 9), -50.0)
    logit[4, 4, 4] = UNSURE
    logit[:4] = 50.0  # a bright mistake in the padding
    inside = torch.ones(1, 1, 9, 9, 9)
    inside[:, :, :4] = 0
    values = scores(logits_of(logit), inside=inside)
    assert values["target_entropy"] == pytest.approx(H_QUARTER / (3 * 5 * 5))  # slices 4, 5 and 6 of the 5
    assert values["target_foreground"] == pytest.approx(1 / (5 * 81))
    assert values["target_agreement"] == 1


# --- agreement


def test_agreement_is_the_dice_of_the_two_segmentations():
    first, second = sure(box(slice(0, 4))), sure(box(slice(1, 4)))
    assert scores(first, second)["target_agreement"] == pytest.approx(2 * 3 / (4 + 3))


def test_agreement_pools_patches_and_averages_labels():
    """Label 1: 2 and 4 voxels of which 2 agree in patch one, nothing in patch two. Label 2: lost. Label 3: seen by neither."""
    first, second = torch.zeros(2, 4, 1, 1, 8), torch.zeros(2, 4, 1, 1, 8)
    first[:, 0], second[:, 0] = 5, 5
    first[0, 1, 0, 0, :2], second[0, 1, 0, 0, :4] = 50, 50
    first[1, 2, 0, 0, 5] = 50
    assert scores(first, second)["target_agreement"] == pytest.approx((2 * 2 / (2 + 4) + 0) / 2)


def test_losing_everything_under_the_change_is_no_agreement():
    assert scores(sure(box(slice(0, 4))), sure(box(slice(0, 0))))["target_agreement"] == 0


# --- information


def test_information_by_hand():
    half, a_third = sure(box(slice(0, 9), slice(0, 9), slice(0, 4))), sure(box(slice(0, 3)))
    share = 4 / 9
    assert scores(half)["target_information"] == pytest.approx(-share * math.log2(share) - (1 - share) * math.log2(1 - share), abs=1e-6)
    assert scores(a_third)["target_information"] == pytest.approx(-(math.log2(1 / 3) + 2 * math.log2(2 / 3)) / 3, abs=1e-6)
    assert scores(torch.zeros(1, 2, 4, 4, 4))["target_information"] == pytest.approx(0, abs=1e-6)  # undecided everywhere


# --- special values


def test_finding_nothing_is_never_a_good_score():
    values = scores(sure(box(slice(0, 0))))
    assert math.isnan(values["target_entropy"])
    assert math.isnan(values["target_agreement"])
    assert values["target_information"] == pytest.approx(0, abs=1e-6)
    assert values["target_foreground"] == 0


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_to_measure_is_undefined(empty):
    result = LabelFreeScores(regions=False)
    if not empty:
        result.update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))
    assert list(result.values()) == list(NAMES)
    assert all(math.isnan(value) for value in result.values().values())


def test_one_batch_or_two_updates_are_the_same():
    torch.manual_seed(0)
    logits, changed, inside = torch.randn(4, 3, 6, 6, 6), torch.randn(4, 3, 6, 6, 6), torch.rand(4, 1, 6, 6, 6) > 0.3
    together, apart = LabelFreeScores(False), LabelFreeScores(False)
    together.update(logits, changed, inside)
    apart.update(logits[:1], changed[:1], inside[:1])
    apart.update(logits[1:], changed[1:], inside[1:])
    assert together.values() == pytest.approx(apart.values(), rel=1e-6)


# --- against SciPy and the package's own Dice


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("size", [(12, 10), (9, 8, 7)])
def test_against_an_independent_implementation(regions, size):
    generator = torch.Generator().manual_seed(3)
    logits, changed = (
        3 * torch.randn(2, 3, *size, generator=generator) - torch.tensor([0, 2, 2]).view(1, 3, *[1] * len(size)) for _ in "ab"
    )
    inside = torch.rand(2, 1, *size, generator=generator) > 0.2
    values = scores(logits, changed, inside, regions)

    def masks(x):
        return (1 / (1 + np.exp(-x)) > 0.5) if regions else np.stack([x.argmax(1) == k for k in (1, 2)], 1)

    x, y, scan = logits.double().numpy(), changed.double().numpy(), inside.numpy()[:, 0]
    p = 1 / (1 + np.exp(-x)) if regions else np.exp(x) / np.exp(x).sum(1, keepdims=True)
    h = scipy.stats.entropy(np.stack([p, 1 - p]), base=2).mean(1) if regions else scipy.stats.entropy(p, base=3, axis=1)
    marginal = np.array([p[:, k][scan].mean() for k in range(3)])
    h_marginal = (
        scipy.stats.entropy(np.stack([marginal, 1 - marginal]), base=2).mean() if regions else scipy.stats.entropy(marginal, base=3)
    )
    found, found_changed = masks(x) & scan[:, None], masks(y) & scan[:, None]
    structure = np.ones([5] * len(size))
    near = np.stack([scipy.ndimage.binary_dilation(sample.any(0), structure) for sample in found]) & scan
    dice = [overlap(found[:, k].reshape(2, -1), found_changed[:, k].reshape(2, -1)).dice for k in range(found.shape[1])]
    assert values == pytest.approx(
        {
            "target_entropy": h[near].mean(),
            "target_agreement": np.mean(dice),
            "target_information": h_marginal - h[scan].mean(),
            "target_foreground": found.any(1).sum() / scan.sum(),
        },
        rel=1e-4,
    )
    assert 0 < near.mean() < 1


def test_half_precision_is_no_other_score():
    torch.manual_seed(1)
    logits = torch.randn(1, 2, 8, 8, 8).half()
    assert scores(logits) == pytest.approx(scores(logits.float()))


# --- parts


def test_dilation_is_a_box_in_any_number_of_axes():
    mask = torch.zeros(1, 1, 7, 7, dtype=torch.bool)
    mask[0, 0, 3, 3] = True
    assert dilated(mask, 2).sum() == 25
    assert not dilated(mask, 2)[0, 0, 0].any()


def test_regions_may_overlap_and_labels_may_not():
    p = torch.tensor([0.6, 0.7, 0.1]).view(1, 3, 1, 1)
    assert foreground(p, regions=True).flatten().tolist() == [True, True, False]
    assert foreground(p, regions=False).flatten().tolist() == [True, False]


# --- the change


@pytest.fixture
def strengths(monkeypatch):
    def fix(blur=0.0, contrast=1.0, noise=0.0):
        for name, value in (("BLUR", blur), ("CONTRAST", contrast), ("NOISE", noise)):
            monkeypatch.setattr(label_free, name, (value, value))

    return fix


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_contrast_is_about_the_mean_of_the_scan(strengths):
    strengths(contrast=2.0)
    images = torch.tensor([0.0, 2.0, 4.0, 99.0]).view(1, 1, 1, 4)
    inside = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 1, 4)
    assert perturbed(images, inside, drawn()).flatten().tolist() == [-2, 2, 6, 99]


def test_noise_is_relative_to_the_scan(strengths):
    strengths(noise=0.5)
    images = torch.randn(2, 1, 24, 24, 24, generator=drawn(5)) * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1, 1)
    difference = perturbed(images, torch.ones(2, 1, 24, 24, 24), drawn()) - images
    assert_close(difference.flatten(1).std(1), torch.tensor([0.5, 50.0]), rtol=0.03, atol=0)


def test_blur_spreads_over_the_neighbours(strengths):
    strengths(blur=1.0)
    images = torch.zeros(1, 1, 5, 5, 5)
    images[0, 0, 2, 2, 2] = 27
    assert_close(perturbed(images, torch.ones_like(images), drawn())[0, 0, 1:4, 1:4, 1:4], torch.ones(3, 3, 3))


def test_blur_darkens_no_border(strengths):
    strengths(blur=1.0)
    images = torch.full((1, 1, 5, 5), 7.0)
    assert_close(perturbed(images, torch.ones_like(images), drawn()), images)


def test_no_strength_no_change(strengths):
    strengths()
    images = torch.randn(2, 2, 6, 6, 6, generator=drawn(1))
    assert_close(perturbed(images, torch.ones(2, 1, 6, 6, 6), drawn()), images)


def test_change_is_drawn_per_sample_and_from_the_generator_alone():
    images = torch.randn(1, 1, 6, 6, 6, generator=drawn(1)).repeat(2, 1, 1, 1, 1)
    inside = torch.ones(2, 1, 6, 6, 6)
    state = torch.get_rng_state()
    first, again, other = (perturbed(images, inside, drawn(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_padding_stays_and_does_not_decide():
    images, inside = torch.randn(1, 1, 8, 8, 8, generator=drawn(1)), torch.zeros(1, 1, 8, 8, 8)
    inside[..., :5] = 1
    changed = perturbed(images, inside, drawn())
    assert torch.equal(changed[..., 5:], images[..., 5:])
    assert not torch.equal(changed[..., :5], images[..., :5])
    assert torch.equal(perturbed(images, torch.zeros_like(inside), drawn()), images)


# --- refused


@pytest.mark.parametrize(
    ("logits", "changed", "inside"),
    [
        ((1, 2, 4, 4), (1, 2, 4, 5), (1, 1, 4, 4)),
        ((1, 2, 4, 4), (1, 2, 4, 4), (1, 2, 4, 4)),
        ((1, 2, 4), (1, 2, 4), (1, 1, 4)),
        ((1, 1, 4, 4), (1, 1, 4, 4), (1, 1, 4, 4)),
    ],
)
def test_unfit_shapes_are_refused(logits, changed, inside):
    with pytest.raises(ValueError, match=r"got"):
        LabelFreeScores(regions=False).update(torch.zeros(logits), torch.zeros(changed), torch.zeros(inside))
