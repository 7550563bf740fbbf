"""Scores of a trainer's network on target patches, with small stand-ins for the network and with real trainers."""

import random
from itertools import repeat
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nnunet_da.evaluation import label_free
from nnunet_da.evaluation.label_free import NAMES
from nnunet_da.training.target_scores import flipped_axes, score_loader, score_names, target_scores

TRANSUNET, STOCK = "PFDAformerDemoPlans", "UDAPlans"


class Bright(nn.Module):
    """Finds what is bright, wherever it is."""

    def forward(self, images):
        return torch.cat([-50 * images, 50 * images], 1)


class FirstHalf(nn.Module):
    """Finds the first half of the last axis, whatever is there."""

    def forward(self, images):
        found = (torch.arange(images.shape[-1]) < images.shape[-1] // 2).expand(images.shape) * 100.0 - 50
        return torch.cat([-found, found], 1)


def stand_in(network: nn.Module, axes=None, regions=False) -> SimpleNamespace:
    return SimpleNamespace(
        network=network,
        device=torch.device("cpu"),
        num_input_channels=1,
        inference_allowed_mirroring_axes=axes,
        label_manager=SimpleNamespace(has_regions=regions),
    )


def patches(n: int = 2, size: int = 8):
    """The same batch again and again: (n, 2, Z, Y, X) of which the last channel says that all is scan."""
    images = torch.randn(n, 1, size, size, size, generator=torch.Generator().manual_seed(0))
    return repeat({"data": torch.cat([images, torch.ones_like(images)], 1)})


@pytest.fixture
def unchanged_intensities(monkeypatch):
    for name, value in (("BLUR", 0.0), ("CONTRAST", 1.0), ("NOISE", 0.0)):
        monkeypatch.setattr(label_free, name, (value, value))


def test_flips_are_undone(unchanged_intensities):
    assert target_scores(stand_in(Bright(), axes=(0, 1, 2)), patches(), 4)["target_agreement"] == 1


def test_a_network_that_looks_at_places_disagrees_with_its_mirror_image(unchanged_intensities):
    assert target_scores(stand_in(FirstHalf(), axes=(2,)), patches(), 4)["target_agreement"] == 0
    assert target_scores(stand_in(FirstHalf(), axes=(0, 1)), patches(), 4)["target_agreement"] == 1
    assert target_scores(stand_in(FirstHalf()), patches(), 4)["target_agreement"] == 1  # no mirroring where it is not allowed


def test_changed_intensities_disturb_a_network_that_reads_them():
    assert 0.5 < target_scores(stand_in(Bright()), patches(), 4)["target_agreement"] < 1


def test_a_random_choice_of_allowed_axes_is_flipped():
    drawn = {tuple(flipped_axes((0, 2), torch.Generator().manual_seed(seed))) for seed in range(30)}
    assert drawn == {(2,), (4,), (2, 4)}
    assert flipped_axes(None, torch.Generator()) == []


def test_the_head_of_full_resolution_is_scored():
    class Deep(Bright):
        def forward(self, images):
            full = super().forward(images)
            return [full, -full[..., ::2]]

    assert target_scores(stand_in(Deep()), patches(), 2) == target_scores(stand_in(Bright()), patches(), 2)


def test_the_network_is_scored_as_it_predicts():
    """Dropout is off, running statistics stay, and the mode comes back."""
    network = nn.Sequential(nn.BatchNorm3d(1), Bright(), nn.Dropout(0.9)).train()
    first, second = (target_scores(stand_in(network), patches(), 2) for _ in range(2))
    assert first == second
    assert first["target_agreement"] > 0.5
    assert network[0].num_batches_tracked == 0
    assert network.training


def test_regions_are_sigmoids():
    class Whole(nn.Module):
        def forward(self, images):
            return torch.full_like(images, 50.0)

    values = target_scores(stand_in(Whole(), regions=True), patches(), 1)
    assert values == pytest.approx({"target_entropy": 0, "target_agreement": 1, "target_information": 0, "target_foreground": 1}, abs=1e-6)


def test_slices_are_scored_as_volumes_are():
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    values = target_scores(stand_in(Bright(), axes=(0, 1)), repeat({"data": torch.cat([images, torch.ones_like(images)], 1)}), 2)
    assert 0 < values["target_agreement"] < 1


def test_padding_is_left_out():
    data = next(patches())["data"].clone()
    data[:, 1, :, :, 4:] = 0
    data[:, 0, :, :, 4:] = 9  # bright
    kept = data[..., :4].clone()
    cut, whole = (target_scores(stand_in(Bright()), repeat({"data": d}), 1) for d in (kept, data))
    assert whole["target_foreground"] == pytest.approx(cut["target_foreground"])


def test_no_batches_no_scores():
    assert target_scores(stand_in(Bright()), iter(()), 0) == {}
    assert score_names(0) == []
    assert score_names(4) == list(NAMES) == list(target_scores(stand_in(Bright()), patches(), 1))


def test_as_many_batches_as_asked_for():
    loader = iter([next(patches())] * 3)
    target_scores(stand_in(Bright()), loader, 2)
    assert len(list(loader)) == 1


# --- real trainers


def real_scores(trainer, batches=2):
    np.random.seed(0)
    return target_scores(trainer, score_loader(trainer, trainer._target_dataset()), batches)


@pytest.mark.parametrize(
    ("name", "plans"), [("nnUNetTrainer_PFDAformer", TRANSUNET), ("nnUNetTrainer_UDA_MMD", STOCK)], ids=["plain", "deep_supervision"]
)
def test_trainers_are_scored_and_left_as_they_were(make_trainer, name, plans):
    trainer = make_trainer(name, plans)
    trainer.inference_allowed_mirroring_axes = (0, 1)
    loader = score_loader(trainer, trainer._target_dataset())
    batches = [next(loader) for _ in range(2)]
    trainer.network.train()
    weights = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    first, second = (target_scores(trainer, iter(batches), 2) for _ in range(2))

    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert first == second
    assert list(first) == list(NAMES)
    assert all(0 <= value <= 1 for value in first.values())
    assert trainer.network.training
    assert all(parameter.grad is None for parameter in trainer.network.parameters())
    assert all(torch.equal(value, weights[key]) for key, value in trainer.network.state_dict().items())


def test_a_failing_loader_leaves_the_mode_alone(make_trainer):
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", STOCK)
    trainer.network.train()
    with pytest.raises(StopIteration):
        target_scores(trainer, iter(()), 1)
    assert trainer.network.training


def test_patches_are_target_scans_as_they_are(make_trainer):
    """No augmentation: every voxel of a patch that is scan stands in its preprocessed case."""
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", TRANSUNET, deep_supervision=False)
    dataset = trainer._target_dataset()
    np.random.seed(0)
    batch = next(score_loader(trainer, dataset))
    assert batch["data"].shape == (trainer.batch_size, 2, *trainer.configuration_manager.patch_size)
    for key, (image, inside) in zip(batch["keys"], batch["data"], strict=True):
        assert key in dataset.identifiers
        scan = torch.from_numpy(np.asarray(dataset.load_case(key)[0][0]))
        assert torch.isin(image[inside == 1], scan).all()


def test_padding_of_a_patch_larger_than_the_scan_is_marked(make_trainer):
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", TRANSUNET, deep_supervision=False)
    dataset = trainer._target_dataset()
    trainer.configuration_manager.configuration["patch_size"] = [64, 64, 64]
    np.random.seed(0)
    batch = next(score_loader(trainer, dataset))
    for key, inside in zip(batch["keys"], batch["data"][:, 1], strict=True):
        _, marks, _, _ = dataset.load_case(key)
        assert inside.sum() == (np.asarray(marks) != -1).sum()  # nnU-Net marks what lies outside a scan's body too
        assert inside.sum() < 0.1 * inside.numel()


def test_a_trained_network_scores_better_than_a_fresh_one(make_trainer):
    """Twenty supervised steps on blobs: the network gets certain and stable on the other centre's too."""
    trainer = make_trainer("nnUNetTrainer_UDA_GRL_MMD", TRANSUNET, deep_supervision=False, initial_lr=1e-2, w_adv=0.0, w_mmd=0.0)
    before = real_scores(trainer, 4)
    loader, _ = trainer.get_dataloaders()
    for _ in range(20):
        trainer.train_step(next(loader))
    after = real_scores(trainer, 4)
    assert after["target_entropy"] < before["target_entropy"]
    assert after["target_agreement"] > 0.7
