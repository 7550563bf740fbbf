"""Domain adaptation for stock nnU-Net v2: train across two centres, prove whether it worked."""

__version__ = "0.1.0"
