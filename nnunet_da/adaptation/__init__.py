"""Alignment of two domains' features, and cheaper ways from one domain to the other; no nnU-Net, one method per file."""

from nnunet_da.adaptation.class_pooling import pool_by_class
from nnunet_da.adaptation.domain_classifier import DomainClassifier, domain_accuracy, domain_loss
from nnunet_da.adaptation.fourier import mix_amplitudes
from nnunet_da.adaptation.gradient_reversal import ganin_strength, gradient_reversal
from nnunet_da.adaptation.histogram_matching import intensity_quantiles, match_histogram
from nnunet_da.adaptation.mmd import mmd
from nnunet_da.adaptation.pooling import pool_features
from nnunet_da.adaptation.standardisation import RunningStandardisation

__all__ = [
    "DomainClassifier",
    "RunningStandardisation",
    "domain_accuracy",
    "domain_loss",
    "ganin_strength",
    "gradient_reversal",
    "intensity_quantiles",
    "match_histogram",
    "mix_amplitudes",
    "mmd",
    "pool_by_class",
    "pool_features",
]
