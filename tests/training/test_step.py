"""Every trainer on every network we ship: the gradient of one real step equals what its terms say, term by term."""

import copy

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn import functional
from torch.testing import assert_close

from nnunet_da.adaptation import mmd

TRANSUNET, STOCK, RESENC = "PFDAformerDemoPlans", "UDAPlans", "UDAResEncMPlans"
TERMS = {"": ("adv", "mmd"), "_GRL_MMD": ("adv", "mmd"), "_GRL": ("adv",), "_MMD": ("mmd",), "_SourceOnly": ()}
ARMS = [(f"nnUNetTrainer_PFDAformer{suffix}", TRANSUNET, TERMS[suffix]) for suffix in ("", "_GRL", "_MMD", "_SourceOnly")] + [
    (f"nnUNetTrainer_UDA{suffix}", plans, TERMS[suffix])
    for plans in (STOCK, RESENC, TRANSUNET)
    for suffix in ("_GRL", "_MMD", "_GRL_MMD", "_SourceOnly")
]
WEIGHTS = {"w_adv": 0.7, "w_mmd": 0.4, "grl_lambda_max": 0.6, "clip_grad_norm": None}


def encoder_gradient(network, scalar):
    gradients = torch.autograd.grad(scalar, list(network.encoder.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(gradients, network.encoder.parameters(), strict=True)]
    )


def pooled_by_hand(features, inside):
    """Mean and standard deviation over the cells of the bottleneck, each weighing the share of its voxels that are scan."""
    share = functional.interpolate(inside, size=features.shape[2:], mode="area")
    share = share / share.sum((2, 3, 4), keepdim=True)
    mean = (features * share).sum((2, 3, 4))
    variance = ((features - mean[:, :, None, None, None]) ** 2 * share).sum((2, 3, 4))
    return torch.cat([mean, (variance + 1e-6).sqrt()], 1)


def expected_terms(trainer, network, heads, batch, terms):
    """Loss terms computed without the trainer's step: name -> (scalar, factor of its gradient at the encoder)."""
    channels, n = trainer.num_input_channels, len(batch["data"])
    images = batch["data"] if not terms else torch.cat([batch["data"], batch["data_target"]])[:, :channels]
    skips = network.encoder(images)
    result = {"seg": (trainer.loss(network.decoder([skip[:n] for skip in skips]), batch["target"]), 1.0)}
    if not terms:
        return result
    drawn_alike = round(n * (1 - trainer.oversample_foreground_percent))
    source = pooled_by_hand(skips[-1][:drawn_alike], batch["data"][:drawn_alike, channels:])
    target = pooled_by_hand(skips[-1][n:], batch["data_target"][:, channels:])
    if "adv" in terms:
        guess_source, guess_target = heads["domain_classifier"](source), heads["domain_classifier"](target)
        is_source, is_target = torch.zeros(len(source), dtype=torch.long), torch.ones(len(target), dtype=torch.long)
        loss = (functional.cross_entropy(guess_source, is_source) + functional.cross_entropy(guess_target, is_target)) / 2
        result["adv"] = (loss, -WEIGHTS["w_adv"] * WEIGHTS["grl_lambda_max"])
    if "mmd" in terms:
        result["mmd"] = (mmd(source, target), WEIGHTS["w_mmd"])
    return result


@pytest.mark.parametrize(("name", "plans", "terms"), ARMS, ids=[f"{name[14:]}-{plans}" for name, plans, _ in ARMS])
def test_step_follows_every_term_with_its_sign(make_trainer, name, plans, terms):
    changes = WEIGHTS | ({"deep_supervision": False} if plans == TRANSUNET else {})
    trainer = make_trainer(name, plans, **changes)
    assert trainer.terms == terms
    batch = next(trainer.get_dataloaders()[0])
    trainer.heads.eval()  # no dropout, so that both computations see the same head
    network, heads = copy.deepcopy(trainer.network), copy.deepcopy(trainer.heads)

    numbers = trainer.train_step(copy.deepcopy(batch))
    received = torch.cat([parameter.grad.flatten() for parameter in trainer.network.encoder.parameters()])

    parts = expected_terms(trainer, network, heads, batch, terms)
    gradients = {term: factor * encoder_gradient(network, loss) for term, (loss, factor) in parts.items()}
    assert (received - sum(gradients.values())).norm() < 5e-4 * received.norm()
    for term, (loss, _) in parts.items():
        assert_close(torch.tensor(numbers[f"loss_{term}"]), loss.detach(), rtol=1e-4, atol=1e-5)
        assert numbers[f"gradient_{term}"] > 0
        # five times the tolerance above: had the term vanished or changed sign, it could not have passed
        assert gradients[term].norm() > 2.5e-3 * received.norm(), f"{term} sends too little to the encoder to be noticed"


