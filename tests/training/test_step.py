"""Every trainer on every network we ship: the gradient of one real step equals what its terms say, term by term."""

import copy
import json

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn import functional
from torch.testing import assert_close

from nnunet_da.adaptation import mmd
from nnunet_da.training.alignment import Alignment

TRANSUNET, STOCK, RESENC = "PFDAformerDemoPlans", "UDAPlans", "UDAResEncMPlans"
TERMS = {"": ("adv", "mmd"), "_GRL_MMD": ("adv", "mmd"), "_GRL": ("adv",), "_MMD": ("mmd",), "_SourceOnly": ()}
ARMS = [(f"nnUNetTrainer_PFDAformer{suffix}", TRANSUNET, TERMS[suffix]) for suffix in ("", "_GRL", "_MMD", "_SourceOnly")] + [
    (f"nnUNetTrainer_UDA{suffix}", plans, TERMS[suffix])
    for plans in (STOCK, RESENC, TRANSUNET)
    for suffix in ("_GRL", "_MMD", "_GRL_MMD", "_SourceOnly")
]
WEIGHTS = {"w_adv": 0.7, "w_mmd": 0.4, "grl_lambda_max": 0.6, "clip_grad_norm": None, "classifier_input": "raw"}


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


def test_classifier_sees_features_on_the_scale_of_their_variation(make_trainer):
    """In a first step that of its batch. The encoder receives the reversed gradient through the division, not through the statistics."""
    trainer = make_trainer("nnUNetTrainer_UDA_GRL", STOCK, **(WEIGHTS | {"classifier_input": "standardised"}))
    batch = next(trainer.get_dataloaders()[0])
    trainer.heads["domain_classifier"].eval()  # no dropout
    network, heads = copy.deepcopy(trainer.network), copy.deepcopy(trainer.heads)
    numbers = trainer.train_step(copy.deepcopy(batch))
    received = torch.cat([parameter.grad.flatten() for parameter in trainer.network.encoder.parameters()])

    channels, n = trainer.num_input_channels, len(batch["data"])
    skips = network.encoder(torch.cat([batch["data"], batch["data_target"]])[:, :channels])
    features, supervised = skips[-1], trainer.loss(network.decoder([skip[:n] for skip in skips]), batch["target"])
    drawn_alike = round(n * (1 - trainer.oversample_foreground_percent))
    source = pooled_by_hand(features[:drawn_alike], batch["data"][:drawn_alike, channels:])
    both = torch.cat([source, pooled_by_hand(features[n:], batch["data_target"][:, channels:])])
    deviation = both.std(0, correction=0).detach()
    seen = (both - both.mean(0).detach()) / deviation.clamp(min=0.1 * deviation.mean().item())
    guesses, truths = heads["domain_classifier"](seen), torch.tensor([0] * drawn_alike + [1] * (len(both) - drawn_alike))
    weight = torch.tensor([0.5 / drawn_alike, 0.5 / (len(both) - drawn_alike)])
    loss = (functional.cross_entropy(guesses, truths, reduction="none") * weight[truths]).sum()
    reversed_loss = -WEIGHTS["w_adv"] * WEIGHTS["grl_lambda_max"] * loss
    adversarial = encoder_gradient(network, reversed_loss)
    assert numbers["loss_adv"] == pytest.approx(loss.item(), rel=1e-3)
    assert (received - adversarial - encoder_gradient(network, supervised)).norm() < 1e-2 * received.norm()
    assert adversarial.norm() > 0.1 * received.norm(), "it could vanish or change its sign unnoticed"
    assert_close(trainer.heads["standardisation"].mean, both.mean(0).detach(), rtol=1e-4, atol=1e-6)


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
    assert features.shape[1:] == trainer._feature_shape


# --- aligned elsewhere, or class by class

PLACES = [("encoder", "mean_std"), ("encoder", "class_mean"), ("bottleneck", "class_mean"), ("output", "mean"), ("output", "mean_std")]


def class_means_by_hand(features, logits, inside):
    """Mean of the features over the cells, each weighing what of its scan is predicted to be the class; rare classes drawn to the mean."""
    probabilities = torch.softmax(logits.detach(), 1)
    mean = pooled_by_hand(features, inside)[:, : features.shape[1]]
    parts = []
    for label in range(probabilities.shape[1]):
        share = functional.interpolate(probabilities[:, label : label + 1] * inside, size=features.shape[2:], mode="area")
        share = share / functional.interpolate(inside, size=features.shape[2:], mode="area").sum((2, 3, 4), keepdim=True)
        parts.append(((features * share).sum((2, 3, 4)) + 1e-3 * mean) / (share.sum((2, 3, 4)) + 1e-3))
    return torch.cat(parts, 1)


