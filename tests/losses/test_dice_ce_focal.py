"""Dice, cross-entropy and focal loss against golden numbers, MONAI and edge cases."""

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch.testing import assert_close

from nnunet_da.losses import DiceCEFocalLoss, cross_entropy_loss, dice_loss, focal_loss


def four_voxels():
    """Foreground probabilities .9 .8 .3 .1 where the truth is 1 1 0 0, as logits (1, 2, 1, 1, 4) and labels (1, 1, 1, 1, 4)."""
    p = torch.tensor([0.9, 0.8, 0.3, 0.1], dtype=torch.float64)
    logits = torch.stack([torch.zeros(4, dtype=torch.float64), torch.logit(p)])
    return logits.view(1, 2, 1, 1, 4), torch.tensor([1, 1, 0, 0]).view(1, 1, 1, 1, 4)


def random_case(classes=2, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, classes, 3, 4, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (batch, 1, 3, 4, 5), generator=generator)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda x, y: dice_loss(x, y, smooth=0), 0.170731707317073),
        (cross_entropy_loss, 0.1976348816421487),
        (focal_loss, 0.010783424330052709),
        (lambda x, y: focal_loss(x, y, alpha=0.5), 0.0053917121650263545),
        (lambda x, y: focal_loss(x, y, alpha=0.25), 0.006840149846396202),
        (DiceCEFocalLoss(smooth=0), 0.2253333231075541),
        (DiceCEFocalLoss(seg_mix=0, smooth=0), 0.170731707317073 + 0.1976348816421487),
        (DiceCEFocalLoss(seg_mix=1), 0.010783424330052709),
    ],
)
def test_golden_numbers(loss, expected):
    assert loss(*four_voxels()).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_dice_and_cross_entropy_equal_monai(classes):
    logits, labels = random_case(classes)
    options = {"include_background": False, "to_onehot_y": True, "softmax": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    assert_close(dice_loss(logits, labels), DiceLoss(**options)(logits, labels))
    assert_close(DiceCEFocalLoss(seg_mix=0)(logits, labels), DiceCELoss(**options)(logits, labels))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_equals_monai_on_softmax(gamma):
    logits, labels = random_case(classes=3)
    monai = FocalLoss(gamma=gamma, use_softmax=True, to_onehot_y=True, reduction="none")(logits, labels)
    assert_close(
        focal_loss(logits, labels, gamma=gamma), monai.sum(dim=1).mean().double(), rtol=1e-5, atol=0
    )  # MONAI: float32, and the mean runs over K too


def test_focal_alpha_equals_monai_on_the_sigmoid_of_two_classes():
    logits, labels = random_case()
    monai = FocalLoss(gamma=2.0, alpha=0.25)(logits.diff(dim=1), labels)
    assert_close(focal_loss(logits, labels, alpha=0.25), monai.double(), rtol=1e-5, atol=0)


def test_gamma_zero_is_cross_entropy_weighted_by_alpha():
    logits, labels = random_case()
    assert_close(focal_loss(logits, labels, gamma=0), cross_entropy_loss(logits, labels))
    weights = torch.tensor([0.7, 0.3], dtype=torch.float64)
    per_voxel = torch.nn.functional.cross_entropy(logits, labels[:, 0], weight=weights, reduction="none")
    assert_close(focal_loss(logits, labels, gamma=0, alpha=0.3), per_voxel.mean())


def test_dice_is_per_sample_not_per_batch():
    logits, labels = random_case(batch=3)
    each = torch.stack([dice_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(3)])
    assert_close(dice_loss(logits, labels), each.mean())


def test_empty_truth_rewards_an_empty_prediction_only():
    labels = torch.zeros(1, 1, 4, 4, 4, dtype=torch.long)
    background = torch.tensor([30.0, -30.0]).view(1, 2, 1, 1, 1).expand(1, 2, 4, 4, 4)
    assert dice_loss(background, labels).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-background, labels).item() == pytest.approx(1, abs=1e-6)


def test_ignored_voxels_enter_no_term():
    logits, labels = random_case(classes=3)
    ignored = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    marked = labels.masked_fill(ignored, 3)
    loss = DiceCEFocalLoss(ignore_label=3, focal_alpha=0.3)
    changed = torch.where(ignored, logits.flip(1) * 3, logits)
    assert_close(loss(logits, marked), loss(changed, marked))
    kept = ~ignored[:1].flatten()  # one sample: dropping the voxels must give the same
    fewer = logits[:1].flatten(2)[..., kept], labels[:1].flatten(2)[..., kept]
    assert_close(loss(logits[:1], marked[:1]), DiceCEFocalLoss(focal_alpha=0.3)(*fewer))
    assert_close(loss(logits, labels), DiceCEFocalLoss(focal_alpha=0.3)(logits, labels))


def test_all_ignored_gives_zero_with_a_graph():
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    loss = DiceCEFocalLoss(ignore_label=2)(logits, torch.full((1, 1, 2, 2, 2), 2))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert not logits.grad.any()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [1e3, -1e3])
def test_certain_logits_have_finite_gradients(gamma, scale):
    logits = torch.tensor([[scale, -scale]]).view(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2).clone().requires_grad_()
    loss = DiceCEFocalLoss(focal_gamma=gamma)(logits, torch.zeros(1, 1, 2, 2, 2, dtype=torch.int16))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_a_step_against_the_gradient_lowers_the_loss():
    logits, labels = random_case(classes=3)
    logits.requires_grad_()
    loss = DiceCEFocalLoss()(logits, labels)
    loss.backward()
    assert DiceCEFocalLoss()(logits - logits.grad, labels) < loss


def test_half_precision_is_summed_in_float32():
    logits, labels = torch.randn(1, 2, 48, 48, 48).half(), torch.ones(1, 1, 48, 48, 48, dtype=torch.int16)
    expected = DiceCEFocalLoss()(logits.double(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DiceCEFocalLoss()(logits, labels)
    assert loss.dtype == torch.float32
    assert_close(loss.double(), expected, rtol=1e-5, atol=0)


def test_compiles_without_a_graph_break():
    logits, labels = random_case(classes=3)
    logits.requires_grad_()
    for loss in (DiceCEFocalLoss(), DiceCEFocalLoss(focal_alpha=0.3, ignore_label=2)):
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        expected = loss(logits, labels)
        assert_close(compiled(logits, labels), expected)
        gradients = [torch.autograd.grad(value, logits)[0] for value in (compiled(logits, labels), expected)]
        assert_close(*gradients)


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ((2, 2, 3, 3, 3), (2, 3, 3, 3), "labels"),
        ((2, 2, 3, 3, 3), (2, 1, 3, 3, 4), "same size"),
        ((2, 2, 3, 3, 3), (1, 1, 3, 3, 3), "same size"),
        ((2, 2, 3, 3, 3), (2, 2, 3, 3, 3), r"\(2, 2, 3, 3, 3\)"),
        ((2, 1, 3, 3, 3), (2, 1, 3, 3, 3), "K >= 2"),
    ],
)
def test_refuses_shapes(logits, labels, words):
    with pytest.raises(ValueError, match=words):
        DiceCEFocalLoss()(torch.zeros(logits), torch.zeros(labels, dtype=torch.long))


@pytest.mark.parametrize("setting", [{"seg_mix": 1.1}, {"focal_gamma": -1}, {"smooth": -1e-5}, {"focal_alpha": 2.0}])
def test_refuses_settings(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        DiceCEFocalLoss(**setting)
