"""An audit as lines for the terminal."""

from collections.abc import Iterator

from nnunet_da.audit.audit import Audit
from nnunet_da.audit.findings import NO_PROOF, findings, leak_text


def as_text(audit: Audit) -> str:
    """Findings, every leak, every unreadable scan, and what must not be read into it."""
    return "\n".join(_lines(audit))


def _lines(audit: Audit) -> Iterator[str]:
    counts = ", ".join(f"{name} ({len(audit.of(name))} scans)" for name in audit.datasets)
    yield f"audited: {counts}"
    for finding in findings(audit):
        yield f"{finding.question} {finding.answer}"
        yield from (f"  {detail}" for detail in finding.details)
    for leak in audit.leaks:
        yield f"leak: {leak_text(leak.first, leak.second, leak.between, leak.kind, leak.detail)}"
    for scan, reason in audit.unreadable:
        yield f"unreadable: {scan.name}: {reason}"
    yield NO_PROOF
