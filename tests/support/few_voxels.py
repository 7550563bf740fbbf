"""Fingerprints of small datasets without delay."""

from typing import Any


def sample_few() -> None:
    """nnU-Net samples 10^8 voxels for the intensities of a dataset, however small it is: some seconds and gigabytes every time."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    begin = DatasetFingerprintExtractor.__init__

    def begin_with_few(self: DatasetFingerprintExtractor, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.num_foreground_voxels_for_intensitystats = 10**5

    DatasetFingerprintExtractor.__init__ = begin_with_few
