"""All checks in the order a person would mend them, and their table."""

from nnunet_da.doctor import environment, trainers
from nnunet_da.doctor.check import Check, guarded

CHECKS = {
    "python": environment.python_check,
    "packages": environment.package_checks,
    "nnU-Net folders": environment.folder_checks,
    "trainer folder": trainers.configured_folder_checks,
    "trainer modules": trainers.broken_module_checks,
    "trainer look-up": trainers.look_up_checks,
    "network": environment.network_check,
    "GPU": environment.gpu_check,
    "torch.compile": environment.compile_check,
    "C compiler": environment.compiler_check,
    "shared memory": environment.shared_memory_check,
    "radiomics": environment.radiomics_check,
    "study": environment.study_check,
}


def run_checks() -> list[Check]:
    """Every check, none of which can stop the others."""
    return [row for name, check in CHECKS.items() for row in guarded(name, check)]


def table(checks: list[Check]) -> str:
    """Aligned plain text, one line per check: status, name, what was found, and `->` the fix."""
    width = max(len(check.name) for check in checks)
    lines = (f"{check.status.value:<4}  {check.name:<{width}}  {check.found}{' -> ' * bool(check.fix)}{check.fix}" for check in checks)
    return "\n".join(lines)
