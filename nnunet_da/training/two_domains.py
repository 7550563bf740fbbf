"""TwoDomainTrainer: stock batches of the source, paired with batches of the target that were drawn and augmented alike."""

from typing import Any

from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_da.errors import UserError
from nnunet_da.preprocessing import target_cache
from nnunet_da.training.loaders import GuardedLoader, PairedLoader, PooledDataset, SeededBatches, augmenter, mark_padding
from nnunet_da.training.randomness import Stream
from nnunet_da.training.resumable import ResumableTrainer
from nnunet_da.training.target_scores import score_loader, score_names, target_scores


class TwoDomainTrainer(ResumableTrainer):
    """Provides the batches; a trainer that does not use the target gets the source's alone and opens no target file."""

    terms: tuple[str, ...] = ()
    loader_class = nnUNetDataLoader

    @property
    def uses_target(self) -> bool:
        """Whether the method looks at target scans; one with alignment terms does."""
        return bool(self.terms)

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Source training and validation batches as in stock nnU-Net; with alignment terms the training batches hold the target's too."""
        target = self._target_dataset() if self.uses_target else None  # first: a missing cache should cost no time
        self._target = target
        rotation, dummy_2d, initial_patch_size, mirror_axes = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        scales = self._get_deep_supervision_scales()
        transforms = self._training_transforms(rotation, scales, mirror_axes, dummy_2d)
        source, validation = self.get_tr_and_val_datasets()
        forced, workers = self.oversample_foreground_percent, get_allowed_n_proc_DA()
        cached = max(6, workers // 2)
        train = self._batches(
            self.prepare_source(source, transforms, target), initial_patch_size, transforms, forced, workers, cached, Stream.SOURCE
        )
        if self.terms:
            train = PairedLoader(train, self._batches(target, initial_patch_size, transforms, 0.0, workers, cached, Stream.TARGET))
        half, cached = (max(1, workers // 2) if workers else 0), max(3, workers // 4)
        patch_size, plain = self.configuration_manager.patch_size, self._validation_transforms(scales)
        held_out = self._batches(validation, patch_size, plain, forced, half, cached, Stream.VALIDATION)
        loaders = GuardedLoader(train, lambda: self._explain(target)), GuardedLoader(held_out, lambda: self._explain(None))
        for loader in loaders:
            next(loader)  # stock does so too: workers start and errors show before the first epoch
        return loaders

    def prepare_source(self, source: Any, transforms: Any, target: PooledDataset | None) -> Any:
        """For methods that change source patches: the dataset to draw them from; `transforms` may be extended."""
        return source

    def score_batches(self) -> SeededBatches:
        """Target patches for the label-free scores: the same ones in every epoch, so that the scores move because the network does."""
        key = (self.settings.seed or 0, self._fold_number, self.local_rank, Stream.SCORES)
        return SeededBatches(score_loader(self, self._target), key, start=0, workers=0)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        super().on_validation_epoch_end(val_outputs)
        if self.uses_target:
            self.log_means(target_scores(self, self.score_batches(), self.settings.target_score_batches))

    @property
    def curve_names(self) -> list[str]:
        return self.step_curve_names + (score_names(self.settings.target_score_batches) if self.uses_target else [])

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, bool, Any, tuple[int, ...]]:  # noqa: N802
        rotation, dummy_2d, initial_patch_size, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.settings.mirror_axes is not None:
            mirror_axes = tuple(axis for axis in self.settings.mirror_axes if axis in mirror_axes)
            self.inference_allowed_mirroring_axes = mirror_axes or None  # stock prediction fails on an empty tuple
        return rotation, dummy_2d, initial_patch_size, mirror_axes

    def _explain(self, target: PooledDataset | None) -> None:
        """Why loader workers may have died: a stop that reached them too, or target scans that are gone."""
        self._leave_if_asked()
        if target is not None:
            target.check()

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
        loader = self.loader_class(
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
        if self.terms and stream != Stream.VALIDATION:
            loader.has_ignore = False  # else random source patches centre on annotated voxels, which a target does not have
        key = None if self.settings.seed is None else (self.settings.seed, self._fold_number, self.local_rank, stream)
        start = self.current_epoch * self.settings.val_iterations_per_epoch if stream == Stream.VALIDATION else self.steps_done
        return augmenter(loader, workers, cached, self.device.type == "cuda", key, start)

    def _target_dataset(self) -> Any:
        """The scans of all target datasets of the plans, from the cache; several pool into one domain."""
        configuration = self.configuration_manager.configuration
        if self.terms:
            self.settings.check_batch(self.configuration_manager.batch_size)
        if not self.settings.target_datasets:
            raise UserError(f"{type(self).__name__} needs a target dataset, these plans name none: plan with -t")
        datasets = {}
        for name, cases in self.settings.target_datasets.items():
            cache = target_cache(self.plans_manager.dataset_name, name, configuration)
            present = cache.check(self.plans_manager.plans, configuration)
            datasets[name] = self.dataset_class(str(cache.folder), cases if cases is not None else present)
        return PooledDataset(datasets)
