"""Baselines: stock nnU-Net to the bit, the recipes of the others, no target, and a resume that changes nothing."""

import copy
import csv
import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from torch.testing import assert_close

from nnunet_da.errors import UserError
from nnunet_da.losses import SquaredDiceLoss
from nnunet_da.training.randomness import Stream, own_randomness, seed_for

OPENED: list[str] = []
ARMS = [
    ("nnUNetTrainer_Stock", "StockPlans"),
    ("nnUNetTrainer_StockDA5", "StockPlans"),
    ("nnUNetTrainer_SegFormer3D", "SegFormer3DPlans"),
    ("nnUNetTrainer_SwinUNETR", "SwinUNETRPlans"),
    ("nnUNetTrainer_VNetFemur", "VNetFemurPlans"),
]


@pytest.mark.parametrize("name", ["nnUNetTrainer_Stock", "nnUNetTrainer_UDA_Fourier"])
def test_what_several_gpus_cannot_train_is_refused_for_baselines_too(make_baseline, monkeypatch, name):
    monkeypatch.setattr("nnunet_da.training.distributed.world_size", lambda: 2)
    with pytest.raises(NotImplementedError, match="without gradient"):
        make_baseline(name, "StockPlans", deep_supervision=False)


# --- stock nnU-Net, to the bit


@pytest.mark.parametrize(
    ("ours", "theirs"), [("nnUNetTrainer_Stock", nnUNetTrainer), ("nnUNetTrainer_StockDA5", nnUNetTrainerDA5)], ids=["stock", "DA5"]
)
def test_batches_and_weights_are_stocks_to_the_bit(make_baseline, ours, theirs):
    """Stock never seeds. Given the seeds of our run, its own loader, network and step give our batches and weights."""
    trainer = make_baseline(ours, "StockPlans", mirror_axes=None)  # stock mirrors all axes
    stock = make_baseline(theirs.__name__, "StockPlans", initialize=False, mirror_axes=None)
    assert type(stock) is theirs
    trainer._seed(Stream.WEIGHTS)  # at the start of training, as initialize() does
    stock.initialize()
    for (key, weight), (key_stock, weight_stock) in zip(
        trainer.network.state_dict().items(), stock.network.state_dict().items(), strict=True
    ):
        assert key == key_stock
        assert torch.equal(weight, weight_stock), key
    assert str(stock.optimizer) == str(trainer.optimizer)

    loader, (stock_loader, _) = trainer.get_dataloaders()[0], stock.get_dataloaders()
    for number in (1, 2):  # batch 0 was drawn and thrown away, as in stock
        batch = next(loader)
        with own_randomness(seed_for(7, trainer._fold_number, 0, Stream.SOURCE, number)):
            expected = next(stock_loader)
        assert list(batch["keys"]) == list(expected["keys"])
        assert torch.equal(batch["data"], expected["data"])
        for mine, theirs_ in zip(batch["target"], expected["target"], strict=True):
            assert torch.equal(mine, theirs_)
        numbers, numbers_stock = trainer.train_step(copy.deepcopy(batch)), stock.train_step(expected)
        assert numbers["loss"] == numbers_stock["loss"]
    for (key, weight), weight_stock in zip(trainer.network.state_dict().items(), stock.network.state_dict().values(), strict=True):
        assert torch.equal(weight, weight_stock), key


