"""Restyled source patches: the same crops, labels and augmentation as the source-only arm's, other intensities, the same after a resume."""

import copy

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import nn
from torch.testing import assert_close

from nnunet_da.errors import UserError
from nnunet_da.preprocessing import target_cache
from nnunet_da.training.randomness import Stream, seed_everything, side_randomness
from nnunet_da.training.restyling import FourierStyle, HistogramStyle, RememberingDataset, Restyle, insert_restyle

STOCK, TRANSUNET, SOURCE_ONLY = "UDAPlans", "PFDAformerDemoPlans", "nnUNetTrainer_UDA_SourceOnly"
HISTOGRAM, FOURIER = "nnUNetTrainer_UDA_HistogramMatching", "nnUNetTrainer_UDA_Fourier"
RIVALS = [HISTOGRAM, FOURIER]
FLAT = {"deep_supervision": False}


def batches(trainer, number=3):
    loader, _ = trainer.get_dataloaders()
    return [next(loader) for _ in range(number)]


@pytest.mark.parametrize("name", RIVALS)
def test_the_source_is_drawn_and_augmented_as_without(make_trainer, name):
    """With probability 0 bit for bit; with 1 the same cases, crops and labels with other intensities."""
    plain = batches(make_trainer(SOURCE_ONLY, STOCK, **FLAT))
    never = batches(make_trainer(name, STOCK, restyle_probability=0.0, **FLAT))
    always = batches(make_trainer(name, STOCK, restyle_probability=1.0, **FLAT))
    for one, two, three in zip(plain, never, always, strict=True):
        assert torch.equal(one["data"], two["data"])
        assert not two["restyled"].any()
        assert three["restyled"].all()
        assert three["data"].shape == one["data"].shape
        assert list(one["keys"]) == list(two["keys"]) == list(three["keys"])
        assert torch.equal(one["target"], three["target"])
        assert all((a != b).any() for a, b in zip(one["data"], three["data"], strict=True))  # most voxels are clipped alike
        assert "data_target" not in three


