from nnunet_da.training import PFDAformerTrainer


class nnUNetTrainer_PFDAformer_SourceOnly(PFDAformerTrainer):
    """PF-DAformer's network, loss and schedule on the source alone; no target file is opened."""