@pytest.mark.parametrize("plans", [TRANSUNET, STOCK])
def test_logged_gradient_is_the_gradient_at_the_encoder_output(make_trainer, plans):
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", plans, **WEIGHTS, deep_supervision=plans != TRANSUNET)
    batch = next(trainer.get_dataloaders()[0])
    network = copy.deepcopy(trainer.network)
    numbers = trainer.train_step(copy.deepcopy(batch))

    n = len(batch["data"])
    skips = network.encoder(torch.cat([batch["data"], batch["data_target"]])[:, : trainer.num_input_channels])
    loss = trainer.loss(network.decoder([skip[:n] for skip in skips]), batch["target"])
    (gradient,) = torch.autograd.grad(loss, skips[-1])
    assert numbers["gradient_seg"] == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_head_learns_with_the_plain_gradient(make_trainer):
    """The reversal turns the encoder's gradient alone; the classifier gets better at telling the domains apart."""
    trainer = make_trainer("nnUNetTrainer_UDA_GRL", STOCK, **WEIGHTS)
    batch = next(trainer.get_dataloaders()[0])
    trainer.heads.eval()
    network, heads = copy.deepcopy(trainer.network), copy.deepcopy(trainer.heads)
    trainer.train_step(copy.deepcopy(batch))
    loss, _ = expected_terms(trainer, network, heads, batch, ("adv",))["adv"]
    expected = torch.autograd.grad(WEIGHTS["w_adv"] * loss, list(heads.parameters()))
    for parameter, gradient in zip(trainer.heads.parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_source_only_equals_the_stock_trainer_bitwise(make_trainer, two_centres):
    ours = make_trainer("nnUNetTrainer_UDA_SourceOnly", STOCK)
    stock = make_trainer("nnUNetTrainer", STOCK)
    assert type(stock) is nnUNetTrainer
    stock.network.load_state_dict(ours.network.state_dict())
    batch = next(ours.get_dataloaders()[0])
    for _ in range(2):
        ours.train_step(copy.deepcopy(batch))
        stock.train_step(copy.deepcopy(batch))
    for (key, weight), (key_stock, weight_stock) in zip(ours.network.state_dict().items(), stock.network.state_dict().items(), strict=True):
        assert key == key_stock
        assert torch.equal(weight, weight_stock), key


@pytest.mark.parametrize("plans", [TRANSUNET, STOCK, RESENC])
def test_logits_are_bitwise_those_of_the_plain_network(make_trainer, plans):
    trainer = make_trainer("nnUNetTrainer_UDA_SourceOnly", plans, deep_supervision=plans != TRANSUNET)
    plain = nnUNetTrainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, trainer.label_manager.num_segmentation_heads, plans != TRANSUNET
    )
    plain.load_state_dict(trainer.network.state_dict())
    x = torch.randn(2, 1, *trainer.configuration_manager.patch_size, generator=torch.Generator().manual_seed(0))
    plain.eval(), trainer.network.eval()
    with torch.no_grad():
        expected, through_stock_call, (with_features, features) = plain(x), trainer.network(x), trainer.network(x, with_features=True)
    for a, b, c in zip(*(v if isinstance(v, (list, tuple)) else [v] for v in (expected, through_stock_call, with_features)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert features.shape[1:] == trainer._bottleneck