@pytest.mark.parametrize("name", RIVALS)
def test_batches_depend_on_the_seed_and_their_number_alone(make_trainer, name):
    first = batches(make_trainer(name, STOCK, **FLAT), 4)
    again = make_trainer(name, STOCK, **FLAT)
    again.epoch_outputs = [{}, {}]  # two steps done: as after a resume
    for one, two in zip(first[2:], batches(again, 2), strict=True):
        assert torch.equal(one["data"], two["data"])
        assert torch.equal(one["restyled"], two["restyled"])
    shares = torch.cat([batch["restyled"] for batch in first])
    assert 0 < shares.sum() < len(shares)


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("plans", [STOCK, pytest.param(TRANSUNET, marks=pytest.mark.slow)])
def test_a_step_is_the_source_only_arms_on_the_batch(make_trainer, name, plans):
    """The same as the source-only arm takes on the same patches, to the last bit."""
    trainer, source_only = make_trainer(name, plans, **FLAT), make_trainer(SOURCE_ONLY, plans, **FLAT)
    source_only.network.load_state_dict(trainer.network.state_dict())
    batch = batches(trainer, 1)[0]
    numbers = trainer.train_step(copy.deepcopy(batch))
    assert numbers["restyled"] == pytest.approx(batch["restyled"].mean().item())
    assert numbers["loss_seg"] == source_only.train_step(copy.deepcopy(batch))["loss_seg"]
    for one, other in zip(trainer.network.parameters(), source_only.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert set(trainer.step_curve_names) == {"loss_seg", "restyled"}


def test_any_network_without_encoder_and_decoder_is_trained(make_trainer):
    trainer = make_trainer(HISTOGRAM, STOCK, **FLAT)
    trainer.network = nn.Sequential(nn.Conv3d(1, 2, 1))
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    assert np.isfinite(trainer.train_step(batches(trainer, 1)[0])["loss"])


def test_curves_and_scores_are_those_of_a_method_that_looks_at_the_target(make_trainer):
    import csv
    from pathlib import Path

    trainer = make_trainer(HISTOGRAM, STOCK, initialize=False, target_score_batches=1)
    trainer.perform_actual_validation = lambda *_: None
    trainer.run_training()
    with (Path(trainer.output_folder) / "curves.csv").open() as stream:
        terms = {row["term"] for row in csv.DictReader(stream)}
    assert {"loss_seg", "restyled", "target_entropy", "ema_fg_dice"} <= terms
    assert len(trainer.logger.get_value("restyled", None)) == 2


@pytest.mark.parametrize("name", RIVALS)
def test_two_samples_per_domain_are_not_needed_but_a_target_is(make_trainer, centres_copy, name):
    trainer = make_trainer(name, STOCK, oversample_foreground_percent=1.0)
    assert trainer._target_dataset().identifiers[0] == "Dataset102_B/B_00"
    with pytest.raises(UserError, match="needs a target dataset"):
        make_trainer(name, STOCK, target_datasets={}).get_dataloaders()
    cache = target_cache("Dataset101_A", "Dataset102_B", trainer.configuration_manager.configuration)
    cache.record.unlink()
    with pytest.raises(UserError, match="nnunet-da preprocess"):
        make_trainer(name, STOCK).get_dataloaders()


# --- the parts


class Cases:
    """A preprocessed dataset: case -> (1, 8, 8, 8)."""

    def __init__(self, **cases):
        self.cases, self.identifiers = cases, list(cases)

    def load_case(self, identifier):
        data = self.cases[identifier]
        return data, np.where(data == 0, -1, 0).astype(np.int16), None, {"class_locations": {}}


def noise(seed, scale=1.0, offset=3.0):
    return np.random.default_rng(seed).gamma(2, scale, (1, 8, 8, 8)).astype(np.float32) + offset


def test_a_restyled_patch_follows_the_scan_not_the_patch():
    """A corner of a scan is mapped as the whole scan maps; padding stays 0."""
    source, target = Cases(a=noise(0)), Cases(b=noise(1, 2.0, 10.0))
    dataset = RememberingDataset(source)
    patch = torch.from_numpy(dataset.load_case("a")[0][:, :4]).clone()
    patch[:, 0] = 0
    labels = torch.where(patch == 0, -1, 0).to(torch.int16)
    transform = Restyle(HistogramStyle(source, target), dataset, 1.0)
    result = transform(image=patch.clone(), segmentation=labels)["image"]
    assert (result[:, 0] == 0).all()
    whole = HistogramStyle(source, target)(torch.from_numpy(source.cases["a"]), torch.ones(8, 8, 8, dtype=torch.bool), "a")
    assert_close(result[:, 1:], whole[:, 1:4])
    assert_close(whole.mean().item(), float(target.cases["b"].mean()), rtol=0.02, atol=0)
    assert transform.restyled == [True]


def test_a_scan_is_read_once():
    source, target = Cases(a=noise(0)), Cases(b=noise(1))
    style, inside = HistogramStyle(source, target), torch.ones(8, 8, 8, dtype=torch.bool)
    first = style(torch.from_numpy(noise(0)), inside, "a")
    source.cases = target.cases = {}
    assert torch.equal(style(torch.from_numpy(noise(0)), inside, "a"), first)


class References:
    def __init__(self, image):
        self.image = image

    def generate_train_batch(self):
        return {"data": self.image[None], "target": torch.where(self.image == 0, -1, 0)[None]}


def test_fourier_moves_the_mean_towards_the_target_whatever_its_sign():
    """After normalisation one patch has mean -1 and the other 1; padding of the reference counts for nothing."""
    image, reference = torch.from_numpy(noise(0, 0.1, -1.2)), torch.from_numpy(noise(1, 0.1, 0.8))
    reference[:, :4] = 0
    seed_everything(0)
    style, inside = FourierStyle(References(reference), 0.01, 1.0), torch.ones(8, 8, 8, dtype=torch.bool)
    mean = np.mean([style(image, inside, "").mean() for _ in range(40)])
    own, other = image.mean().item(), reference[:, 4:].mean().item()
    assert mean == pytest.approx((own + other) / 2, abs=0.35)
    assert_close(style(image, inside, "").std(), image.std(), rtol=0.05, atol=0)


def test_slices_are_restyled_too():
    image, reference = torch.from_numpy(noise(0)[:, 0]), torch.from_numpy(noise(1, 1.0, 6.0)[:, 0])
    labels = torch.zeros(1, 8, 8, dtype=torch.int16)
    labels[:, :2] = -1
    image[:, :2] = 0
    dataset = RememberingDataset(Cases(a=noise(0)))
    for style in (FourierStyle(References(reference), 0.2, 1.0), HistogramStyle(dataset.dataset, Cases(b=noise(1)))):
        dataset.load_case("a")
        result = Restyle(style, dataset, 1.0)(image=image.clone(), segmentation=labels)["image"]
        assert result.shape == image.shape
        assert not result[:, :2].any()
        assert (result[:, 2:] != image[:, 2:]).any()


def test_restyling_stands_between_geometry_and_intensity():
    spatial = SpatialTransform((4, 4), patch_center_dist_from_border=0, random_crop=False)
    transforms = ComposeTransforms([spatial, GaussianNoiseTransform()])
    restyle = Restyle(lambda *_: None, RememberingDataset(Cases()), 0.5)
    insert_restyle(transforms, restyle)
    assert transforms.transforms[1] is restyle


def test_the_side_draws_leave_no_trace_and_differ():
    seed_everything(5)
    expected = np.random.uniform(), torch.rand(1).item()
    seed_everything(5)
    drawn = []
    for move in (lambda: None, np.random.uniform, lambda: torch.rand(1)):
        state = np.random.get_state(), torch.get_rng_state()
        move()
        with side_randomness(Stream.RESTYLE):
            drawn.append((np.random.uniform(), torch.rand(1).item()))
        if move is np.random.uniform or not drawn[1:]:
            np.random.set_state(state[0])
        torch.set_rng_state(state[1])
    assert (np.random.uniform(), torch.rand(1).item()) == expected
    assert len(set(drawn)) == 3
    assert expected not in drawn
