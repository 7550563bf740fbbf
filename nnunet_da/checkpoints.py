"""Read nnU-Net checkpoints without running code that a file may carry."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from nnunet_da.errors import UserError
from nnunet_da.settings import PLANS_KEY

# what readers of checkpoints rely on: name -> type, or what is in it
EXPECTED: dict[str, Any] = {
    "network_weights": dict,
    "trainer_name": str,
    "init_args": {
        "plans": {"dataset_name": str, "configurations": dict},
        "configuration": str,
        "fold": int | str,
        "dataset_json": {"labels": dict},
    },
}
WHERE_PRESENT: dict[str, Any] = {"current_epoch": int, PLANS_KEY: {"settings": dict}}


def read_checkpoint(file: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint of nnU-Net or of this package, as the dictionary that its trainer saved.

    Only tensors, numbers, texts, containers and NumPy scalars are let in: everything both trainers write.

    Raises:
        UserError: the file is missing, cut short, no checkpoint of nnU-Net, or holds other objects.
    """
    if not file.is_file():
        raise UserError(f"{file} must be a checkpoint, there is no such file: name a checkpoint_*.pth of a fold")
    damaged = f"{file} cannot be read as a checkpoint, it is damaged or cut short: use an earlier one of the same run"
    if not is_zipfile(file):
        raise UserError(damaged)
    try:
        with safe_globals(_numpy_scalars()):
            checkpoint = torch.load(file, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{file} must hold tensors and numbers alone, {_what_else(file)}: use a checkpoint you trust") from error
    except Exception as error:  # a damaged file can make the reader fail in any way
        raise UserError(damaged) from error
    problem = _problem(checkpoint)
    if problem is not None:
        raise UserError(f"{file} must be a checkpoint of a nnU-Net trainer, {problem}: name a checkpoint_*.pth of a fold")
    return checkpoint


def check_weights(weights: dict[str, torch.Tensor], shapes: dict[str, tuple[int, ...]], file: Path) -> None:
    """See that a network takes the weights of a checkpoint, name by name and shape by shape, as strict loading asks.

    Args:
        weights: of the checkpoint.
        shapes: of the network's state_dict.
        file: the checkpoint.

    Raises:
        UserError: names or shapes differ, with the first of them.
    """
    problems = {
        "missing": [name for name in shapes if name not in weights],
        "unexpected": [name for name in weights if name not in shapes],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in weights and tuple(weights[name].shape) != shape
        ],
    }
    shown = [f"{len(names)} {kind}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" for kind, names in problems.items() if names]
    if shown:
        raise UserError(f"{file} must hold the weights of the network in the plans, but keys are {'; '.join(shown)}: use its own plans")


def _problem(checkpoint: Any) -> str | None:
    """The first thing in which content is not what a nnU-Net trainer saves, in words."""
    problem = _mismatch(checkpoint, EXPECTED, "its content")
    if problem is None:
        problem = _mismatch(checkpoint, {key: kind for key, kind in WHERE_PRESENT.items() if key in checkpoint}, "its content")
    if problem is None:
        name = checkpoint["init_args"]["configuration"]
        problem = _mismatch(checkpoint["init_args"]["plans"]["configurations"], {name: dict}, "plans.configurations")
    if problem is None:
        weights = checkpoint["network_weights"]
        problem = _mismatch(weights, dict.fromkeys(weights, torch.Tensor), "network_weights")
    return problem


def _mismatch(value: Any, expected: Any, name: str) -> str | None:
    """Compare with a type, or with a dictionary of what a dictionary must hold."""
    kind = dict if isinstance(expected, dict) else expected
    if not isinstance(value, kind):
        return f"{name} is {'missing' if value is None else f'of type {type(value).__name__}'}"
    if kind is expected:
        return None
    problems = (_mismatch(value.get(key), part, f"'{key}' in {name}") for key, part in expected.items())
    return next((problem for problem in problems if problem is not None), None)


def _numpy_scalars() -> list[Any]:
    """What pickled NumPy numbers are made of; nnU-Net's curves hold them. The module moved in NumPy 2."""
    scalar = type(np.float32(0)).__reduce__(np.float32(0))[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)]
    return [(scalar, "numpy._core.multiarray.scalar"), (scalar, "numpy.core.multiarray.scalar"), np.dtype, *dtypes]


def _what_else(file: Path) -> str:
    try:
        return "it asks for " + ", ".join(get_unsafe_globals_in_checkpoint(file))
    except Exception:  # whatever a foreign file makes of the reader, it is still refused
        return "it does not"
