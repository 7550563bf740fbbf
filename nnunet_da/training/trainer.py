"""DomainAdaptationTrainer: stock nnU-Net training plus alignment of two domains' bottleneck features."""

import pydoc
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA
from torch import Tensor, autocast, nn
from torch import distributed as dist

from nnunet_da.errors import UserError
from nnunet_da.preprocessing import target_cache
from nnunet_da.settings import settings_from_plans
from nnunet_da.training.batch import DomainBatch, domain_batch
from nnunet_da.training.checkpoint import LATEST, PREVIOUS, check_continues, readable_checkpoint, restore, save_atomically
from nnunet_da.training.features import FeatureForward, bottleneck_shape, with_feature_forward
from nnunet_da.training.interruption import EXIT_CODE, Interruption
from nnunet_da.training.loaders import GuardedLoader, PairedLoader, PooledDataset, augmenter, finish, mark_padding
from nnunet_da.training.logging import register, write_curves
from nnunet_da.training.randomness import Stream, seed_everything, seed_for

BAD_STEPS = 10  # in a row, after which mixed precision gives up; without it the first one stops the training


class DomainAdaptationTrainer(nnUNetTrainer):
    """Trains on a labelled source and, where the method has alignment terms, on the scans of an unlabelled target.

    One step: source and target patches in one forward (encoder on all, decoder on the source), the supervised loss on the source, and
    the alignment terms in float32 on the bottleneck of samples that were drawn alike. A method is a subclass that names its `terms` and
    computes them in `adaptation_losses`; without terms no target file is ever opened. Weights and schedules come from the plans.
    """

    terms: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.settings = settings_from_plans(self.configuration_manager.configuration)
        self._refuse_unsupported()
        self._apply_settings()
        if self.device.type == "cpu":
            torch.set_flush_denormal(True)  # early gradients are so small that the CPU would take up to ten times as long
        self.heads = nn.ModuleDict()
        self.heads_optimizer: torch.optim.Optimizer | None = None
        self.epoch_outputs: list[dict[str, Any]] = []  # of the steps of this epoch so far
        self.within_epoch = False
        self._observations: dict[str, Any] = {}
        self._bad_steps = 0
        self._interruption = Interruption()
        register(self.logger, self.curve_names)

    # --- what a method provides -------------------------------------------------------------------------------------------------------

    def build_heads(self, num_features: int) -> dict[str, nn.Module]:
        """Networks that serve alignment alone, trained by their own optimiser and no part of the segmentation network."""
        return {}

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch) -> dict[str, Tensor]:
        """One unweighted scalar for each of `terms`; the setting `w_<term>` weighs it."""
        raise NotImplementedError(f"{type(self).__name__} names the terms {self.terms} and must compute them in adaptation_losses.")

    def default_rates(self) -> tuple[float, float]:
        """Learning rate and weight decay where the plans give none: stock nnU-Net's."""
        return self.initial_lr, self.weight_decay

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
        self._seed(Stream.WEIGHTS)
        super().initialize()
        network = self._bare_network()
        self._bottleneck = bottleneck_shape(network, self.num_input_channels, self.configuration_manager.patch_size)
        if self.terms:
            num_features = self._bottleneck[0] * (2 if self.settings.pooling == "mean_std" else 1)
            self.heads = nn.ModuleDict(self.build_heads(num_features)).to(self.device)
        if len(self.heads):
            head_lr = self.settings.head_lr or self.initial_lr
            self.heads_optimizer = torch.optim.AdamW(self.heads.parameters(), head_lr, weight_decay=1e-2)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Stock validation switches it on at its end, also where the run has none."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Source training and validation batches as in stock nnU-Net; with alignment terms the training batches hold the target's too."""
        target = self._target_dataset() if self.terms else None  # first: a missing cache should cost no time
        rotation, dummy_2d, initial_patch_size, mirror_axes = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        scales = self._get_deep_supervision_scales()
        transforms = self._training_transforms(rotation, scales, mirror_axes, dummy_2d)
        source, validation = self.get_tr_and_val_datasets()
        forced, workers = self.oversample_foreground_percent, get_allowed_n_proc_DA()
        cached = max(6, workers // 2)
        train = self._batches(source, initial_patch_size, transforms, forced, workers, cached, Stream.SOURCE)
        if target is not None:
            train = PairedLoader(train, self._batches(target, initial_patch_size, transforms, 0.0, workers, cached, Stream.TARGET))
        half, cached = (max(1, workers // 2) if workers else 0), max(3, workers // 4)
        patch_size, plain = self.configuration_manager.patch_size, self._validation_transforms(scales)
        held_out = self._batches(validation, patch_size, plain, forced, half, cached, Stream.VALIDATION)
        loaders = GuardedLoader(train, lambda: self._explain(target)), GuardedLoader(held_out, lambda: self._explain(None))
        for loader in loaders:
            next(loader)  # stock does so too: workers start and errors show before the first epoch
        return loaders

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, bool, Any, tuple[int, ...]]:  # noqa: N802
        rotation, dummy_2d, initial_patch_size, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.settings.mirror_axes is not None:
            mirror_axes = tuple(axis for axis in self.settings.mirror_axes if axis in mirror_axes)
            self.inference_allowed_mirroring_axes = mirror_axes or None  # stock prediction fails on an empty tuple
        return rotation, dummy_2d, initial_patch_size, mirror_axes

    # --- the step ---------------------------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        images, labels = self._images(batch), self._to_device(batch["target"])
        n_source = len(batch["data"])
        probe = torch.zeros(n_source, *self._bottleneck, device=self.device, requires_grad=True)
        self._seed(Stream.STEP)
        self._zero_grad()
        with autocast(self.device.type, enabled=True) if self.device.type == "cuda" else nullcontext():
            logits, features = self.network(images, n_labelled=n_source, with_features=True, probe=probe)
            seg_loss = self.loss(logits, labels)
        losses, total, gradients = {"seg": seg_loss}, seg_loss, {}
        if self.terms:
            self._seed(Stream.ALIGNMENT)
            features = features.float()
            losses |= self._alignment(features, batch)
            for term in self.terms:
                weighted = self.settings.weight(term) * losses[term]
                (gradients[term],) = torch.autograd.grad(weighted, features, retain_graph=True)
                total = total + weighted
        if self.grad_scaler is None and not torch.isfinite(total):
            self._stop_at_bad_loss({f"loss_{term}": loss.item() for term, loss in losses.items()}, batch)
        scale = self._backward_and_step(total)
        assert probe.grad is not None
        gradients = {"seg": probe.grad / scale, **gradients}
        numbers = self._numbers(total, losses, gradients)
        self._count_bad_steps(numbers, batch)
        self.epoch_outputs.append(numbers)
        self._leave_if_asked()
        return numbers

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._leave_if_asked()
        return super().validation_step(batch)

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return min(1.0, self.steps_done / (self.num_epochs * self.settings.iterations_per_epoch))

    @property
    def steps_done(self) -> int:
        """Training steps since the start, those before a resume included."""
        return self.current_epoch * self.settings.iterations_per_epoch + len(self.epoch_outputs)

    def domain_batches(self, features: Tensor, batch: dict[str, Any]) -> tuple[DomainBatch, DomainBatch]:
        """What the terms see of (B, C', ...) bottleneck features: samples drawn alike, not source samples with forced foreground."""
        n_source, pooling = len(batch["data"]), self.settings.pooling
        n_random = round(n_source * (1 - self.oversample_foreground_percent))
        inside_source, inside_target = self._inside(batch["data"][:n_random]), self._inside(batch["data_target"])
        source = domain_batch(features[:n_random], inside_source, pooling, list(batch["keys"])[:n_random])
        return source, domain_batch(features[n_source:], inside_target, pooling, list(batch["keys_target"]))

    def _alignment(self, features: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        losses = self.adaptation_losses(*self.domain_batches(features, batch))
        if set(losses) != set(self.terms):
            raise ValueError(f"{type(self).__name__} names the terms {self.terms}, but adaptation_losses returned {tuple(losses)}.")
        return losses

    def _images(self, batch: dict[str, Any]) -> Tensor:
        if not self.terms:
            return self._to_device(batch["data"])
        both = torch.cat([batch["data"], batch["data_target"]])
        return self._to_device(both[:, : self.num_input_channels])

    def _inside(self, data: Tensor) -> Tensor | None:
        """(N, 1, ...) the mark of what is scan and not padding, or None where the settings do not ask for it."""
        return data[:, self.num_input_channels :].to(self.device) if self.settings.mask_padding else None

    def _zero_grad(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.heads_optimizer is not None:
            self.heads_optimizer.zero_grad(set_to_none=True)

    def _backward_and_step(self, total: Tensor) -> float:
        """One backward and one step of every optimiser. Returns the factor by which gradients of inputs are scaled."""
        optimizers = [self.optimizer] + ([self.heads_optimizer] if self.heads_optimizer is not None else [])
        if self.grad_scaler is None:
            total.backward()
            self._clip()
            for optimizer in optimizers:
                optimizer.step()
            return 1.0
        scale = self.grad_scaler.get_scale()
        self.grad_scaler.scale(total).backward()
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
        values |= {f"gradient_{term}": gradient.norm() for term, gradient in gradients.items()} | self._observations
        stacked = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=self.device).detach() for value in values.values()])
        return dict(zip(values, stacked.cpu().numpy(), strict=True))

    def _stop_at_bad_loss(self, numbers: dict[str, Any], batch: dict[str, Any]) -> None:
        bad = [f"{name[5:]} = {value}" for name, value in numbers.items() if name.startswith("loss_") and not np.isfinite(value)]
        cases = ", ".join([*batch["keys"], *batch.get("keys_target", [])])
        raise UserError(
            f"every loss must stay finite, in epoch {self.current_epoch}, step {len(self.epoch_outputs)} got {', '.join(bad)}"
            f" (cases {cases}): check these scans, or lower that term's weight or the learning rate; the checkpoints of before are kept"
        )

    def _count_bad_steps(self, numbers: dict[str, Any], batch: dict[str, Any]) -> None:
        """Mixed precision skips a step with infinite gradients now and then; many in a row mean that the training is lost."""
        self._bad_steps = 0 if np.isfinite(numbers["loss"]) else self._bad_steps + 1
        if self._bad_steps >= BAD_STEPS:
            self._stop_at_bad_loss(numbers, batch)

    # --- epochs -----------------------------------------------------------------------------------------------------------------------

    def run_training(self) -> None:
        with nullcontext() if self.is_ddp else self._interruption.listening():  # one rank alone cannot stop
            super().run_training()

    def on_train_start(self) -> None:
        super().on_train_start()
        for unfinished in Path(self.output_folder).glob(".*.part"):
            unfinished.unlink(missing_ok=True)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.within_epoch = True
        self.num_iterations_per_epoch = self.settings.iterations_per_epoch - len(self.epoch_outputs)
        self.heads.train()
        if self.heads_optimizer is not None:
            base = self.settings.head_lr or self.initial_lr
            for group in self.heads_optimizer.param_groups:
                group["lr"] = base * self.optimizer.param_groups[0]["lr"] / self.initial_lr

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(self.epoch_outputs)
        for name in self.curve_names:
            values = [output[name] for output in self.epoch_outputs]  # a step that the loss scaler skips has infinite gradients
            value = self._mean_over_ranks(float(np.mean([number for number in values if np.isfinite(number)] or [np.nan])))
            self.logger.log(name, value, self.current_epoch)
            self.print_to_log_file(name, round(value, 6))

    def on_epoch_end(self) -> None:
        self.within_epoch = False
        super().on_epoch_end()
        self.epoch_outputs = []
        if self.local_rank == 0:
            write_curves(self.logger, self.curve_names, Path(self.output_folder) / "curves.csv")

    def on_train_end(self) -> None:
        super().on_train_end()
        if self.local_rank == 0:
            Path(self.output_folder, PREVIOUS).unlink(missing_ok=True)
        finish(self.dataloader_train)
        finish(self.dataloader_val)

    def _leave_if_asked(self) -> None:
        """On SIGTERM save where the training stands and leave; `--c` goes on with the next step."""
        if not self._interruption.requested:
            return
        self.print_to_log_file(f"Asked to stop (SIGTERM) in epoch {self.current_epoch} after {len(self.epoch_outputs)} steps of it")
        self.save_checkpoint(str(Path(self.output_folder) / LATEST))
        if not self.disable_checkpointing:
            self.print_to_log_file(f"Saved {LATEST}: continue with --c")
        finish(self.dataloader_train)
        finish(self.dataloader_val)
        raise SystemExit(EXIT_CODE)

    def _explain(self, target: PooledDataset | None) -> None:
        """Why loader workers may have died: a stop that reached them too, or target scans that are gone."""
        self._leave_if_asked()
        if target is not None:
            target.check()

    @property
    def curve_names(self) -> list[str]:
        """Curves of this method: every loss term, the gradient each sends to the encoder's output, and what it observes."""
        losses = [f"loss_{term}" for term in ("seg", *self.terms)]
        gradients = [f"gradient_{term}" for term in ("seg", *self.terms)]
        return losses + gradients + list(self.observed if self.terms else ())

    # --- checkpoints ------------------------------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        save_atomically(self, Path(filename))

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """Go on exactly where a checkpoint was saved. With `--c` a damaged one is reported and the one before it used.

        Raises:
            UserError: no checkpoint of this trainer, version and plans, or none that can be read.
        """
        if not self.was_initialized:
            self.initialize()
        file, checkpoint = readable_checkpoint(Path(filename_or_checkpoint), self.print_to_log_file, fall_back=bool(self.logger.resume))
        check_continues(self, checkpoint, file)
        restore(self, checkpoint, file)
        register(self.logger, self.curve_names)
        self.print_to_log_file(f"Continuing from {file.name}, epoch {self.current_epoch}, step {len(self.epoch_outputs)}")

    # --- parts ------------------------------------------------------------------------------------------------------------------------

    def _apply_settings(self) -> None:
        settings = self.settings
        self.initial_lr, self.weight_decay = self.default_rates()
        self.initial_lr = settings.initial_lr if settings.initial_lr is not None else self.initial_lr
        self.weight_decay = settings.weight_decay if settings.weight_decay is not None else self.weight_decay
        self.num_epochs, self.num_iterations_per_epoch = settings.num_epochs, settings.iterations_per_epoch
        self.num_val_iterations_per_epoch, self.save_every = settings.val_iterations_per_epoch, settings.save_every
        self.enable_deep_supervision = settings.deep_supervision
        self.oversample_foreground_percent = settings.oversample_foreground_percent

    def _refuse_unsupported(self) -> None:
        if self.is_cascaded:
            raise NotImplementedError(
                f"{type(self).__name__} does not train cascades: train 3d_fullres instead of {self.configuration_name}."
            )
        if self.terms and self.is_ddp:
            raise NotImplementedError(f"{type(self).__name__} does not align over several GPUs yet: train with -num_gpus 1.")
        if self.terms and self.label_manager.has_ignore_label:
            raise NotImplementedError(f"{type(self).__name__} does not train with an ignore label in the source yet.")

    def _seed(self, stream: Stream) -> None:
        """Seed what follows by the place in the training. Alignment sees the features of all ranks, with the same numbers."""
        if self.settings.seed is not None:
            rank = self.local_rank if stream == Stream.STEP else 0
            seed_everything(seed_for(self.settings.seed, self._fold_number, rank, stream, self.steps_done))

    @property
    def _fold_number(self) -> int:
        return self.fold + 1 if isinstance(self.fold, int) else 0

    def _bare_network(self) -> FeatureForward:
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def _training_transforms(self, rotation: Any, scales: Any, mirror_axes: tuple[int, ...], dummy_2d: bool) -> Any:
        labels, configuration = self.label_manager, self.configuration_manager
        transforms = self.get_training_transforms(
            configuration.patch_size,
            rotation,
            scales,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=configuration.use_mask_for_norm,
            is_cascaded=False,
            foreground_labels=labels.foreground_labels,
            regions=labels.foreground_regions if labels.has_regions else None,
            ignore_label=labels.ignore_label,
        )
        return mark_padding(transforms) if self.terms else transforms

    def _validation_transforms(self, scales: Any) -> Any:
        labels = self.label_manager
        return self.get_validation_transforms(
            scales,
            is_cascaded=False,
            foreground_labels=labels.foreground_labels,
            regions=labels.foreground_regions if labels.has_regions else None,
            ignore_label=labels.ignore_label,
        )

    def _batches(self, dataset: Any, patch_size: Any, transforms: Any, forced: float, workers: int, cached: int, stream: Stream) -> Any:
        loader = nnUNetDataLoader(
            dataset,
            self.batch_size,
            patch_size,
            self.configuration_manager.patch_size,
            self.label_manager,
            oversample_foreground_percent=forced,
            sampling_probabilities=None,
            pad_sides=None,
            transforms=transforms,
            probabilistic_oversampling=self.probabilistic_oversampling,
        )
        key = None if self.settings.seed is None else (self.settings.seed, self._fold_number, self.local_rank, stream)
        start = self.current_epoch * self.settings.val_iterations_per_epoch if stream == Stream.VALIDATION else self.steps_done
        return augmenter(loader, workers, cached, self.device.type == "cuda", key, start)

    def _target_dataset(self) -> Any:
        """The scans of all target datasets of the plans, from the cache; several pool into one domain."""
        configuration = self.configuration_manager.configuration
        self.settings.check_batch(self.batch_size)
        if not self.settings.target_datasets:
            raise UserError(f"{type(self).__name__} needs a target dataset, these plans name none: plan with -t")
        datasets = {}
        for name, cases in self.settings.target_datasets.items():
            cache = target_cache(self.plans_manager.dataset_name, name, configuration)
            present = cache.check(self.plans_manager.plans, configuration)
            datasets[name] = self.dataset_class(str(cache.folder), cases if cases is not None else present)
        return PooledDataset(datasets)

    def _to_device(self, data: Tensor | list[Tensor]) -> Any:
        if isinstance(data, list):
            return [part.to(self.device, non_blocking=True) for part in data]
        return data.to(self.device, non_blocking=True)

    def _mean_over_ranks(self, value: float) -> float:
        if not self.is_ddp:
            return value
        values: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(values, value)
        return float(np.mean(values))
