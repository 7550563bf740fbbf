"""Swin UNETR: MONAI is the oracle, weight for weight."""

import pytest
import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

from nnunet_da.networks import SwinUNETR
from nnunet_da.networks.swin_unetr import ENCODER
from nnunet_da.training.features import bottleneck_shape, with_feature_forward


@pytest.mark.parametrize(("feature_size", "expected"), [(12, 4_078_064), (24, 15_703_004), (48, 62_186_708)])
def test_parameter_counts(feature_size, expected):
    assert sum(p.numel() for p in SwinUNETR(1, 2, feature_size).parameters()) == expected


def test_it_is_monais_weight_for_weight():
    torch.manual_seed(0)
    monai, ours = MonaiSwinUNETR(1, 2, feature_size=12), SwinUNETR(1, 2, 12)
    weights = {f"{'encoder' if name.split('.')[0] in ENCODER else 'decoder'}.{name}": value for name, value in monai.state_dict().items()}
    ours.load_state_dict(weights)
    x = torch.randn(1, 1, 32, 64, 32)
    assert torch.equal(monai.eval()(x), ours.eval()(x))


def test_alignment_finds_its_features():
    network = with_feature_forward(SwinUNETR(1, 2, 12)).eval()
    x = torch.randn(2, 1, 32, 32, 64)
    with torch.no_grad():
        logits, features = network(x, n_labelled=1, with_features=True)
        assert features.shape[1:] == bottleneck_shape(network, 1, (32, 32, 64)) == (192, 1, 1, 2)
        assert torch.allclose(logits, network(x[:1]), atol=1e-5)


def test_it_is_built_and_run_without_memory():
    """As `plan` tries patches and `export` compares weights."""
    with torch.device("meta"), torch.no_grad():
        assert SwinUNETR(1, 2, 12)(torch.empty(1, 1, 32, 64, 64)).shape == (1, 2, 32, 64, 64)


@pytest.mark.parametrize("size", [(32, 48, 64), (16, 32, 32)])
def test_sizes_that_are_no_multiples_are_refused(size):
    with pytest.raises(ValueError, match="SwinUNETR takes images whose axes are multiples of 32"):
        SwinUNETR(1, 2, 12)(torch.zeros(1, 1, *size))


def test_deep_supervision_is_refused():
    with pytest.raises(NotImplementedError, match="no deep supervision"):
        SwinUNETR(1, 2, 12, deep_supervision=True)
