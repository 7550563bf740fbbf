"""One call per item, in processes or here, results as they come."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from nnunet_da.errors import UserError

MOST_PROCESSES = 8
CASES_PER_PROCESS = 4  # starting a process takes about as long as scoring so many small cases

Item = TypeVar("Item")
Result = TypeVar("Result")


def default_processes(cases: int) -> int:
    """One per core this process may use up to `MOST_PROCESSES`, fewer where there are few cases."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_PROCESSES, cases // CASES_PER_PROCESS))


@contextmanager
def workers(processes: int, items: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes for `each_in`, no more than there are items; None where one is enough. Leaving early cancels what has not begun."""
    processes = min(processes, items)
    if processes < 2:
        yield None
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # the first wrong file ends it


def each(function: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """`each_in` processes of its own; closing the iterator early cancels what has not begun."""
    with workers(processes, len(items)) as pool:
        yield from each_in(pool, function, items)


def each_in(
    pool: ProcessPoolExecutor | None, function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Each item with a call that returns its result or raises what went wrong, in no fixed order; without a pool in this process.

    Raises:
        UserError: a worker process ended early (from the call).
    """
    if pool is None:
        yield from ((item, partial(function, item)) for item in items)
        return
    futures = {pool.submit(function, item): item for item in items}
    for future in as_completed(futures):
        yield futures.pop(future), partial(_result, future.result)


def _result(result: Callable[[], Result]) -> Result:
    try:
        return result()
    except BrokenProcessPool as error:
        raise UserError("a worker process ended early, most likely out of memory: use fewer --processes.") from error


def _one_thread() -> None:
    """Several processes with a thread per core each would fight for the cores."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
