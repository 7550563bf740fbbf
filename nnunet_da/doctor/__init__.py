"""Can training and prediction work here? One row per check, each with its fix."""

from nnunet_da.doctor.check import Check, Status
from nnunet_da.doctor.run import run_checks, table

__all__ = ["Check", "Status", "run_checks", "table"]
