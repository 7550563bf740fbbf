"""Radiomics features and bone endpoints of reference and prediction, and their agreement across cases; never imports nnunetv2."""

from nnunet_da.radiomics.agreement import Agreement, agreement, icc_a1
from nnunet_da.radiomics.endpoints import BoneSettings, bone_endpoints

__all__ = ["Agreement", "BoneSettings", "agreement", "bone_endpoints", "icc_a1"]
