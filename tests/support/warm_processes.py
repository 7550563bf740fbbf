"""Worker processes that start from a server with the heavy imports done: a spawned one would import torch and nnU-Net again, in seconds.

As clean as spawned ones: they are forked from a server that has run nothing but imports, and they get the environment of the moment.
Commands that tests run in processes of their own spawn as users' do.
"""

import multiprocessing
import os
from multiprocessing.context import BaseContext, ForkServerContext, ForkServerProcess
from typing import Any

PRELOADED = [
    "nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor",
    "nnunetv2.preprocessing.preprocessors.default_preprocessor",
    "nnunetv2.evaluation.evaluate_predictions",
    "nnunet_da.preprocessing",
    "nnunet_da.evaluation.evaluate",
    "nnunet_da.phantom.dataset",
    "warm_processes",
]


class WarmProcess(ForkServerProcess):
    """With the environment of its parent, not that of the server."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self.environment)
        super().run()


class WarmContext(ForkServerContext):
    Process = WarmProcess


def take_the_place_of_spawned() -> None:
    """Whoever asks for "spawn" from now on gets these."""
    plain, warm = multiprocessing.get_context, WarmContext()
    warm.set_forkserver_preload(PRELOADED)

    def get_context(method: str | None = None) -> BaseContext:
        return warm if method == "spawn" else plain(method)

    multiprocessing.get_context = get_context  # type: ignore[assignment]
