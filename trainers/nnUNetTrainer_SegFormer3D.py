from nnunet_da.training import SegFormer3DTrainer


class nnUNetTrainer_SegFormer3D(SegFormer3DTrainer):
    """SegFormer3D with stock loss and augmentation, AdamW and a cosine schedule."""
