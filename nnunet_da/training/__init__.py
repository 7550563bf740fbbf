"""The only home of nnU-Net's trainer: what thin trainers are made of."""

from nnunet_da.adaptation import mmd
from nnunet_da.training.adversarial import AdversarialAlignment
from nnunet_da.training.batch import DomainBatch
from nnunet_da.training.pf_daformer import PFDAformerTrainer
from nnunet_da.training.restyling import FourierTrainer, HistogramMatchingTrainer
from nnunet_da.training.trainer import DomainAdaptationTrainer

__all__ = [
    "AdversarialAlignment",
    "DomainAdaptationTrainer",
    "DomainBatch",
    "FourierTrainer",
    "HistogramMatchingTrainer",
    "PFDAformerTrainer",
    "mmd",
]
