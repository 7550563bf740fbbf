from nnunet_da.training import SwinUNETRTrainer


class nnUNetTrainer_SwinUNETR(SwinUNETRTrainer):
    """Swin UNETR with stock loss and augmentation, AdamW and a cosine schedule."""
