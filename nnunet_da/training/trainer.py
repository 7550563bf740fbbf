"""DomainAdaptationTrainer: stock nnU-Net training plus alignment of two domains' features."""

import pydoc
from contextlib import nullcontext
from typing import Any, cast

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, autocast, nn

from nnunet_da.errors import UserError
from nnunet_da.training.alignment import Alignment
from nnunet_da.training.batch import DomainBatch, domain_batch
from nnunet_da.training.distributed import average_gradients, broadcast_module, check_ranks, joint_batch, joint_norms, mean_over_ranks
from nnunet_da.training.features import FeatureForward, feature_shape, with_feature_forward
from nnunet_da.training.randomness import Stream
from nnunet_da.training.target_scores import score_names, target_scores
from nnunet_da.training.two_domains import TwoDomainTrainer


class DomainAdaptationTrainer(TwoDomainTrainer):
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
        self._refuse_unsupported()
        if self.device.type == "cpu":
            torch.set_flush_denormal(True)  # early gradients are so small that the CPU would take up to ten times as long

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
        network = nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        planned, built = configuration_manager.network_arch_class_name, type(network)
        if pydoc.locate(planned) is not built:
            raise UserError(f"the plans' network {planned} must be importable, nnU-Net fell back to {built}: run `nnunet-da doctor`")
        return with_feature_forward(network)

    def initialize(self) -> None:
        super().initialize()
        network, planned = cast(FeatureForward, self._bare_network()), self.configuration_manager
        check_ranks(planned.batch_size, planned.batch_dice, self.enable_deep_supervision, len(getattr(network.decoder, "seg_layers", ())))
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

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Stock validation switches it on at its end, also where the run has none."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    # --- the step ---------------------------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = batch | {key: self._to_device(batch[key]) for key in ("data", "data_target", "target") if key in batch}
        images, n_source = self._images(batch), len(batch["data"])
        n_probed = self.alignment.probed(n_source, len(images))
        probe = torch.zeros(n_probed, *self._feature_shape, device=self.device, requires_grad=True)
        self._seed(Stream.STEP)
        self._zero_grad()
        with autocast(self.device.type, enabled=True) if self.device.type == "cuda" else nullcontext():
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
        if self.grad_scaler is None and not torch.isfinite(mean_over_ranks(total)):
            self._stop_at_bad_loss({f"loss_{term}": loss.item() for term, loss in losses.items()}, batch)
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
        losses = self.adaptation_losses(*self.domain_batches(features, batch, output))
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

    def _zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.heads_optimizer is not None:
            self.heads_optimizer.zero_grad(set_to_none=True)

    def _backward_and_step(self, total: Tensor) -> Tensor | float:
        """One backward and one step of every optimiser. Returns the factor by which gradients of inputs are scaled."""
        optimizers = [self.optimizer] + ([self.heads_optimizer] if self.heads_optimizer is not None else [])
        if self.grad_scaler is None:
            total.backward()
            average_gradients(self.heads)
            self._clip()
            for optimizer in optimizers:
                optimizer.step()
            return 1.0
        scale = self.grad_scaler.scale(torch.ones((), device=self.device))  # its own getter would wait for the GPU
        self.grad_scaler.scale(total).backward()
        average_gradients(self.heads)
        for optimizer in optimizers:
            self.grad_scaler.unscale_(optimizer)
        self._clip()
        for optimizer in optimizers:
            self.grad_scaler.step(optimizer)
        self.grad_scaler.update()
        return scale

    def _clip(self) -> None:
        if self.settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_grad_norm)

    def _numbers(self, total: Tensor, losses: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Any]:
        """Everything to log, fetched from the device at once."""
        values = {"loss": total, **{f"loss_{term}": loss for term, loss in losses.items()}}
        values |= {f"gradient_{term}": norm for term, norm in joint_norms(gradients).items()} | self._observations
        stacked = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=self.device).detach() for value in values.values()])
        return dict(zip(values, mean_over_ranks(stacked).cpu().numpy(), strict=True))

    # --- epochs -----------------------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.heads.train()
        if self.heads_optimizer is not None:
            base = self.settings.head_lr or self.initial_lr
            for group in self.heads_optimizer.param_groups:
                group["lr"] = base * self.optimizer.param_groups[0]["lr"] / self.initial_lr

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(val_outputs)
        if self.terms:
            self.log_means(target_scores(self, self.score_batches(), self.settings.target_score_batches))

    @property
    def curve_names(self) -> list[str]:
        return self.step_curve_names + (score_names(self.settings.target_score_batches) if self.terms else [])

    @property
    def step_curve_names(self) -> list[str]:
        """Curves of this method: every loss term, the gradient each sends to the features that are aligned, and what it observes."""
        losses = [f"loss_{term}" for term in ("seg", *self.terms)]
        gradients = [f"gradient_{term}" for term in ("seg", *self.terms)]
        return losses + gradients + list(self.observed if self.terms else ())

    # --- parts ------------------------------------------------------------------------------------------------------------------------

    def _refuse_unsupported(self) -> None:
        if self.is_cascaded:
            raise NotImplementedError(
                f"{type(self).__name__} does not train cascades: train 3d_fullres instead of {self.configuration_name}."
            )

    def _to_device(self, data: Tensor | list[Tensor]) -> Any:
        if isinstance(data, list):
            return [part.to(self.device, non_blocking=True) for part in data]
        return data.to(self.device, non_blocking=True)
