"""Which trainer goes with which plans: said when planning, before hours of training begin."""

from nnunet_da import paths
from nnunet_da.errors import UserError
from nnunet_da.presets import SEGFORMER3D, SWIN_UNETR, TRANSUNET3D, VNET

# beginning of a trainer's name -> the one network it trains; all others train any
NETWORKS = {
    "nnUNetTrainer_PFDAformer": TRANSUNET3D,
    "nnUNetTrainer_SegFormer3D": SEGFORMER3D,
    "nnUNetTrainer_SwinUNETR": SWIN_UNETR,
    "nnUNetTrainer_VNetFemur": VNET,
}
PRESETS = {TRANSUNET3D: "pf_daformer", SEGFORMER3D: "segformer3d", SWIN_UNETR: "swin_unetr", VNET: "vnet_femur"}
ANY_NETWORK = ("nnUNetTrainer_UDA_", "nnUNetTrainer_Stock")
RESTYLING = ("nnUNetTrainer_UDA_HistogramMatching", "nnUNetTrainer_UDA_Fourier")  # target scans give a style, no samples to align
SUPERVISED = (*(name for name in NETWORKS if "PFDAformer" not in name), "nnUNetTrainer_Stock")  # no alignment term, no target


def trainer_names() -> list[str]:
    """Trainers that ship with the package."""
    return sorted(file.stem for file in paths.trainers_dir().glob("nnUNetTrainer_*.py"))


def network_of(trainer: str) -> str | None:
    """The one network that a trainer trains, None for any."""
    return next((network for start, network in NETWORKS.items() if trainer.startswith(start)), None)


def needs_target(trainer: str) -> bool:
    """Whether a trainer of ours looks at target scans."""
    return not (trainer.endswith("_SourceOnly") or trainer.startswith(SUPERVISED))


def aligns(trainer: str) -> bool:
    """Whether a trainer of ours compares samples of both domains."""
    return needs_target(trainer) and trainer not in RESTYLING


def check_trainer(trainer: str | None, network: str, aligns: bool) -> None:
    """Refuse a trainer that we do not have, that trains another network, or that adapts where there is nothing to adapt to.

    Args:
        trainer: its name, None for unknown.
        network: dotted class that is planned, or "the stock network".
        aligns: whether the plans have a target.

    Raises:
        UserError: as above.
    """
    if trainer is None:
        return
    if trainer not in trainer_names():
        raise UserError(f"the trainer must be one of {', '.join(trainer_names())}, got '{trainer}'")
    needed = network_of(trainer)
    if needed is not None and network != needed:
        raise UserError(
            f"{trainer} needs a preset with {needed.rpartition('.')[2]} such as {PRESETS[needed]}, this preset plans {network}:"
            f" choose a UDA trainer, or nnUNetTrainer_Stock"
        )
    if needs_target(trainer) and not aligns:
        raise UserError(f"{trainer} adapts to a target and needs its dataset, got none: give it with -t")
