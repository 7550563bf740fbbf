import pytest
import torch
from torch.testing import assert_close

from nnunet_da.losses import SquaredDiceLoss

PROBABILITIES, TRUTH = (0.9, 0.8, 0.3, 0.1), (1, 1, 0, 0)


def logits_of(*probabilities):
    p = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([(1 - p).log(), p.log()])[None, :, :, None, None]  # (1, 2, Z, 1, 1)


def labels_of(*values):
    return torch.tensor(values)[None, None, :, None, None]


def test_value_worked_by_hand():
    # sum(p g) = 1.7, sum p^2 = .81 + .64 + .09 + .01 = 1.55, sum g^2 = 2: 1 - 3.4 / 3.55
    assert_close(SquaredDiceLoss(1e-12)(logits_of(*PROBABILITIES), labels_of(*TRUTH)), torch.tensor(1 - 3.4 / 3.55, dtype=torch.float64))


def test_it_is_not_the_loss_with_plain_sums():
    from nnunet_da.losses import dice_loss

    plain = dice_loss(logits_of(*PROBABILITIES), labels_of(*TRUTH))
    assert_close(plain, torch.tensor(0.170731707317073, dtype=torch.float64), rtol=1e-5, atol=0)
    assert SquaredDiceLoss()(logits_of(*PROBABILITIES), labels_of(*TRUTH)) < plain / 3


def test_monai_agrees():
    from monai.losses import DiceLoss

    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 1, 4, 5, 6))
    oracle = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)
    assert_close(SquaredDiceLoss()(logits, labels), oracle(logits, labels))


def test_gradient_pulls_towards_the_truth():
    logits = torch.zeros(1, 2, 4, 1, 1, requires_grad=True)
    SquaredDiceLoss()(logits, labels_of(*TRUTH)).backward()
    assert (logits.grad[0, 1, :2] < 0).all()
    assert (logits.grad[0, 1, 2:] > 0).all()


def test_perfect_and_empty():
    sure = logits_of(1 - 1e-12, 1e-12)
    assert SquaredDiceLoss()(sure, labels_of(1, 0)) < 1e-5
    assert SquaredDiceLoss()(logits_of(0.5, 0.5), labels_of(0, 0)) == 1


def test_ignored_voxels_do_not_count():
    with_more = SquaredDiceLoss(ignore_label=2)(logits_of(*PROBABILITIES, 0.7), labels_of(*TRUTH, 2))
    assert_close(with_more, SquaredDiceLoss()(logits_of(*PROBABILITIES), labels_of(*TRUTH)))


def test_half_precision_sums_in_float32():
    """10^6 voxels: half precision would overflow at 65504."""
    logits = torch.zeros(1, 2, 100, 100, 100, dtype=torch.bfloat16)
    loss = SquaredDiceLoss()(logits, torch.ones(1, 1, 100, 100, 100, dtype=torch.long))
    assert loss.dtype == torch.float32
    assert_close(loss, torch.tensor(1 - 2 * 0.5 / 1.25))


@pytest.mark.parametrize("smooth", [0, -1])
def test_smooth_must_be_positive(smooth):
    with pytest.raises(ValueError, match="smooth must be above 0"):
        SquaredDiceLoss(smooth)
