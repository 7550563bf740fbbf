"""Who can build an exported model's network: stock nnU-Net, this package, or a trainer of the user's own."""

from pathlib import Path
from typing import Any, Literal

from nnunet_da import paths

Needs = Literal["stock", "ours", "foreign"]
STOCK_TRAINER = "nnUNetTrainer"
STOCK_NETWORKS, OUR_NETWORKS = "dynamic_network_architectures.", "nnunet_da."


def trainer_for(trained_by: str, network: str) -> tuple[str, Needs]:
    """The trainer that prediction shall look up, and whose code must be installed for it beside nnU-Net's.

    Our trainers build what the plans name, as `nnUNetTrainer` does, so where the plans name a stock network the stock trainer takes over.

    Args:
        trained_by: the trainer that trained.
        network: the plans' dotted network class.
    """
    home = _home_of(trained_by)
    if home == "ours" and network.startswith(STOCK_NETWORKS):
        return STOCK_TRAINER, "stock"
    if home == "foreign" or not network.startswith((STOCK_NETWORKS, OUR_NETWORKS)):
        return trained_by, "foreign"
    return trained_by, "ours" if network.startswith(OUR_NETWORKS) else home


def builds_what_plans_name(trainer: str) -> bool:
    """Other built-in and foreign trainers may build something else."""
    return trainer == STOCK_TRAINER or _home_of(trainer) == "ours"


def planned_shapes(plans: dict[str, Any], configuration: str, description: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of the network that the plans name, on the meta device: nothing is computed or allocated."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans)
    planned = manager.get_configuration(configuration)
    with torch.device("meta"):
        network = get_network_from_plans(
            planned.network_arch_class_name,
            planned.network_arch_init_kwargs,
            planned.network_arch_init_kwargs_req_import,
            determine_num_input_channels(manager, planned, description),
            manager.get_label_manager(description).num_segmentation_heads,
            allow_init=False,
            deep_supervision=False,
        )
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _home_of(trainer: str) -> Needs:
    """Where stock look-up finds a trainer; a built-in one hides others of its name, as it does there."""
    if trainer == STOCK_TRAINER or _is_built_in(trainer):
        return "stock"
    return "ours" if (paths.trainers_dir() / f"{trainer}.py").is_file() else "foreign"


def _is_built_in(trainer: str) -> bool:
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer"
    return recursive_find_python_class(str(folder), trainer, "nnunetv2.training.nnUNetTrainer") is not None
