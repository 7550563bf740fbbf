import pytest
import torch
from torch.testing import assert_close

from nnunet_da.adaptation import pool_by_class, pool_features

FEATURES = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])  # one sample, one channel, 2 x 2 cells


def one_hot(labels):
    return torch.nn.functional.one_hot(torch.as_tensor(labels)[None], 2).movedim(-1, 1).float()


def test_means_by_hand():
    pooled = pool_by_class(FEATURES, one_hot([[0, 0], [0, 1]]))
    background = ((1 + 3 + 5) / 4 + 0.001 * 4) / (3 / 4 + 0.001)
    bone = (7 / 4 + 0.001 * 4) / (1 / 4 + 0.001)
    assert_close(pooled, torch.tensor([[background, bone]]))


def test_cells_weigh_by_their_share_of_a_class():
    labels = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]  # the last cell is bone by three quarters
    assert_close(pool_by_class(FEATURES, one_hot(labels))[0, 1], torch.tensor((7 * 3 / 16 + 0.004) / (3 / 16 + 0.001)))


def test_how_much_of_a_class_there_is_does_not_matter():
    features = torch.zeros(2, 1, 4, 4, 4)
    features[0, :, 2:], features[1, :, 3:] = 5.0, 5.0  # bone is 5, and half as much of it in the second
    bone = (features == 5).float()
    pooled = pool_by_class(features, torch.cat([1 - bone, bone], 1))
    assert_close(pooled[0], pooled[1], atol=0.02, rtol=0)
    assert abs(pool_features(features)[0] - pool_features(features)[1]) > 1


def test_an_absent_class_gives_the_mean_of_everything():
    assert_close(pool_by_class(FEATURES, one_hot([[0, 0], [0, 0]])), torch.tensor([[4.0, 4.0]]))


def test_padding_is_left_out():
    valid = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    changed = FEATURES.clone()
    changed[..., 1, 1] = 99
    labels = one_hot([[0, 1], [1, 1]])
    assert_close(pool_by_class(FEATURES, labels, valid), pool_by_class(changed, labels, valid))
    assert_close(
        pool_by_class(FEATURES, labels, torch.zeros(1, 1, 2, 2)), pool_by_class(FEATURES, labels)
    )  # nothing but padding: all of it


def test_features_receive_gradient_and_predictions_none():
    features, probabilities = torch.rand(2, 3, 2, 2, 2, requires_grad=True), torch.rand(2, 2, 4, 4, 4, requires_grad=True)
    pool_by_class(features, probabilities).square().sum().backward()
    assert features.grad.abs().min() > 0
    assert probabilities.grad is None


def test_bad_input_is_refused():
    for probabilities in (torch.ones(2, 2, 2, 2), torch.ones(1, 2, 2)):
        with pytest.raises(ValueError, match="probabilities must be"):
            pool_by_class(FEATURES, probabilities)
