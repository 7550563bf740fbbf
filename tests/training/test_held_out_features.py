import numpy as np
import pytest
import torch
from torch import nn

from nnunet_da.adaptation import pool_by_class
from nnunet_da.errors import UserError
from nnunet_da.networks import TransUNet3D
from nnunet_da.training.features import with_feature_forward
from nnunet_da.training.held_out_features import Alignment, Scan, case_features, cut_patches, trained_network


def scan(shape, name="d/case"):
    return Scan(name, np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape), np.ones((1, *shape), bool))


def test_patches_are_cut_from_anywhere():
    data, inside = cut_patches(scan((6, 7, 8)), (4, 4, 4), 1000, np.random.default_rng(0))
    assert data.shape == inside.shape == (1000, 1, 4, 4, 4)
    assert len(np.unique(data[:, 0, 0, 0, 0])) == 3 * 4 * 5  # every corner there is
    assert inside.min() == 1
    first = data[0, 0]
    np.testing.assert_array_equal(np.diff(first, axis=2), 1)  # neighbours stay neighbours
    np.testing.assert_array_equal(np.diff(first, axis=0), 56)


def test_a_small_scan_is_padded_and_the_mask_says_so():
    data, inside = cut_patches(scan((3, 9, 9)), (5, 4, 4), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(inside[:, 0, :, 0, 0], [[0, 1, 1, 1, 0]] * 3)
    assert (data[inside == 0] == 0).all()
    assert (data[inside == 1] > 0).all()


def test_a_2d_patch_is_a_slice():
    data, _ = cut_patches(scan((5, 7, 8)), (4, 4), 60, np.random.default_rng(0))
    assert data.shape == (60, 1, 4, 4)
    assert len({value // 56 for value in (data[:, 0, 0, 0] - 1).astype(int)}) == 5  # from every slice


class Mean(nn.Module):
    """Two channels at half the resolution: the image and its double."""

    def encoder(self, x):
        pooled = nn.functional.avg_pool3d(x, 2)
        return [x, torch.cat([pooled, 2 * pooled], dim=1)]


def features(scans, patch_size=(4, 4, 4), **options):
    given = {"patches": 3, "alignment": Alignment(), "seed": 0, "device": torch.device("cpu")} | options
    return case_features({"net": Mean()}, scans, patch_size, **given)["net"]


def test_values_and_padding_left_out():
    flat = Scan("d/flat", np.full((1, 4, 8, 8), 5, np.float32), np.ones((1, 4, 8, 8), bool))
    np.testing.assert_allclose(features([flat], (8, 4, 4)), [[5, 10]])  # half of each patch is padding


def test_features_are_those_that_a_run_aligned():
    """At the output and by class a whole network is needed; the mean of its probabilities, and features of what it calls bone."""
    torch.manual_seed(0)
    network = with_feature_forward(TransUNet3D(1, 2, 16, base_channels=4, vit_patch=2, depth=1, width=8, heads=2, mlp_width=8)).eval()
    one = Scan("d/case", np.random.default_rng(0).normal(size=(1, 16, 16, 16)).astype(np.float32), np.ones((1, 16, 16, 16), bool))
    x = torch.from_numpy(one.data)[None]
    with torch.no_grad():
        probabilities, skips = network(x).softmax(1), network.encoder(x)
        by_class = pool_by_class(skips[1], probabilities)
    for alignment, expected in (
        (Alignment("output", "mean"), probabilities.mean((2, 3, 4))),
        (Alignment("output", "mean", has_regions=True), network(x).sigmoid().mean((2, 3, 4)).detach()),
        (Alignment("encoder", "class_mean"), by_class),
        (Alignment("bottleneck", "mean"), skips[-1].mean((2, 3, 4))),
    ):
        found = case_features({"net": network}, [one], (16, 16, 16), patches=1, alignment=alignment, seed=0, device=torch.device("cpu"))[
            "net"
        ]
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_patches_of_a_case_depend_on_seed_and_name_alone():
    one, two = scan((9, 9, 9), "d/one"), scan((9, 9, 9), "d/two")
    np.testing.assert_array_equal(features([one, two])[1], features([two], batch_size=1)[0])
    assert not np.array_equal(features([one]), features([two]))
    assert not np.array_equal(features([one]), features([one], seed=1))


def test_the_law_is_the_stock_loaders(make_trainer):
    """Our patches start where stock nnU-Net's boxes without forced foreground may start, an odd padded voxel included."""
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

    class Fixed:
        need_to_pad, patch_size, has_ignore = np.zeros(3, int), (6, 4, 4), False

    np.random.seed(0)
    theirs = {tuple(nnUNetDataLoader.get_bbox(Fixed(), np.array((3, 6, 5)), False, None)[0]) for _ in range(300)}
    assert theirs == {(z, y, x) for z in (-2, -1) for y in range(3) for x in range(2)}
    data, inside = cut_patches(scan((3, 6, 5)), (6, 4, 4), 300, np.random.default_rng(0))
    padded = inside[:, 0, :, 0, 0].argmax(axis=1)
    first = np.take_along_axis(data[:, 0, :, 0, 0], padded[:, None], axis=1)[:, 0].astype(int) - 1
    assert {(-int(z), int(corner) // 5, int(corner) % 5) for z, corner in zip(padded, first, strict=True)} == theirs


def test_the_network_of_a_checkpoint_is_the_trained_one(make_trainer, tmp_path):
    from nnunet_da.checkpoints import read_checkpoint

    trainer = make_trainer("nnUNetTrainer_PFDAformer_SourceOnly", "PFDAformerDemoPlans")
    file = tmp_path / "checkpoint_final.pth"
    trainer.save_checkpoint(str(file))
    content = read_checkpoint(file)
    network = trained_network(content, file, torch.device("cpu"))
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.encoder(x)[-1], trainer.network.eval().encoder(x)[-1])
    assert not network.training
    content["network_weights"].popitem()
    with pytest.raises(UserError, match="missing"):
        trained_network(content, file, torch.device("cpu"))
