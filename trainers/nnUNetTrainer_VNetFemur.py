from nnunet_da.training import VNetFemurTrainer


class nnUNetTrainer_VNetFemur(VNetFemurTrainer):
    """V-Net femur: V-Net, Dice with squared denominators and an L2 term on convolution weights, stock SGD."""
