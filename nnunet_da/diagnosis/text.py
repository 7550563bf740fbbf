"""A diagnosis as text for a terminal, at most 110 columns wide."""

import textwrap

from nnunet_da.diagnosis.covariate_probe import CovariateResult
from nnunet_da.diagnosis.diagnose import CovariateOutcome, Diagnosis
from nnunet_da.diagnosis.transfer import NOT_ASSESSED
from nnunet_da.evaluation.probe import ProbeResult

WIDTH = 110


def as_text(diagnosis: Diagnosis) -> str:
    """Everything that was found, section by section."""
    sections = [
        _runs(diagnosis),
        _domain(diagnosis),
        _covariates(diagnosis),
        _gradients(diagnosis),
        _transfer(diagnosis),
        _findings(diagnosis),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _runs(diagnosis: Diagnosis) -> list[str]:
    run, other = diagnosis.run, diagnosis.source_only
    lines = [f"run          {run.name}"]
    if other is not None:
        alike = "same plans, fold, seed and length" if not diagnosis.differ else "NOT comparable: " + "; ".join(diagnosis.differ)
        lines += [f"source only  {other.name}", *_wrapped(alike, " " * 13)]
    return [*lines, f"checkpoint   {run.kind}"]


def _domain(diagnosis: Diagnosis) -> list[str]:
    title = "Domain probe: can a linear classifier tell the sites apart in held-out scans? 0.5 is chance."
    lines = [title, *(line for note in diagnosis.held_out.notes for line in _wrapped(note))]
    if diagnosis.probes:
        lines.append(_row("", "AUC", "chance, 95 %", "p", ""))
        lines += [_probe_row(phase, result) for phase, result in diagnosis.probes.items()]
    return lines + (_wrapped(f"not assessed: {diagnosis.probe_gap}") if diagnosis.probe_gap else [])


def _probe_row(phase: str, result: ProbeResult) -> str:
    verdict = "at chance" if result.at_chance else "told apart"
    return _row(phase, f"{result.auc:.2f}", f"{result.null_low:.2f} to {result.null_high:.2f}", f"{result.p_value:.3f}", verdict)


def _covariates(diagnosis: Diagnosis) -> list[str]:
    lines = ["What else the features tell, within each domain"]
    if diagnosis.covariate_gap:
        return [*lines, *_wrapped(f"not assessed: {diagnosis.covariate_gap}")]
    if any(outcome.results for outcome in diagnosis.covariates):
        lines.append(_row("", "score", "chance, 95 %", "p", "", ""))
    return lines + [line for outcome in diagnosis.covariates for line in _covariate_rows(outcome)]


def _covariate_rows(outcome: CovariateOutcome) -> list[str]:
    if outcome.not_assessed:
        return _wrapped(f"{outcome.name}: not assessed: {outcome.not_assessed}")
    return [_covariate_row(f"{outcome.name}, {phase}", result) for phase, result in outcome.results.items()]


def _covariate_row(name: str, result: CovariateResult) -> str:
    verdict = f"{'readable' if result.readable else 'at chance'} ({result.metric}, {result.n_cases} cases)"
    return _row(name, f"{result.score:.2f}", f"{result.null_low:.2f} to {result.null_high:.2f}", f"{result.p_value:.3f}", verdict)


def _gradients(diagnosis: Diagnosis) -> list[str]:
    lines = [f"Gradient at {diagnosis.run.place}, median over the second half of the training"]
    if not diagnosis.shares:
        return [*lines, *_wrapped("not assessed: the run has no curves.csv")]
    lines.append(_row("", "norm", "share", "of supervised", ""))
    for share in diagnosis.shares:
        ratio = "-" if share.ratio is None else f"{share.ratio:.3g}"
        lines.append(_row(share.term, f"{share.norm:.3g}", f"{share.share:.1%}", ratio, ""))
    return lines


def _transfer(diagnosis: Diagnosis) -> list[str]:
    check = diagnosis.transfer
    lines = _wrapped(f"Negative transfer: {check.status}{':' if check.status == NOT_ASSESSED else ','} {check.reason}", "")
    if check.difference is None:
        return lines
    return [
        *lines,
        f"  mean Dice {check.dice_run:.4f}, source only {check.dice_source_only:.4f}, difference {check.difference:+.4f}"
        f" [{check.low:+.4f}, {check.high:+.4f}], p {check.p_value:.3f}",
    ]


def _findings(diagnosis: Diagnosis) -> list[str]:
    findings = diagnosis.findings
    return ["Findings", *(line for finding in findings for line in _wrapped(finding, "  - ", "    "))] if findings else []


def _row(name: str, first: str, second: str, third: str, *words: str) -> str:
    return f"  {name:<32}{first:>9}{second:>18}{third:>15}  {' '.join(words)}".rstrip()


def _wrapped(text: str, indent: str = "  ", following: str | None = None) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  " if following is None else following)
