"""Take a trained model away: cleaned of everything prediction does not need, and stock nnU-Net's own wherever its network is."""

from nnunet_da.export.model import Exported, export_model

__all__ = ["Exported", "export_model"]