def losses_by_hand(trainer, network, heads, batch, align_at, pooling):
    """name -> (loss, features), from the network's two parts alone: everything is decoded, the supervised loss is the source's."""
    channels, n = trainer.num_input_channels, len(batch["data"])
    skips = list(network.encoder(torch.cat([batch["data"], batch["data_target"]])[:, :channels]))
    decoded = align_at == "output" or pooling == "class_mean"
    logits = network.decoder(skips if decoded else [skip[:n] for skip in skips])
    scales = logits if isinstance(logits, list) else [logits]
    places = {"bottleneck": skips[-1], "encoder": skips[1], "output": scales[0]}
    features = places[align_at]
    labelled = [scale[:n] for scale in scales]
    losses = {"seg": trainer.loss(labelled if isinstance(logits, list) else labelled[0], batch["target"])}
    drawn_alike = round(n * (1 - trainer.oversample_foreground_percent))
    pooled = []
    for samples, data in ((slice(drawn_alike), batch["data"][:drawn_alike]), (slice(n, None), batch["data_target"])):
        maps = torch.softmax(features[samples], 1) if align_at == "output" else features[samples]
        if pooling == "class_mean":
            pooled.append(class_means_by_hand(maps, scales[0][samples], data[:, channels:]))
        else:
            both = pooled_by_hand(maps, data[:, channels:])
            pooled.append(both if pooling == "mean_std" else both[:, : maps.shape[1]])
    guesses = [heads["domain_classifier"](part) for part in pooled]
    truths = [torch.full((len(part),), domain, dtype=torch.long) for domain, part in enumerate(pooled)]
    losses["adv"] = sum(functional.cross_entropy(*pair) for pair in zip(guesses, truths, strict=True)) / 2
    losses["mmd"] = mmd(*pooled)
    return losses, features


def biases_taken_out_again(network):
    """Names of biases right before a norm: the gradient is 0 but for rounding, which differs between processors."""
    return {f"{name}.conv.bias" for name, module in network.named_modules() if hasattr(module, "conv") and hasattr(module, "norm")}


@pytest.mark.parametrize(("align_at", "pooling"), PLACES)
@pytest.mark.parametrize(
    "plans", [STOCK, pytest.param(RESENC, marks=pytest.mark.slow), pytest.param(TRANSUNET, marks=pytest.mark.slow), "batch_norm"]
)
def test_every_weight_receives_its_gradient_wherever_features_are_aligned(make_trainer, two_centres, plans, align_at, pooling):
    """Also where a batch norm lets the supervised loss of source samples reach the target's features."""
    changes = WEIGHTS | {"align_at": align_at, "pooling": pooling, "deep_supervision": plans != TRANSUNET}
    trainer = make_trainer("nnUNetTrainer_UDA_GRL_MMD", with_batch_norm(two_centres) if plans == "batch_norm" else plans, **changes)
    batch = next(trainer.get_dataloaders()[0])
    trainer.heads.eval()
    network, heads = copy.deepcopy(trainer.network), copy.deepcopy(trainer.heads)
    numbers = trainer.train_step(copy.deepcopy(batch))

    losses, features = losses_by_hand(trainer, network, heads, batch, align_at, pooling)
    factors = {"seg": 1.0, "adv": -WEIGHTS["w_adv"] * WEIGHTS["grl_lambda_max"], "mmd": WEIGHTS["w_mmd"]}
    weights = list(network.parameters())
    gradients = {
        term: torch.autograd.grad(factors[term] * loss, [*weights, features], retain_graph=True, allow_unused=True, materialize_grads=True)
        for term, loss in losses.items()
    }
    received = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainer.network.parameters()]
    scale = torch.cat([gradient.flatten() for gradient in received]).norm()
    cancelled = biases_taken_out_again(network)
    for (name, _), gradient, *parts in zip(network.named_parameters(), received, *(g[:-1] for g in gradients.values()), strict=True):
        size = scale if name in cancelled else max(gradient.norm(), 1e-2 * scale)
        assert (gradient - sum(parts)).norm() < 5e-4 * size, name
    for term, loss in losses.items():
        assert_close(torch.tensor(numbers[f"loss_{term}"]), loss.detach(), rtol=1e-4, atol=1e-5)
        assert numbers[f"gradient_{term}"] == pytest.approx(gradients[term][-1].norm().item(), rel=2e-3), term
        assert torch.cat([g.flatten() for g in gradients[term][:-1]]).norm() > 2.5e-3 * scale, f"{term} could vanish unnoticed"


def with_batch_norm(two_centres):
    file = two_centres / "nnUNet_preprocessed" / "Dataset101_A" / "UDAPlans.json"
    plans = json.loads(file.read_text()) | {"plans_name": "UDABatchNorm"}
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["norm_op"] = "torch.nn.modules.batchnorm.BatchNorm3d"
    file.with_name("UDABatchNorm.json").write_text(json.dumps(plans))
    return "UDABatchNorm"


@pytest.mark.parametrize("plans", [STOCK, TRANSUNET])
def test_class_means_leave_the_decoder_alone(make_trainer, plans):
    """What is predicted decides where features are averaged; it is not itself pulled at."""
    trainer = make_trainer("nnUNetTrainer_UDA_MMD", plans, w_mmd=0.4, pooling="class_mean", deep_supervision=plans != TRANSUNET)
    batch = next(trainer.get_dataloaders()[0])
    images = trainer._images(batch)
    _, features, output = trainer.alignment.forward(trainer.network, images, len(batch["data"]))
    assert len(output) == len(images)
    loss = trainer._alignment(features, batch, output)["mmd"]
    decoder = [weight for name, weight in trainer.network.decoder.named_parameters() if not name.startswith("encoder.")]  # stock's holds it
    found = torch.autograd.grad(loss, decoder, allow_unused=True, retain_graph=True)
    assert all(gradient is None or not gradient.any() for gradient in found)
    assert torch.autograd.grad(loss, features)[0].any()


def test_source_only_ignores_where_others_align(make_trainer):
    trainer = make_trainer("nnUNetTrainer_UDA_SourceOnly", STOCK, align_at="encoder", pooling="class_mean")
    assert trainer.alignment == Alignment()
    assert trainer.train_step(next(trainer.get_dataloaders()[0]))["gradient_seg"] > 0
