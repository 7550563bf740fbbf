from nnunet_da.training import StrongAugmentationTrainer


class nnUNetTrainer_StockDA5(StrongAugmentationTrainer):
    """Stock nnU-Net with its own strong augmentation (`nnUNetTrainerDA5`), length and seed from the plans."""
