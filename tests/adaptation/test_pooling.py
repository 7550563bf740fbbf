import pytest
import torch
from torch.testing import assert_close

from nnunet_da.adaptation import pool_features


def test_mean_and_deviation_by_hand():
    features = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])  # one sample, one channel, 2 x 2: mean 4, variance 5
    assert_close(pool_features(features), torch.tensor([[4.0]]))
    assert_close(pool_features(features, pooling="mean_std"), torch.tensor([[4.0, 5.0**0.5]]), atol=1e-5, rtol=0)


def test_padding_is_left_out_by_its_share():
    features = torch.tensor([[[[1.0, 3.0]]]])
    valid = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])  # cell 0 all scan, cell 1 half padding: weights 2/3 and 1/3
    assert_close(pool_features(features, valid), torch.tensor([[5 / 3]]))


def test_padded_content_does_not_matter():
    features = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, 1, 8, 4, 4)
    valid[:, :, 4:] = 0
    changed = features.clone()
    changed[:, :, 2:] = 99.0
    assert_close(pool_features(features, valid, "mean_std"), pool_features(changed, valid, "mean_std"))


def test_a_sample_of_padding_alone_is_pooled_over_all_of_it():
    features = torch.tensor([[[[1.0, 3.0]]]])
    assert_close(pool_features(features, torch.zeros(1, 1, 1, 2)), torch.tensor([[2.0]]))


def test_gradient_is_finite_where_a_channel_is_constant():
    features = torch.ones(1, 2, 2, 2, requires_grad=True)
    pool_features(features, pooling="mean_std").sum().backward()
    assert torch.isfinite(features.grad).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="mean_std"):
        pool_features(torch.ones(1, 1, 2, 2), pooling="max")
    with pytest.raises(ValueError, match="valid must be"):
        pool_features(torch.ones(2, 1, 2, 2), torch.ones(1, 1, 2, 2))
