"""Metrics in mm, per case, label and domain; never imports nnunetv2."""

from nnunet_da.evaluation.overlap import Overlap, overlap
from nnunet_da.evaluation.surface import SurfaceDistances, surface_distances

__all__ = ["Overlap", "SurfaceDistances", "overlap", "surface_distances"]
