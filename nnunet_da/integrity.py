"""Open every file of the datasets once, before anything is written on their account."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tqdm import tqdm

from nnunet_da.conversion.cases import Case
from nnunet_da.conversion.checks import inspect_case
from nnunet_da.datasets import RawDataset

CASES_WORTH_A_POOL = 20  # starting the processes costs seconds


def check_readable(source: RawDataset, targets: list[RawDataset], processes: int) -> None:
    """Read all images, and of the source all label maps; a target's labels are never opened.

    Raises:
        UserError: the first file that is unreadable, truncated, holds NaN or infinite voxels, lies on another grid than its case, or has
            labels that dataset.json does not declare.
    """
    channels = tuple(source.description["channel_names"].values())
    labels = _declared_labels(source)
    cases = _cases(source, with_labels=True) + [case for target in targets for case in _cases(target, with_labels=False)]
    inspect = partial(_inspect, channels=channels, labels=labels)
    for _ in tqdm(_run(inspect, cases, processes), total=len(cases), desc="Checking images"):
        pass


def _inspect(case: Case, channels: tuple[str, ...], labels: dict[str, int]) -> None:
    inspect_case(case, channels, labels)


def _cases(dataset: RawDataset, with_labels: bool) -> list[Case]:
    labels = dataset.training_labels() if with_labels else {}
    return [Case(name, tuple(files), labels.get(name)) for name, files in dataset.training_images().items()]


def _declared_labels(dataset: RawDataset) -> dict[str, int]:
    """Names and values; a region's values each under its name with a number behind."""
    declared: dict[str, int] = {}
    for name, value in dataset.description["labels"].items():
        values = value if isinstance(value, list) else [value]
        declared |= {name if len(values) == 1 else f"{name}[{index}]": int(item) for index, item in enumerate(values)}
    return declared


def _run(inspect: partial[None], cases: list[Case], processes: int) -> Iterator[None]:
    if processes <= 1 or len(cases) < CASES_WORTH_A_POOL:
        yield from map(inspect, cases)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(inspect, cases, chunksize=4)
