"""Settings of one adaptation run: checked, and carried by the plans under the key `nnunet_da`."""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from nnunet_da.errors import UserError
from nnunet_da.typed_values import describe, fits

PLANS_KEY = "nnunet_da"


@dataclass(frozen=True)
class AdaptationSettings:
    """All numbers of an adaptation run; the trainer alone decides which loss terms exist.

    Weights and schedule follow PF-DAformer (arXiv 2510.26903) and its released code unless a preset says otherwise.

    Attributes:
        target_datasets: nnU-Net dataset name -> cases to train on, None for all of its training images.
        preset: the recipe these settings came from.
        w_adv: weight of the domain classifier's loss.
        w_mmd: weight of the squared maximum mean discrepancy.
        grl_schedule: reversal strength over training, constant or rising as in Ganin & Lempitsky 2015.
        grl_lambda_max: reversal strength at the end of training.
        classifier_input: what the domain classifier sees: the pooled features as they are, or each on the scale of its own variation.
        mmd_bandwidths: kernel widths as printed in the paper, or the ladder of deep adaptation networks.
        align_at: the features that are aligned: bottleneck, an earlier stage of the encoder (the second), or the decoder's output.
        pooling: what of them enters the alignment: their spatial mean, mean and standard deviation, or a mean within each predicted class.
        shuffle_domains: deal the aligned samples out to the domains at random, a negative control: alignment without its information.
        mask_padding: leave padded voxels out of the pooled features.
        seg_mix: share of the focal loss (PF-DAformer Eq. 17), for trainers that use it.
        focal_gamma: focusing exponent.
        focal_alpha: weight of the foreground in the focal loss, None for no weighting.
        restyle_probability: share of the source patches that take over a target's intensities, for trainers that do so.
        fourier_window: half the side of the window of mixed frequencies, as a share of the patch's shortest side (FDA's beta, FedDG's L).
        fourier_mix: largest share of the target's amplitude in that window; each patch draws its own below it.
        l2_weight: of the sum of squared convolution weights in the loss (V-Net femur), for trainers that use it.
        initial_lr: learning rate at the start (after warm-up), None for the trainer's own.
        weight_decay: of the network, None for the trainer's own.
        warmup_epochs: linear rise before the cosine, for trainers that use it.
        lr_floor: end of the cosine, for trainers that use it.
        head_lr: learning rate of the domain classifier, None for the network's.
        clip_grad_norm: largest gradient norm of the network, None for no clipping.
        deep_supervision: losses at several resolutions, as stock nnU-Net does.
        mirror_axes: patch axes that augmentation and prediction may mirror, None for stock's.
        oversample_foreground_percent: share of a source batch that is forced to hold foreground.
        num_epochs: training length.
        iterations_per_epoch: batches per epoch.
        val_iterations_per_epoch: source validation batches per epoch.
        save_every: epochs between two saves of the latest checkpoint.
        seed: of the weights, the batches and the augmentation, None for none.
        init_checkpoint: nnU-Net checkpoint to start from, segmentation layers included; `{fold}` stands for the fold.
        target_score_batches: target batches per epoch that the label-free scores are computed on, 0 for none.
    """

    target_datasets: dict[str, list[str] | None] = field(default_factory=dict)
    preset: str = ""
    w_adv: float = 0.1
    w_mmd: float = 0.1
    grl_schedule: Literal["constant", "ganin"] = "constant"
    grl_lambda_max: float = 1.0
    classifier_input: Literal["raw", "standardised"] = "raw"
    mmd_bandwidths: Literal["paper", "dan"] = "paper"
    align_at: Literal["bottleneck", "encoder", "output"] = "bottleneck"
    pooling: Literal["mean", "mean_std", "class_mean"] = "mean"
    shuffle_domains: bool = False
    mask_padding: bool = True
    seg_mix: float = 0.4
    focal_gamma: float = 2.0
    focal_alpha: float | None = None
    restyle_probability: float = 0.5
    fourier_window: float = 0.05
    fourier_mix: float = 1.0
    l2_weight: float = 1e-5
    initial_lr: float | None = None
    weight_decay: float | None = None
    warmup_epochs: int = 0
    lr_floor: float = 6e-6
    head_lr: float | None = None
    clip_grad_norm: float | None = 12.0
    deep_supervision: bool = True
    mirror_axes: list[int] | None = None
    oversample_foreground_percent: float = 0.33
    num_epochs: int = 1000
    iterations_per_epoch: int = 250
    val_iterations_per_epoch: int = 50
    save_every: int = 50
    seed: int | None = 0
    init_checkpoint: str | None = None
    target_score_batches: int = 4

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            if not fits(value, hints[setting.name]):
                raise UserError(
                    f"setting '{setting.name}' must be {describe(hints[setting.name])}, got {json.dumps(value, default=str)}: correct it"
                )
        _check_ranges(self)

    def weight(self, term: str) -> float:
        """Weight of an alignment term: the setting `w_<term>`."""
        return float(getattr(self, f"w_{term}"))

    def random_source_samples(self, batch_size: int) -> int:
        """Samples of a source batch that are drawn like the target's, without foreground forcing (nnU-Net forces the last ones)."""
        return round(batch_size * (1 - self.oversample_foreground_percent))

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that leaves fewer than two samples per domain to align.

        Raises:
            UserError: as above.
        """
        random_samples = self.random_source_samples(batch_size)
        if batch_size < 2 or random_samples < 2:
            raise UserError(
                "alignment needs at least 2 samples per domain that are drawn alike,"
                f" got a batch of {batch_size} of which {random_samples} are free of foreground forcing"
                f" (oversample_foreground_percent={self.oversample_foreground_percent}):"
                " plan a larger batch, or set oversample_foreground_percent=0"
            )


def settings_from_plans(configuration: dict[str, Any]) -> AdaptationSettings:
    """Read and check the settings of a resolved plans configuration.

    Raises:
        UserError: the configuration has none, or one is unknown, ill-typed or out of range.
    """
    if PLANS_KEY not in configuration:
        raise UserError(
            f"the plans configuration must hold the key '{PLANS_KEY}' with the adaptation settings, but it is missing:"
            " make the plans with `nnunet-da plan`"
        )
    return settings_from_dict(configuration[PLANS_KEY])


def settings_from_dict(values: dict[str, Any]) -> AdaptationSettings:
    """Build checked settings from JSON values; unknown names are refused with the known ones listed."""
    known = {setting.name for setting in dataclasses.fields(AdaptationSettings)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"setting '{unknown[0]}' is unknown, expected one of {', '.join(sorted(known))}: correct or remove it")
    return AdaptationSettings(**values)


def settings_to_dict(settings: AdaptationSettings) -> dict[str, Any]:
    """JSON values of the settings, all of them, so that plans say everything."""
    return dataclasses.asdict(settings)


def parse_assignment(text: str) -> tuple[str, Any]:
    """`name=value` with a JSON value (a bare word counts as a string) to a pair."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise UserError(f"a setting must be given as name=value, got '{text}': write for example --set w_mmd=0.2")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def _check_ranges(settings: AdaptationSettings) -> None:
    positive = ("num_epochs", "iterations_per_epoch", "val_iterations_per_epoch", "save_every")
    at_least_zero = ("w_adv", "w_mmd", "grl_lambda_max", "warmup_epochs", "focal_gamma", "l2_weight", "lr_floor", "target_score_batches")
    for name in positive:
        _require(name, getattr(settings, name), getattr(settings, name) >= 1, "1 or more")
    for name in at_least_zero:
        _require(name, getattr(settings, name), getattr(settings, name) >= 0, "0 or more")
    for name in ("initial_lr", "head_lr", "clip_grad_norm"):
        value = getattr(settings, name)
        _require(name, value, value is None or value > 0, "above 0, or null")
    for name in ("seg_mix", "oversample_foreground_percent", "focal_alpha", "restyle_probability", "fourier_mix"):
        value = getattr(settings, name)
        _require(name, value, value is None or 0 <= value <= 1, "between 0 and 1")
    _require("fourier_window", settings.fourier_window, 0 <= settings.fourier_window <= 0.5, "between 0 and 0.5")
    _require("weight_decay", settings.weight_decay, settings.weight_decay is None or settings.weight_decay >= 0, "0 or more, or null")
    _require("seed", settings.seed, settings.seed is None or 0 <= settings.seed < 2**31, "between 0 and 2147483647, or null")
    axes = settings.mirror_axes or []
    _require("mirror_axes", axes, set(axes) <= {0, 1, 2} and len(set(axes)) == len(axes), "a list of different patch axes 0, 1, 2")
    if settings.align_at == "output" and settings.pooling == "class_mean":
        raise UserError(
            'setting \'pooling\' must be "mean" or "mean_std" with align_at="output", got "class_mean": the output is the classes'
            " themselves; average features within classes at the bottleneck or encoder"
        )


def _require(name: str, value: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise UserError(f"setting '{name}' must be {expected}, got {value}: correct it")
