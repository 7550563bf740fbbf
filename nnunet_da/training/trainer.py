"""DomainAdaptationTrainer: stock nnU-Net training plus alignment of two domains' features."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from nnunet_da.training.alignment import Alignment
from nnunet_da.training.batch import DomainBatch, domain_batch, shuffled
from nnunet_da.training.distributed import broadcast_module, joint_batch, joint_norms
from nnunet_da.training.features import FeatureForward, feature_shape, with_feature_forward
from nnunet_da.training.randomness import Stream
from nnunet_da.training.supervised import SupervisedTrainer


class DomainAdaptationTrainer(SupervisedTrainer):
    """Trains on a labelled source and, where the method has alignment terms, on the scans of an unlabelled target.

    One step: source and target patches in one forward (encoder on all, decoder on the source, and on the target where the settings align
    what it says), the supervised loss on the source, and the alignment terms in float32 on features of samples that were drawn alike. A
    method is a subclass that names its `terms` and computes them in `adaptation_losses`; without terms no target file is ever opened.
    Weights and schedules come from the plans.
    """

    observed: tuple[str, ...] = ()

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        self._observations: dict[str, Any] = {}
        super().__init__(plans, configuration, fold, dataset_json, device)

    # --- what a method provides -------------------------------------------------------------------------------------------------------

    def build_heads(self, num_features: int) -> dict[str, nn.Module]:
        """Networks that serve alignment alone, trained by their own optimiser and no part of the segmentation network."""
        return {}

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch) -> dict[str, Tensor]:
        """One unweighted scalar for each of `terms`; the setting `w_<term>` weighs it."""
        raise NotImplementedError(f"{type(self).__name__} names the terms {self.terms} and must compute them in adaptation_losses.")

    def observe(self, name: str, value: Tensor | float) -> None:
        """Log a number of this step, one of `observed`; the epoch's mean enters the curves."""
        self._observations[name] = value

    # --- set-up -----------------------------------------------------------------------------------------------------------------------

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The plans' network, with a forward that can return features; called by training and by prediction."""
        network = SupervisedTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        return with_feature_forward(network)

    def initialize(self) -> None:
        super().initialize()
        network, planned = cast(FeatureForward, self._bare_network()), self.configuration_manager
        self._feature_shape = feature_shape(network, self.alignment.place, self.num_input_channels, planned.patch_size)
        if self.terms:
            num_features = self.alignment.width(self._feature_shape[0], self.label_manager.num_segmentation_heads)
            self.heads = nn.ModuleDict(self.build_heads(num_features)).to(self.device)
            broadcast_module(self.heads)
        if len(self.heads):
            head_lr = self.settings.head_lr or self.initial_lr
            self.heads_optimizer = torch.optim.AdamW(self.heads.parameters(), head_lr, weight_decay=1e-2)

    @property
    def alignment(self) -> Alignment:
        """What is aligned; without terms nothing is, and the step is stock's."""
        if not self.terms:
            return Alignment()
        return Alignment(self.settings.align_at, self.settings.pooling, self.label_manager.has_regions)

    # --- the step ---------------------------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = batch | {key: self._to_device(batch[key]) for key in ("data", "data_target", "target") if key in batch}
        images, n_source = self._images(batch), len(batch["data"])
        n_probed = self.alignment.probed(n_source, len(images))
        probe = torch.zeros(n_probed, *self._feature_shape, device=self.device, requires_grad=True)
        self._seed(Stream.STEP)
        self._zero_grad()
        with self._autocast():
            logits, features, output = self.alignment.forward(self.network, images, n_source, probe)
            seg_loss = self.loss(logits, batch["target"])
        losses, total, gradients = {"seg": seg_loss}, seg_loss, {}
        if self.terms:
            self._seed(Stream.ALIGNMENT)
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            losses |= self._alignment(features, batch, output)
            for term in self.terms:
                weighted = self.settings.weight(term) * losses[term]
                (gradients[term],) = torch.autograd.grad(weighted, features, retain_graph=True)
                total = total + weighted
        self._stop_if_lost(total, {f"loss_{term}": loss for term, loss in losses.items()}, batch)
        scale = self._backward_and_step(total)
        assert probe.grad is not None
        gradients = {"seg": probe.grad / scale, **gradients}
        return self.finish_step(self._numbers(total, losses, gradients), batch)

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return min(1.0, self.steps_done / (self.num_epochs * self.settings.iterations_per_epoch))

    def domain_batches(self, features: Tensor, batch: dict[str, Any], output: Tensor | None = None) -> tuple[DomainBatch, DomainBatch]:
        """What the terms see of (B, C', ...) features: samples drawn alike, not source samples with forced foreground.

        With several GPUs those of all of them.

        Args:
            features: of the source's samples, then of the target's.
            output: (B, K, ...) their full-resolution logits, where pooling asks for them.
        """
        n_source = len(batch["data"])
        random, target = slice(round(n_source * (1 - self.oversample_foreground_percent))), slice(n_source, None)

        def domain(samples: slice, data: Tensor, cases: list[str]) -> DomainBatch:
            seen = None if output is None else output[samples]
            return joint_batch(domain_batch(self.alignment, features[samples], seen, self._inside(data), cases))

        return (
            domain(random, batch["data"][random], list(batch["keys"])[random]),
            domain(target, batch["data_target"], list(batch["keys_target"])),
        )

    def _alignment(self, features: Tensor, batch: dict[str, Any], output: Tensor | None) -> dict[str, Tensor]:
        domains = self.domain_batches(features, batch, output)
        losses = self.adaptation_losses(*(shuffled(*domains) if self.settings.shuffle_domains else domains))
        if set(losses) != set(self.terms):
            raise ValueError(f"{type(self).__name__} names the terms {self.terms}, but adaptation_losses returned {tuple(losses)}.")
        return losses

    def _images(self, batch: dict[str, Any]) -> Tensor:
        """(B, C, ...) of the source, then of the target, without the mark of padding."""
        if not self.terms:
            return self._to_device(batch["data"])
        both = torch.cat([self._to_device(batch["data"]), self._to_device(batch["data_target"])])
        return both[:, : self.num_input_channels]

    def _inside(self, data: Tensor) -> Tensor | None:
        """(N, 1, ...) the mark of what is scan and not padding, or None where the settings do not ask for it."""
        return data[:, self.num_input_channels :].to(self.device) if self.settings.mask_padding else None

    def _numbers(self, total: Tensor, losses: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Any]:
        """Everything to log, fetched from the device at once."""
        values = {"loss": total, **{f"loss_{term}": loss for term, loss in losses.items()}}
        values |= {f"gradient_{term}": norm for term, norm in joint_norms(gradients).items()} | self._observations
        return self._fetched(values)

    # --- epochs -----------------------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.heads.train()
        if self.heads_optimizer is not None:
            base = self.settings.head_lr or self.initial_lr
            for group in self.heads_optimizer.param_groups:
                group["lr"] = base * self.optimizer.param_groups[0]["lr"] / self.initial_lr

    @property
    def step_curve_names(self) -> list[str]:
        """Curves of this method: every loss term, the gradient each sends to the features that are aligned, and what it observes."""
        losses = [f"loss_{term}" for term in ("seg", *self.terms)]
        gradients = [f"gradient_{term}" for term in ("seg", *self.terms)]
        return losses + gradients + list(self.observed if self.terms else ())
