from nnunet_da.training import SupervisedTrainer


class nnUNetTrainer_Stock(SupervisedTrainer):
    """Stock nnU-Net on any plans network: its loss, optimiser, schedule, augmentation and step; length and seed from the plans."""
