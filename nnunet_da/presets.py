"""Recipes of the folder `plans/`, and what a user asks of `plan` beyond them."""

from dataclasses import dataclass, field
from typing import Any

from nnunet_da import paths
from nnunet_da.datasets import read_json
from nnunet_da.errors import UserError

TRANSUNET3D = "nnunet_da.networks.transunet3d.TransUNet3D"
SEGFORMER3D = "nnunet_da.networks.segformer3d.SegFormer3D"
SWIN_UNETR = "nnunet_da.networks.swin_unetr.SwinUNETR"
VNET = "nnunet_da.networks.vnet.VNet"


@dataclass(frozen=True)
class Preset:
    """One recipe of the folder `plans/`.

    Attributes:
        comment: what it reproduces and where it departs.
        plans_name: name of the plans file.
        planner: stock planner that gives spacing, readers and (without `network`) the network.
        network: architecture entry of the plans, None for the stock network.
        checkpoint_network: None for a recipe that is planned from the source's fingerprint. Else the recipe takes network and preprocessing
            from the checkpoint it starts from (setting `init_checkpoint`), which must have this network: a dotted class, or "stock" for
            all that the trainers with stock nnU-Net's optimiser are for.
        patch_size: (Z, Y, X) voxels, None for the planner's.
        batch_size: samples per domain, None for the planner's.
        needs_target: whether its trainers align, so that plans need a target and samples enough to align with. Baselines do not; a target
            that is given all the same is recorded and preprocessed, for the arms of a study that share the plans.
        spacing_mm: "source" for the source fingerprint's, "native" for no resampling, or (Z, Y, X) mm.
        force_separate_z: whether slices are resampled apart from the plane, None for nnU-Net's rule per case.
        padding_hu: HU that padding stands for: "mean" as in stock nnU-Net, "lowest" for the clipped air, or a number.
        mirror: axes that may be mirrored: "all" or "no_left_right".
        settings: everything of `AdaptationSettings` that differs from its defaults.
    """

    comment: str
    plans_name: str
    batch_size: int | None = None
    needs_target: bool = True
    planner: str = "ExperimentPlanner"
    network: dict[str, Any] | None = None
    checkpoint_network: str | None = None
    patch_size: list[int] | None = None
    spacing_mm: str | list[float] = "source"
    force_separate_z: bool | None = False
    padding_hu: str | float = "mean"
    mirror: str = "all"
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def network_name(self) -> str:
        """Dotted class of the network, or what stands for it in a sentence."""
        stock = "the stock network"
        if self.checkpoint_network is not None:
            return stock if self.checkpoint_network == "stock" else self.checkpoint_network
        return self.network["network_class_name"] if self.network else stock

    @property
    def has_batch_norm(self) -> bool | None:
        """Whether the network has BatchNorm layers; None where the recipe does not say."""
        if self.network is None:
            return None if self.checkpoint_network else False  # stock nnU-Net plans InstanceNorm
        layers = self.network["arch_kwargs"]
        kind = layers.get("norm_op", layers.get("norm"))
        return None if kind is None else "batch" in kind.lower()


@dataclass(frozen=True)
class PlanRequest:
    """What the user asks of `plan`, beyond the preset.

    Attributes:
        source: id or name of the labelled dataset.
        targets: ids or names of the unlabelled datasets; none for a baseline.
        preset: name of the recipe.
        overrides: settings by name.
        patch_size: (Z, Y, X) voxels.
        batch_size: samples per domain.
        spacing_mm: (Z, Y, X).
        variant: adds a configuration `3d_fullres_<variant>` to existing plans.
        trainer: checked against the preset's network.
        processes: for the fingerprint.
        overwrite: replace plans of that name.
    """

    source: str
    targets: list[str]
    preset: str
    overrides: dict[str, Any] = field(default_factory=dict)
    patch_size: list[int] | None = None
    batch_size: int | None = None
    spacing_mm: list[float] | None = None
    variant: str | None = None
    trainer: str | None = None
    processes: int = 2
    overwrite: bool = False

    def batch_size_of(self, configuration_name: str, planned: int, preset: Preset) -> int:
        """Per domain: what the user says, else the preset's, else the planner's; 2d keeps a larger one of its planning."""
        if self.batch_size is not None:
            return self.batch_size
        if preset.batch_size is None:
            return planned
        return max(planned, preset.batch_size) if configuration_name == "2d" else preset.batch_size


def preset_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(file.stem for file in paths.plans_dir().glob("*.json"))


def load_preset(name: str) -> Preset:
    """Read a recipe of the folder `plans/`.

    Raises:
        UserError: no recipe of that name.
    """
    if name not in preset_names():
        raise UserError(f"the preset must be one of {', '.join(preset_names())}, got '{name}'")
    return Preset(**read_json(paths.plans_dir() / f"{name}.json", f"the preset {name} must be readable"))
