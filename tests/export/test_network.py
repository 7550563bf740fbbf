"""Whose code an exported model needs."""

import pytest

from nnunet_da.export.network import trainer_for

UNET, TRANSUNET = "dynamic_network_architectures.architectures.unet.PlainConvUNet", "nnunet_da.networks.transunet3d.TransUNet3D"


@pytest.mark.parametrize(
    ("trainer", "network", "expected"),
    [
        ("nnUNetTrainer", UNET, ("nnUNetTrainer", "stock")),
        ("nnUNetTrainer_UDA_GRL", UNET, ("nnUNetTrainer", "stock")),
        ("nnUNetTrainerNoMirroring", UNET, ("nnUNetTrainerNoMirroring", "stock")),
        ("nnUNetTrainer_PFDAformer", TRANSUNET, ("nnUNetTrainer_PFDAformer", "ours")),
        ("nnUNetTrainer", TRANSUNET, ("nnUNetTrainer", "ours")),
        ("nnUNetTrainer_Acme", UNET, ("nnUNetTrainer_Acme", "foreign")),
        ("nnUNetTrainer", "acme.Net", ("nnUNetTrainer", "foreign")),
        ("nnUNetTrainer_UDA_GRL", "acme.Net", ("nnUNetTrainer_UDA_GRL", "foreign")),
    ],
)
def test_who_builds_it(trainer, network, expected):
    assert trainer_for(trainer, network) == expected
