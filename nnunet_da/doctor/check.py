"""What a check found, and how to run one without being stopped by what it finds."""

import contextlib
import io
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Status(Enum):
    """FAIL: training or prediction cannot work. WARN: it works, but slower or with less."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One row of the table; `fix` is empty where nothing needs mending."""

    name: str
    status: Status
    found: str
    fix: str = ""


def passed(name: str, found: str) -> Check:
    return Check(name, Status.OK, found)


def guarded(name: str, check: Callable[[], list[Check]]) -> list[Check]:
    """Run a group of checks; if it stops, whatever the reason, say so in a row."""
    try:
        with quiet():
            return check()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return [Check(name, Status.FAIL, f"the check itself stopped: {describe(error)}", "mend what the message names")]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what imported code prints out of the table."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def describe(error: BaseException, file: Path | None = None) -> str:
    """Type and message in one line, with the line number where the trace last passed through `file`."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if file is not None and Path(frame.filename) == file]
    return f"{text} (line {lines[-1]})" if lines else text