def test_stock_and_uda_source_only_train_alike(make_baseline):
    """The same steps on the same batches; they differ in what they log and in which networks they take."""
    first, second = (make_baseline(name, "StockPlans") for name in ("nnUNetTrainer_Stock", "nnUNetTrainer_UDA_SourceOnly"))
    for trainer in (first, second):
        loader = trainer.get_dataloaders()[0]
        for _ in range(2):
            trainer.train_step(next(loader))
    for (key, a), b in zip(first.network.state_dict().items(), second.network.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_strong_augmentation_is_really_used(make_baseline):
    def transforms(name):
        trainer = make_baseline(name, "StockPlans")
        rotation, dummy, _, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        return str(trainer._training_transforms(rotation, trainer._get_deep_supervision_scales(), axes, dummy).transforms)

    name = BrightnessAdditiveTransform.__name__  # of DA5 alone
    assert [name in transforms(trainer) for trainer in ("nnUNetTrainer_StockDA5", "nnUNetTrainer_Stock")] == [True, False]


# --- the others' recipes


@pytest.mark.parametrize(("name", "plans", "decay"), [(*ARMS[2], 1e-2), (*ARMS[3], 1e-5)])
def test_transformers_train_with_adamw_and_a_cosine(make_baseline, name, plans, decay):
    trainer = make_baseline(name, plans, warmup_epochs=1, num_epochs=3)
    assert type(trainer.optimizer) is torch.optim.AdamW
    assert trainer.optimizer.param_groups[0]["weight_decay"] == decay
    rates = []
    for epoch in range(3):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([5e-5, 1e-4, 6e-6 + (1e-4 - 6e-6) / 2])


def test_vnet_femur_trains_its_loss_with_sgd(make_baseline):
    trainer = make_baseline("nnUNetTrainer_VNetFemur", "VNetFemurPlans", l2_weight=1e-3)
    group = trainer.optimizer.param_groups[0]
    assert type(trainer.optimizer) is torch.optim.SGD
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (1e-2, 0.99, True, 0)
    assert isinstance(trainer.loss, SquaredDiceLoss)
    batch = next(trainer.get_dataloaders()[0])
    network = copy.deepcopy(trainer.network)
    numbers = trainer.train_step(copy.deepcopy(batch))
    squares = sum(weight.square().sum().item() for weight in network.parameters() if weight.ndim == 5)  # convolutions alone have five axes
    assert numbers["loss_l2"] == pytest.approx(1e-3 * squares, rel=1e-4)
    assert numbers["loss"] == pytest.approx(numbers["loss_seg"] + numbers["loss_l2"], rel=1e-5)


def test_the_l2_term_reaches_the_weights(make_baseline):
    """The gradient of one step is that of the Dice loss and twice the weight times each convolution's weight, unclipped."""
    trainer = make_baseline("nnUNetTrainer_VNetFemur", "VNetFemurPlans", l2_weight=0.5, clip_grad_norm=None)
    batch = next(trainer.get_dataloaders()[0])
    without = copy.deepcopy(trainer.network)
    trainer._seed(Stream.STEP)  # the same dropout as in the step
    trainer.loss(without(batch["data"]), batch["target"]).backward()
    trainer.train_step(copy.deepcopy(batch))
    for (name, parameter), plain in zip(trainer.network.named_parameters(), without.parameters(), strict=True):
        expected = plain.grad + (plain.detach() if plain.ndim == 5 else 0)  # 2 * 0.5 * w for convolutions
        assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize(("name", "needed"), [("SegFormer3D", "segformer3d"), ("SwinUNETR", "swin_unetr"), ("VNetFemur", "vnet_femur")])
def test_plans_with_another_network_are_refused(make_baseline, name, needed):
    with pytest.raises(UserError, match=f"plan with the preset {needed}, or train with nnUNetTrainer_Stock"):
        make_baseline(f"nnUNetTrainer_{name}", "StockPlans", initialize=False)


def test_any_network_trains_with_the_stock_recipe(make_baseline):
    for plans in ("VNetFemurPlans", "SegFormer3DPlans"):
        trainer = make_baseline("nnUNetTrainer_Stock", plans)
        assert np.isfinite(trainer.train_step(next(trainer.get_dataloaders()[0]))["loss"])


def test_alignment_needs_a_target_in_the_plans(make_baseline):
    with pytest.raises(UserError, match="plan with -t"):
        make_baseline("nnUNetTrainer_UDA_MMD", "VNetFemurPlans", oversample_foreground_percent=0.0).get_dataloaders()


@pytest.mark.parametrize("plans", ["VNetFemurPlans", "SegFormer3DPlans", pytest.param("SwinUNETRPlans", marks=pytest.mark.slow)])
def test_alignment_works_on_the_baselines_networks(make_baseline, plans):
    """With a target in the plans: gradient reversal and MMD on the bottleneck of V-Net and of the transformers."""
    trainer = make_baseline("nnUNetTrainer_UDA_GRL_MMD", plans, target_datasets={"Dataset102_B": None})
    numbers = trainer.train_step(next(trainer.get_dataloaders()[0]))
    assert all(numbers[f"gradient_{term}"] > 0 for term in ("seg", "adv", "mmd"))


# --- whole runs


@pytest.mark.parametrize(
    ("name", "plans"), [ARMS[-1], *(pytest.param(*arm, marks=pytest.mark.slow) for arm in ARMS[:-1])]
)  # one of them will do by default: all share the code that resumes
def test_a_run_resumes_to_the_same_weights_and_opens_no_target(make_baseline, monkeypatch, tmp_path, name, plans):
    """One epoch, another trainer for the second one: the same weights as without the stop. Opened files are watched."""
    OPENED.clear()
    watch_files()

    def run(results, epochs, resume=False):
        monkeypatch.setenv("nnUNet_results", str(tmp_path / results))
        trainer = make_baseline(name, plans, initialize=False, resume=resume)
        if resume:
            trainer.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_latest.pth"))
        stop_before(trainer, epochs)
        return trainer

    whole = run("whole", 2)
    whole.run_training()
    with pytest.raises(KeyboardInterrupt):
        run("stopped", 1).run_training()
    second = run("stopped", 2, resume=True)
    assert second.current_epoch == 1
    second.run_training()
    for (key, weight), expected in zip(second.network.state_dict().items(), whole.network.state_dict().values(), strict=True):
        assert torch.equal(weight, expected), key
    assert any("Dataset101_A" in file for file in OPENED)
    assert not [file for file in OPENED if "Dataset102" in file or "_target_" in file]
    with (Path(second.output_folder) / "curves.csv").open() as stream:
        terms = {row["term"] for row in csv.DictReader(stream)}
    assert {term for term in terms if term.startswith("loss_")} == {"loss_seg", *(["loss_l2"] if "VNet" in name else [])}


@functools.cache
def watch_files():
    """From now on every file that this process opens is listed; an audit hook cannot be taken away again."""
    sys.addaudithook(lambda event, arguments: OPENED.append(str(arguments[0])) if event == "open" else None)


def stop_before(trainer, epoch):
    original = trainer.on_epoch_start

    def start():
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        original()

    trainer.on_epoch_start = start
