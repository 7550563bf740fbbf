"""RestylingTrainer: a share of the source patches takes over the intensities of target scans before it is augmented."""

from typing import Any, Protocol

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from numpy.typing import NDArray
from torch import Tensor

from nnunet_da.adaptation import intensity_quantiles, match_histogram, mix_amplitudes
from nnunet_da.training.loaders import PADDING_LABEL, PooledDataset
from nnunet_da.training.randomness import Stream, side_randomness
from nnunet_da.training.supervised import SupervisedTrainer


class Style(Protocol):
    """How a source patch takes over the style of the target; draws from NumPy's global state."""

    def __call__(self, image: Tensor, inside: Tensor, case: str) -> Tensor:
        """A new (C, ...) image for a patch of a case; `inside` (...) is true where it is scan and not padding."""


class RememberingDataset:
    """A preprocessed dataset that knows the case it loaded last: nnU-Net's loader transforms a patch right after it has loaded its case."""

    def __init__(self, dataset: Any) -> None:
        self.dataset, self.identifiers, self.last = dataset, dataset.identifiers, ""

    def load_case(self, identifier: str) -> Any:
        self.last = identifier
        return self.dataset.load_case(identifier)


class Restyle(BasicTransform):
    """Give a share of the patches another style, inside the scan alone. All other transforms draw the same numbers with and without it."""

    def __init__(self, style: Style, dataset: RememberingDataset, probability: float) -> None:
        super().__init__()
        self.style, self.dataset, self.probability = style, dataset, probability
        self.restyled: list[bool] = []  # which of the patches since the list was emptied

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        image, inside = data_dict["image"], data_dict["segmentation"][0] != PADDING_LABEL
        with side_randomness(Stream.RESTYLE):
            chosen = bool(np.random.uniform() < self.probability and inside.any())
            if chosen:
                data_dict["image"] = torch.where(inside, self.style(image, inside, self.dataset.last), image)
        self.restyled.append(chosen)
        return data_dict


class RestylingLoader(nnUNetDataLoader):
    """Stock batches that say which of their patches were restyled."""

    def generate_train_batch(self) -> dict[str, Any]:
        restyle = find_restyle(self.transforms)
        if restyle is None:  # validation
            return super().generate_train_batch()
        restyle.restyled = []
        return {**super().generate_train_batch(), "restyled": torch.tensor(restyle.restyled, dtype=torch.float32)}


def find_restyle(transforms: ComposeTransforms) -> Restyle | None:
    """The restyling among the transforms, if there is one."""
    return next((transform for transform in transforms.transforms if isinstance(transform, Restyle)), None)


def insert_restyle(transforms: ComposeTransforms, restyle: Restyle) -> None:
    """After the patch is turned and cut, before its intensities are augmented: augmentation acts on the target's style as on any."""
    geometry = [i for i, one in enumerate(transforms.transforms) if isinstance(one, (SpatialTransform, Convert2DTo3DTransform))]
    transforms.transforms.insert(geometry[-1] + 1, restyle)


class RestylingTrainer(SupervisedTrainer):
    """Stock training on restyled source patches, on any plans network; the network sees nothing else of the target.

    Crops, labels and augmentation of the source are those of the source-only arm, patch by patch. A method is a subclass with a `style`.
    """

    loader_class = RestylingLoader

    @property
    def uses_target(self) -> bool:
        return True

    def style(self, source: Any, target: PooledDataset) -> Style:
        """How this method restyles.

        Args:
            source: training cases of the fold, preprocessed.
            target: preprocessed scans of all targets.
        """
        raise NotImplementedError(f"{type(self).__name__} must say in `style` how it restyles.")

    def prepare_source(self, source: Any, transforms: Any, target: PooledDataset | None) -> Any:
        assert target is not None
        dataset = RememberingDataset(source)
        insert_restyle(transforms, Restyle(self.style(source, target), dataset, self.settings.restyle_probability))
        return dataset

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._restyled = batch["restyled"].mean()
        return super().train_step(batch)

    def _fetched(self, values: dict[str, Any]) -> dict[str, Any]:
        return super()._fetched({**values, "restyled": self._restyled})

    @property
    def step_curve_names(self) -> list[str]:
        """The loss, and the share of patches that were restyled."""
        return [*super().step_curve_names, "restyled"]


class HistogramStyle:
    """Match the intensities of a patch's whole scan to those of a random target scan.

    Distributions are those of whole scans: a patch with much bone must not turn a patch with little of it into bone.
    """

    def __init__(self, source: Any, target: PooledDataset) -> None:
        self.source, self.target = source, target
        self._known: dict[tuple[str, str], NDArray[np.float64]] = {}

    def __call__(self, image: Tensor, inside: Tensor, case: str) -> Tensor:
        other = self.target.identifiers[np.random.randint(len(self.target.identifiers))]
        matched = match_histogram(image.numpy(), self._quantiles("source", case), self._quantiles("target", other))
        return torch.from_numpy(matched).to(image.dtype)

    def _quantiles(self, domain: str, case: str) -> NDArray[np.float64]:
        """Of a whole scan, read once per process."""
        if (domain, case) not in self._known:
            data, labels, *_ = (self.source if domain == "source" else self.target).load_case(case)
            self._known[domain, case] = intensity_quantiles(np.asarray(data[:]), np.asarray(labels[:])[0] != PADDING_LABEL)
        return self._known[domain, case]


class FourierStyle:
    """Mix the low frequencies of a patch's amplitude with those of a random target patch.

    Patches are made non-negative first, by the lowest intensity of both: the amplitude of the mean knows no sign, and after nnU-Net's
    normalisation means lie about zero. Padding takes the mean of its scan's part, so that the border of a scan is no style.
    """

    def __init__(self, references: nnUNetDataLoader, window: float, largest_mix: float) -> None:
        self.references, self.window, self.largest_mix = references, window, largest_mix

    def __call__(self, image: Tensor, inside: Tensor, case: str) -> Tensor:
        batch = self.references.generate_train_batch()
        reference, inside_reference = batch["data"][0], batch["target"][0, 0] != PADDING_LABEL
        filled, filled_reference = _with_mean_outside(image, inside), _with_mean_outside(reference, inside_reference)
        lowest = torch.minimum(_lowest(filled), _lowest(filled_reference))
        mix = float(np.random.uniform(0, self.largest_mix))
        return mix_amplitudes(filled - lowest, filled_reference - lowest, self.window, mix) + lowest


class HistogramMatchingTrainer(RestylingTrainer):
    """Restyles by histogram matching."""

    def style(self, source: Any, target: PooledDataset) -> Style:
        return HistogramStyle(source, target)


class FourierTrainer(RestylingTrainer):
    """Restyles by Fourier amplitude mixing."""

    def style(self, source: Any, target: PooledDataset) -> Style:
        patch_size = self.configuration_manager.patch_size
        references = nnUNetDataLoader(target, 1, patch_size, patch_size, self.label_manager, oversample_foreground_percent=0.0)
        references.has_ignore = False  # else it would look for annotated voxels, which a target does not have
        return FourierStyle(references, self.settings.fourier_window, self.settings.fourier_mix)


def _with_mean_outside(image: Tensor, inside: Tensor) -> Tensor:
    """(C, ...) with each channel's mean over the scan in the place of padding; of nothing but padding, the image."""
    if not inside.any():
        return image
    mean = image[:, inside].mean(dim=1).view(-1, *[1] * inside.ndim)
    return torch.where(inside, image, mean)


def _lowest(image: Tensor) -> Tensor:
    return image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
