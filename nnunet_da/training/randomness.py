"""Random numbers of a seeded run: a function of what they are for and when, so that resuming has nothing to restore."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for; part of every seed."""

    WEIGHTS = 0
    SOURCE = 1
    TARGET = 2
    VALIDATION = 3
    SCORES = 4
    STEP = 5
    ALIGNMENT = 6
    RESTYLE = 7


def seed_for(*key: int) -> int:
    """A 63-bit seed for a key of whole numbers >= 0, such as (seed, rank, stream, index); unrelated between keys."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, its devices included."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Draw from a seed inside, and leave the CPU's random state outside as it was."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        _restore(states)


@contextmanager
def side_randomness(stream: Stream) -> Iterator[None]:
    """Draw inside from a seed that follows from the CPU's random state outside, which stays as it was: what is drawn after is the same."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = int(np.random.randint(2**31)), int(torch.randint(2**62, (1,)))  # augmentation moves now the one, now the other
    _restore(states)
    with own_randomness(seed_for(*seeds, stream)):
        yield


def _restore(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
