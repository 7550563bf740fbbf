from nnunet_da.training import HistogramMatchingTrainer


class nnUNetTrainer_UDA_HistogramMatching(HistogramMatchingTrainer):
    """Stock training on source patches whose intensities follow a random target scan, for any plans network."""
