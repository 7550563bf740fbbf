"""The only home of nnU-Net's trainer: what thin trainers are made of."""

from nnunet_da.adaptation import mmd
from nnunet_da.training.adversarial import AdversarialAlignment
from nnunet_da.training.baselines import SegFormer3DTrainer, StrongAugmentationTrainer, SwinUNETRTrainer
from nnunet_da.training.batch import DomainBatch
from nnunet_da.training.pf_daformer import PFDAformerTrainer
from nnunet_da.training.restyling import FourierTrainer, HistogramMatchingTrainer
from nnunet_da.training.supervised import SupervisedTrainer
from nnunet_da.training.trainer import DomainAdaptationTrainer
from nnunet_da.training.vnet_femur import VNetFemurTrainer

__all__ = [
    "AdversarialAlignment",
    "DomainAdaptationTrainer",
    "DomainBatch",
    "FourierTrainer",
    "HistogramMatchingTrainer",
    "PFDAformerTrainer",
    "SegFormer3DTrainer",
    "StrongAugmentationTrainer",
    "SupervisedTrainer",
    "SwinUNETRTrainer",
    "VNetFemurTrainer",
    "mmd",
]
