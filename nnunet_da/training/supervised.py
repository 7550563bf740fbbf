"""SupervisedTrainer: stock nnU-Net's step on the labelled source, for any plans network; what adaptation builds on and is compared with."""

import pydoc
from contextlib import nullcontext
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, autocast, nn

from nnunet_da.errors import UserError
from nnunet_da.training.distributed import average_gradients, check_ranks, mean_over_ranks
from nnunet_da.training.randomness import Stream
from nnunet_da.training.two_domains import TwoDomainTrainer


class SupervisedTrainer(TwoDomainTrainer):
    """Stock batches, loss, optimiser and step, with length, seed and rates from the plans; no target file is ever opened.

    A baseline is a subclass that changes what its recipe changes. Terms of the loss beside the segmentation loss are named in
    `penalties` and computed in `penalty_losses`.
    """

    penalties: tuple[str, ...] = ()

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._refuse_unsupported()
        if self.device.type == "cpu":
            torch.set_flush_denormal(True)  # early gradients are so small that the CPU would take up to ten times as long

    def initialize(self) -> None:
        super().initialize()
        planned, decoder = self.configuration_manager, getattr(self._bare_network(), "decoder", None)
        check_ranks(planned.batch_size, planned.batch_dice, self.enable_deep_supervision, len(getattr(decoder, "seg_layers", ())))

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The plans' network and no other; called by training and by prediction."""
        network = nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        planned, built = configuration_manager.network_arch_class_name, type(network)
        if pydoc.locate(planned) is not built:
            raise UserError(f"the plans' network {planned} must be importable, nnU-Net fell back to {built}: run `nnunet-da doctor`")
        return network

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Stock validation switches it on at its end, also where the run has none."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def penalty_losses(self) -> dict[str, Tensor]:
        """One weighted scalar for each of `penalties`."""
        raise NotImplementedError(f"{type(self).__name__} names the penalties {self.penalties} and must compute them in penalty_losses.")

    # --- the step ---------------------------------------------------------------------------------------------------------------------

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        images, labels = self._to_device(batch["data"]), self._to_device(batch["target"])
        self._seed(Stream.STEP)
        self._zero_grad()
        with self._autocast():
            seg_loss = self.loss(self.network(images), labels)
        losses, total = {"loss_seg": seg_loss}, seg_loss
        for name, penalty in (self.penalty_losses() if self.penalties else {}).items():
            losses[f"loss_{name}"], total = penalty, total + penalty
        self._stop_if_lost(total, losses, batch)
        self._backward_and_step(total)
        return self.finish_step(self._fetched({"loss": total, **losses}), batch)

    @property
    def step_curve_names(self) -> list[str]:
        """Every term of the loss."""
        return [f"loss_{name}" for name in ("seg", *self.penalties)]

    # --- parts ------------------------------------------------------------------------------------------------------------------------

    def _refuse_unsupported(self) -> None:
        if self.is_cascaded:
            raise NotImplementedError(
                f"{type(self).__name__} does not train cascades: train 3d_fullres instead of {self.configuration_name}."
            )

    def _check_network(self, needed: str, preset: str) -> None:
        """Refuse plans with another network than a recipe is for.

        Raises:
            UserError: as above.
        """
        network = self.configuration_manager.network_arch_class_name
        if network != needed:
            raise UserError(
                f"{type(self).__name__} needs plans with {needed}, these plan {network}:"
                f" plan with the preset {preset}, or train with nnUNetTrainer_Stock"
            )

    def _autocast(self) -> Any:
        return autocast(self.device.type, enabled=True) if self.device.type == "cuda" else nullcontext()

    def _to_device(self, data: Tensor | list[Tensor]) -> Any:
        if isinstance(data, list):
            return [part.to(self.device, non_blocking=True) for part in data]
        return data.to(self.device, non_blocking=True)

    def _stop_if_lost(self, total: Tensor, losses: dict[str, Tensor], batch: dict[str, Any]) -> None:
        """At once where no loss scaler may skip the step; with one, many such steps in a row are counted elsewhere."""
        if self.grad_scaler is None and not torch.isfinite(mean_over_ranks(total)):
            self._stop_at_bad_loss({name: loss.item() for name, loss in losses.items()}, batch)

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

    def _fetched(self, values: dict[str, Any]) -> dict[str, Any]:
        """Numbers to log, means over the GPUs, fetched from the device at once."""
        stacked = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=self.device).detach() for value in values.values()])
        return dict(zip(values, mean_over_ranks(stacked).cpu().numpy(), strict=True))
