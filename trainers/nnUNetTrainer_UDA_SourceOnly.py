from nnunet_da.training import DomainAdaptationTrainer


class nnUNetTrainer_UDA_SourceOnly(DomainAdaptationTrainer):
    """Stock loss and optimiser on the source alone, its length and seed from the plans; no target file is opened."""
