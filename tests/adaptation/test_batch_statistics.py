import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nnunet_da.adaptation.batch_statistics import adapt_batch_norm, batch_moments, batch_norm_layers


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.Dropout3d(0.5),
        nn.Conv3d(4, 3, 3, stride=2, padding=1),
        nn.BatchNorm3d(3),
        nn.InstanceNorm3d(3, affine=True),
    )
    with torch.no_grad():
        for layer in batch_norm_layers(net).values():
            layer.running_mean.uniform_(-1, 1)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(0.5, 2)
    return net


def images(n=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(2, 1, 8, 8, 8, generator=generator) * (i + 1) + i, None) for i in range(n)]


def test_equals_torch_with_a_cumulative_average():
    """torch's own layers with momentum None, in training mode but for the dropout."""
    ours, theirs = network(), network()
    assert adapt_batch_norm(ours, images()) == 3
    theirs.eval()
    for layer in batch_norm_layers(theirs).values():
        layer.momentum = None
        layer.reset_running_stats()
        layer.train()
    with torch.no_grad():
        for batch, _ in images():
            theirs(batch)
    for layer, expected in zip(batch_norm_layers(ours).values(), batch_norm_layers(theirs).values(), strict=True):
        assert_close(layer.running_mean, expected.running_mean, rtol=1e-5, atol=1e-6)
        assert_close(layer.running_var, expected.running_var, rtol=1e-5, atol=1e-6)


def test_nothing_else_changes_and_layers_are_themselves_again():
    net = network()
    before = copy.deepcopy(net.state_dict())
    net.train()
    adapt_batch_norm(net, images())
    assert net.training
    assert all("forward" not in layer.__dict__ for layer in net.modules())
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{layer}.running_{kind}" for layer in ("1", "5") for kind in ("mean", "var")}


def test_momentum_mixes_old_and_new():
    old, half, new = network(), network(), network()
    adapt_batch_norm(half, images(), momentum=0.25)
    adapt_batch_norm(new, images())
    expected = 0.75 * old[1].running_mean + 0.25 * new[1].running_mean
    assert_close(half[1].running_mean, expected)
    none = network()
    adapt_batch_norm(none, images(), momentum=0.0)
    assert_close(none[5].running_var, old[5].running_var)


def test_moments_worked_by_hand():
    x = torch.tensor([[[[1.0, 3.0, 100.0, 100.0]]]])
    inside = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    mean, variance, n = batch_moments(x, inside)
    assert (mean.item(), variance.item(), n.item()) == (2.0, 1.0, 2.0)
    coarse = torch.tensor([[[[1.0, 4.0]]]])  # each cell stands for two voxels of the mask
    mean, variance, n = batch_moments(coarse, torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]]))
    assert mean.item() == pytest.approx((1 * 1 + 0.5 * 4) / 1.5)
    assert n.item() == 1.5


def test_padding_does_not_count_at_all():
    """The first layer's statistics of a padded patch are those of the patch alone."""
    small = torch.randn(2, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    padded = nn.functional.pad(small, (0, 8))
    inside = nn.functional.pad(torch.ones(2, 1, 8, 8, 8), (0, 8))
    nets = [nn.Sequential(nn.BatchNorm3d(1)) for _ in range(3)]
    adapt_batch_norm(nets[0], [(small, None)])
    adapt_batch_norm(nets[1], [(padded, inside)])
    adapt_batch_norm(nets[2], [(padded, None)])
    assert_close(nets[0][0].running_var, nets[1][0].running_var)
    assert nets[2][0].running_var.item() < 0.7 * nets[0][0].running_var.item()


def test_a_layer_that_is_not_used_keeps_its_own():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm2d(1), nn.BatchNorm2d(1)

        def forward(self, x):
            return self.used(x)

    net = TwoHeads()
    adapt_batch_norm(net, [(torch.ones(2, 1, 4, 4) * 5, torch.zeros(2, 1, 4, 4))])
    assert net.used.running_mean.item() == 5  # of nothing but padding, all counts
    assert net.unused.running_mean.item() == 0


@pytest.mark.parametrize(
    ("net", "batches", "momentum", "words"),
    [
        (nn.Sequential(nn.InstanceNorm3d(1, track_running_stats=False)), 1, 1.0, "batch normalisation"),
        (nn.Sequential(nn.BatchNorm3d(1, track_running_stats=False)), 1, 1.0, "batch normalisation"),
        (nn.Sequential(nn.BatchNorm3d(1)), 0, 1.0, "At least one batch"),
        (nn.Sequential(nn.BatchNorm3d(1)), 1, 1.5, "momentum"),
    ],
)
def test_unfit_input_is_refused(net, batches, momentum, words):
    with pytest.raises(ValueError, match=words):
        adapt_batch_norm(net, images(batches), momentum)
