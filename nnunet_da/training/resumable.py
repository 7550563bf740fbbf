"""ResumableTrainer: stock nnU-Net training on checked settings, that ends the same to the bit however often it was stopped."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed as dist
from torch import nn

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.settings import settings_from_plans
from nnunet_da.training.checkpoint import BEST, LATEST, PREVIOUS, check_continues, readable_checkpoint, restore, save_atomically
from nnunet_da.training.initial_weights import start_from, weight_versions
from nnunet_da.training.interruption import EXIT_CODE, Interruption
from nnunet_da.training.loaders import finish
from nnunet_da.training.logging import register, write_curves
from nnunet_da.training.randomness import Stream, seed_everything, seed_for

BAD_STEPS = 10  # in a row, after which mixed precision gives up; without it the first one stops the training


class ResumableTrainer(nnUNetTrainer):
    """Reads its numbers from the plans, logs every curve it names, and continues exactly where it was stopped.

    Every random number of a seeded run depends on the seed and on the place in the training alone, so a checkpoint holds weights,
    optimisers, curves and that place. A killed run goes on with `--c` from the last saved epoch, one asked to stop (SIGTERM) from the
    very step.
    """

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict, device: torch.device = torch.device("cuda")) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.settings = settings_from_plans(self.configuration_manager.configuration)
        self._apply_settings()
        self._take_threads()
        self.heads = nn.ModuleDict()
        self.heads_optimizer: torch.optim.Optimizer | None = None
        self.epoch_outputs: list[dict[str, Any]] = []  # of the steps of this epoch so far
        self.within_epoch = True  # false while an epoch ends, when what is saved counts it
        self.last_checkpoint: str | None = None  # that this run read or wrote, None before the first
        self.bad_steps = 0
        self._interruption = Interruption()
        register(self.logger, self.curve_names)

    @property
    def step_curve_names(self) -> list[str]:
        """Numbers that every step returns and whose means over an epoch are logged."""
        return []

    @property
    def curve_names(self) -> list[str]:
        """All curves beside nnU-Net's own."""
        return self.step_curve_names

    def default_rates(self) -> tuple[float, float]:
        """Learning rate and weight decay where the plans give none: stock nnU-Net's."""
        return self.initial_lr, self.weight_decay

    def initialize(self) -> None:
        self._seed(Stream.WEIGHTS)
        super().initialize()
        self.untouched_weights = weight_versions(self._bare_network())

    # --- the place in the training ----------------------------------------------------------------------------------------------------

    @property
    def steps_done(self) -> int:
        """Training steps since the start, those before a resume included."""
        return self.current_epoch * self.settings.iterations_per_epoch + len(self.epoch_outputs)

    def run_training(self) -> None:
        with nullcontext() if self.is_ddp else self._interruption.listening():  # one rank alone cannot stop
            super().run_training()
            if self._interruption.requested:  # while the last epoch ended: all is saved but the final validation not begun
                raise SystemExit(EXIT_CODE)

    def on_train_start(self) -> None:
        if not self.was_initialized:
            self.initialize()
        if self.last_checkpoint is None:
            start_from(self)  # before any worker starts
        else:
            self._save_best_if_last()
        super().on_train_start()
        for unfinished in Path(self.output_folder).glob(".*.part"):
            unfinished.unlink(missing_ok=True)

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        done = len(self.epoch_outputs)  # not 0 where the run was resumed within this epoch
        self.num_iterations_per_epoch = self.settings.iterations_per_epoch - done

    def finish_step(self, numbers: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """To be called at the end of every training step with its numbers; returns them."""
        self._count_bad_steps(numbers, batch)
        self.epoch_outputs.append(numbers)
        self._leave_if_asked()
        return numbers

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._leave_if_asked()
        return super().validation_step(batch)

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        super().on_train_epoch_end(self.epoch_outputs)
        values = {name: np.array([output[name] for output in self.epoch_outputs], dtype=np.float64) for name in self.step_curve_names}
        finite = {name: numbers[np.isfinite(numbers)] for name, numbers in values.items()}  # not those of steps that the loss scaler skips
        self.log_means({name: float(numbers.mean()) if len(numbers) else float("nan") for name, numbers in finite.items()})

    def log_means(self, numbers: dict[str, float]) -> None:
        """Log this epoch's value of some curves; with several GPUs the mean of those that have one."""
        for name, value in numbers.items():
            value = self._mean_over_ranks(value)
            self.logger.log(name, value, self.current_epoch)
            self.print_to_log_file(name, round(value, 6))

    def on_epoch_end(self) -> None:
        self.within_epoch = False
        super().on_epoch_end()
        self.within_epoch = True
        self.epoch_outputs = []
        if self.local_rank == 0:
            write_curves(self.logger, self.curve_names, Path(self.output_folder) / "curves.csv")

    def on_train_end(self) -> None:
        self.within_epoch = False
        super().on_train_end()
        if self.local_rank == 0:
            Path(self.output_folder, PREVIOUS).unlink(missing_ok=True)
        self._finish_loaders()

    # --- stops ------------------------------------------------------------------------------------------------------------------------

    def _stop_at_bad_loss(self, numbers: dict[str, Any], batch: dict[str, Any]) -> None:
        bad = [f"{name[5:]} = {value}" for name, value in numbers.items() if name.startswith("loss_") and not np.isfinite(value)]
        cases = ", ".join([*batch["keys"], *batch.get("keys_target", [])])
        raise UserError(
            f"every loss must stay finite, in epoch {self.current_epoch}, step {len(self.epoch_outputs)} got {', '.join(bad)}"
            f" (cases {cases}): check these scans, or lower that term's weight or the learning rate; the checkpoints of before are kept"
        )

    def _count_bad_steps(self, numbers: dict[str, Any], batch: dict[str, Any]) -> None:
        """Mixed precision skips a step with infinite gradients now and then; many in a row mean that the training is lost."""
        self.bad_steps = 0 if np.isfinite(numbers["loss"]) else self.bad_steps + 1
        if self.bad_steps >= BAD_STEPS:
            self._stop_at_bad_loss(numbers, batch)

    def _leave_if_asked(self) -> None:
        """On SIGTERM save where the training stands and leave; `--c` goes on with the next step."""
        if not self._interruption.requested:
            return
        self.print_to_log_file(f"Asked to stop (SIGTERM) in epoch {self.current_epoch} after {len(self.epoch_outputs)} steps of it")
        self.save_checkpoint(str(Path(self.output_folder) / LATEST))
        if not self.disable_checkpointing:
            self.print_to_log_file(f"Saved {LATEST}: continue with --c")
        self._finish_loaders()
        raise SystemExit(EXIT_CODE)

    def _finish_loaders(self) -> None:
        finish(self.dataloader_train)
        finish(self.dataloader_val)

    # --- checkpoints ------------------------------------------------------------------------------------------------------------------

    def save_checkpoint(self, filename: str) -> None:
        if self.local_rank != 0:
            return
        if self.disable_checkpointing:
            self.print_to_log_file("No checkpoint written, checkpointing is disabled")
            return
        save_atomically(self, Path(filename))

    def _save_best_if_last(self) -> None:
        """Stock nnU-Net saves the latest checkpoint before the best: a run killed between the two lacks the best of that epoch."""
        scores = self.logger.get_checkpoint()["ema_fg_dice"][: self.current_epoch]
        if scores and not self.epoch_outputs and scores[-1] > max(scores[:-1], default=-np.inf):
            self.save_checkpoint(str(Path(self.output_folder) / BEST))

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
        self.last_checkpoint = file.name
        register(self.logger, self.curve_names)
        self.print_to_log_file(f"Continuing from {file.name}, epoch {self.current_epoch}, step {len(self.epoch_outputs)}")

    # --- parts ------------------------------------------------------------------------------------------------------------------------

    def _take_threads(self) -> None:
        """Stock takes all cores of the machine on a CPU, whatever the job may use."""
        threads = paths.threads_of_job()
        if threads is not None and self.device.type == "cpu":
            torch.set_num_threads(threads)

    def _apply_settings(self) -> None:
        settings = self.settings
        self.initial_lr, self.weight_decay = self.default_rates()
        self.initial_lr = settings.initial_lr if settings.initial_lr is not None else self.initial_lr
        self.weight_decay = settings.weight_decay if settings.weight_decay is not None else self.weight_decay
        self.num_epochs, self.num_iterations_per_epoch = settings.num_epochs, settings.iterations_per_epoch
        self.num_val_iterations_per_epoch, self.save_every = settings.val_iterations_per_epoch, settings.save_every
        self.enable_deep_supervision = settings.deep_supervision
        self.oversample_foreground_percent = settings.oversample_foreground_percent

    def _seed(self, stream: Stream) -> None:
        """Seed what follows by the place in the training. Alignment sees the features of all ranks, with the same numbers."""
        if self.settings.seed is not None:
            rank = self.local_rank if stream == Stream.STEP else 0
            seed_everything(seed_for(self.settings.seed, self._fold_number, rank, stream, self.steps_done))

    @property
    def _fold_number(self) -> int:
        return self.fold + 1 if isinstance(self.fold, int) else 0

    def _bare_network(self) -> nn.Module:
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def _mean_over_ranks(self, value: float) -> float:
        if not self.is_ddp:
            return value
        values: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(values, value)
        known = [number for number in values if np.isfinite(number)]
        return float(np.mean(known)) if known else float("nan")
