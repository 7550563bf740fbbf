"""Stock planning and preprocessing of small datasets without what they spend on large ones."""

from multiprocessing.pool import ThreadPool
from typing import Any


def make_quick() -> None:
    """From now on, in this process: fingerprints of few voxels, and folders listed by a thread.

    Stock samples 10^8 voxels for the intensities of a dataset, however small it is: some seconds and gigabytes every time. To list its
    files it starts 12 processes, four times per plan and preprocessing.
    """
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
    from nnunetv2.utilities import utils

    begin = DatasetFingerprintExtractor.__init__

    def begin_with_few(self: DatasetFingerprintExtractor, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.num_foreground_voxels_for_intensitystats = 10**5

    DatasetFingerprintExtractor.__init__ = begin_with_few
    utils.Pool = lambda processes: ThreadPool(1)
