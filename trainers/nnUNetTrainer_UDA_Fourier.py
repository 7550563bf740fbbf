from nnunet_da.training import FourierTrainer


class nnUNetTrainer_UDA_Fourier(FourierTrainer):
    """Stock training on source patches with low-frequency amplitudes of random target patches, for any plans network."""
