"""Read nnU-Net checkpoints without running code that a file may carry."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from nnunet_da.errors import UserError

STOCK_KEYS = ("network_weights", "init_args", "trainer_name")


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
    missing = [key for key in STOCK_KEYS if not isinstance(checkpoint, dict) or key not in checkpoint]
    if missing:
        raise UserError(f"{file} must be a checkpoint of a nnU-Net trainer, '{missing[0]}' is missing: name a checkpoint_*.pth of a fold")
    return checkpoint


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
