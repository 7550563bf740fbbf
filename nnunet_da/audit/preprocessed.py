"""What a scan looks like after nnU-Net's own preprocessing, and what that preprocessing makes of pure noise on the scan's grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_da import paths
from nnunet_da.audit.scans import AuditScan, Grid
from nnunet_da.datasets import RawDataset, read_json
from nnunet_da.errors import UserError
from nnunet_da.planning import check_plans

LARGEST = (96, 256, 256)  # voxels about the middle that are resampled where there are no plans: more costs minutes and says no more
NOISE_MM = 96.0  # edge of the block of noise


@dataclass(frozen=True)
class Preprocessing:
    """How scans are brought to the source's grid.

    Attributes:
        spacing_mm: of that grid, Z, Y, X.
        plans, configuration: the source's; None where stock resampling with stock defaults stands in for plans not made yet.
        dataset_json: of the source.
    """

    spacing_mm: tuple[float, ...]
    plans: dict[str, Any] | None = None
    configuration: str = ""
    dataset_json: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        grid = " x ".join(f"{edge:g}" for edge in self.spacing_mm)
        if self.plans is None:
            return f"stock resampling to the median spacing of all scans, {grid} mm (no plans were named)"
        return f"stock preprocessing by {self.plans['plans_name']}, {self.configuration}, {grid} mm"


def from_plans(source: RawDataset, plans_name: str, configuration: str) -> Preprocessing:
    """Preprocessing by plans of the source.

    Raises:
        UserError: no such plans, not of this dataset, or incomplete.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    file = paths.nnunet_preprocessed() / source.name / f"{plans_name}.json"
    plans = read_json(file, f"{source.name} needs the plans {plans_name}")
    check_plans(plans, source.name, configuration)
    try:
        spacing = PlansManager(plans).get_configuration(configuration).spacing
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} must be plans as nnU-Net writes them, {configuration} is incomplete ({error!r}): plan again") from error
    return Preprocessing(tuple(float(edge) for edge in spacing), plans, configuration, source.description)


def from_grids(grids: list[Grid]) -> Preprocessing:
    """Preprocessing to the median spacing, as stock planning would choose it for all scans together."""
    return Preprocessing(tuple(float(edge) for edge in np.median([grid.spacing_mm for grid in grids], axis=0).round(4)))


def preprocess(scan: AuditScan, channels: list[NDArray], grid: Grid, how: Preprocessing) -> NDArray[np.float32]:
    """(C, Z, Y, X) as the network would see the scan."""
    if how.plans is None:
        middle = tuple(slice(max(0, (n - most) // 2), max(0, (n - most) // 2) + most) for n, most in zip(grid.shape, LARGEST, strict=True))
        return _resampled(np.stack([channel[middle] for channel in channels]).astype(np.float32), grid.spacing_mm, how)
    manager, configuration = _managers(how)
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, _ = preprocessor.run_case([str(file) for file in scan.images], None, manager, configuration, how.dataset_json)
    return data


def noise_on(grid: Grid, how: Preprocessing, seed: int) -> NDArray[np.float32]:
    """(Z, Y, X) white noise of SD 1 on the scan's grid after the same resampling: it can tell a site from the grid alone."""
    shape = [max(4, min(n, round(NOISE_MM / edge))) for n, edge in zip(grid.shape, grid.spacing_mm, strict=True)]
    noise = np.random.default_rng(seed).standard_normal((1, *shape), dtype=np.float32)
    return _resampled(noise, grid.spacing_mm, how)[0]


def padding(shape: tuple[int, ...], how: Preprocessing) -> float:
    """Share of a patch that would lie outside a preprocessed scan of this shape; 0 without plans."""
    if how.plans is None:
        return 0.0
    patch = _managers(how)[1].patch_size
    return 1 - float(np.prod([min(have / want, 1) for have, want in zip(shape[-len(patch) :], patch, strict=True)]))


def _resampled(data: NDArray[np.float32], spacing_mm: tuple[float, ...], how: Preprocessing) -> NDArray[np.float32]:
    from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, resample_data_or_seg_to_shape

    if how.plans is None:
        new_shape = compute_new_shape(data.shape[1:], spacing_mm, how.spacing_mm)
        resampled = resample_data_or_seg_to_shape(data, new_shape, spacing_mm, how.spacing_mm, force_separate_z=None)
        return np.asarray(resampled, dtype=np.float32)
    manager, configuration = _managers(how)
    forward = manager.transpose_forward
    data, spacing = data.transpose([0, *(axis + 1 for axis in forward)]), [spacing_mm[axis] for axis in forward]
    target = [*spacing[: 3 - len(configuration.spacing)], *configuration.spacing]
    new_shape = compute_new_shape(data.shape[1:], spacing, target)
    return np.asarray(configuration.resampling_fn_data(data, new_shape, spacing, target), dtype=np.float32)


def _managers(how: Preprocessing) -> tuple[Any, Any]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(how.plans)
    return manager, manager.get_configuration(how.configuration)
