"""One conversion at a time in an output folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_da.conversion.case import PARTS
from nnunet_da.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = f"{PARTS}/lock"  # below the output folder, locked as long as its process lives


def refuse_busy(folder: Path) -> None:
    """Raises UserError where another process converts into the folder; what a killed one left behind does not count."""
    if (folder / LOCK).is_file():
        os.close(_locked(folder))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside, the output folder is ours; `PARTS` must be there.

    Raises:
        UserError: another process converts into it.
    """
    descriptor = _locked(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"another `convert` is writing into {folder}: wait for it, or choose another output") from None
    except OSError:
        pass  # a file system without locks
    return descriptor
