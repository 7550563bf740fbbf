"""Notice SIGTERM, which schedulers send before they take a machine away."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports for a terminated program: not done, but no error of ours


class Interruption:
    """`requested` becomes true when the process is asked to stop while it listens."""

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to SIGTERM inside. Forked workers end at once as without us; other threads than the main one cannot listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        owner = os.getpid()

        def handle(number: int, frame: FrameType | None) -> None:
            if os.getpid() == owner:
                self.requested = True
            else:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
