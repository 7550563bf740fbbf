"""What an audit found, in sentences: for the page and for the terminal."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from nnunet_da.audit.audit import AFTER, GRID, NOISE, RAW, Audit
from nnunet_da.audit.labels import PROTOCOL
from nnunet_da.audit.probing import ALPHA, SiteProbe
from nnunet_da.audit.protocol import FEWEST
from nnunet_da.audit.scans import AuditScan
from nnunet_da.audit.sides import seen_as
from nnunet_da.audit.words import count, number, some
from nnunet_da.evaluation.probe import ProbeResult

GOOD, BAD, MIXED, OPEN = "better", "worse", "mixed", ""  # classes of the report's style sheet
NO_PROOF = (
    "A site that can be told apart does not prove that a model does worse there: that takes scored predictions on labelled cases."
    " An AUC at chance does not prove that there is no shift: other features, or more cases, may show one."
)
PROBE_TITLES = {
    RAW: "Grey values, texture, noise and edges of the scans",
    AFTER: "Grey values and texture after preprocessing",
    GRID: "The grid alone: spacing, slices, field of view, padding",
    NOISE: "Preprocessing alone: the same noise on every scan's grid, preprocessed",
}


@dataclass(frozen=True)
class Finding:
    """One answer.

    Attributes:
        kind: how it is marked.
        details: sentences below it.
    """

    question: str
    answer: str
    kind: str = OPEN
    details: list[str] = field(default_factory=list)


def findings(audit: Audit) -> list[Finding]:
    """All answers, leaks first."""
    return [_leaks(audit), *(finding for target in audit.targets for finding in _site(audit, target)), _sides(audit), *_labels(audit)]


def leak_text(first: AuditScan, second: AuditScan, between: str, kind: str, detail: str) -> str:
    """One leak in one line."""
    return f"{kind}: {first.name} and {second.name} ({between}; {detail})"


def gaps(audit: Audit) -> list[str]:
    """What could not be said, and why."""
    found = []
    if not audit.options.patients:
        found.append("Whether one patient stands on two sides: no table of patients was given (--patients).")
    elif audit.without_patient:
        found.append(f"Whether the patients of {some(audit.without_patient)} stand on two sides: the table of patients does not name them.")
    found += audit.notes
    if not audit.options.target_labels:
        found.append("How the targets' labels were drawn: they were not opened (--target-labels opens them).")
    for target, probes in audit.probes.items():
        if gap := probes[RAW].gap:
            found.append(f"Whether {target} can be told from {audit.source}: {gap}.")
    found += [
        f"Whether scans are mirrored {flips.axis}, by content: {_why_no_side(audit)}." for flips in audit.flips if not flips.informative
    ]
    without = [one.scan.name for one in audit.measured if len(one.fingerprint.places_mm) < 5]
    if without:
        found.append(
            f"Whether {some(without)} stand twice with changes: too small or too plain to search, only identical copies are found."
        )
    return found


def _leaks(audit: Audit) -> Finding:
    question = "Does anything leak?"
    pairs, all_pairs = audit.compared
    searched = f"{all_pairs} pairs of scans searched by content, {pairs} of them compared voxel by voxel."
    details = [searched, f"Folds: {audit.folds_from}."]
    details += [] if audit.options.patients else ["Patients: not checked, no table was given (--patients)."]
    if audit.options.patients and audit.without_patient:
        details.append(f"Patients: not known of {len(audit.without_patient)} of {count(len(audit.scans), 'scan')}.")
    if audit.repeats:
        details.append(f"{count(len(audit.repeats), 'pair')} of one scan or patient on one side: no leak, but counted twice.")
    if not audit.leaks:
        return Finding(question, "Nothing found", GOOD, details)
    return Finding(question, f"Yes: {count(len(audit.leaks), 'pair')}", BAD, details)


def _site(audit: Audit, target: str) -> Iterator[Finding]:
    probes = audit.probes[target]
    question = f"Can {target} be told from {audit.source}?"
    raw = probes[RAW].result
    if raw is None:
        yield Finding(question, "Not assessed", OPEN, [f"{probes[RAW].gap}.".capitalize()])
    else:
        single = any(feature.p_holm < ALPHA for feature in probes[RAW].features)
        answer = "Not by all features together, but by single ones" if single else "Not by these features"
        kind = OPEN if raw.at_chance and not single else MIXED
        details = [interval_text(raw), *_strongest(probes[RAW])]
        yield Finding(question, f"{answer if raw.at_chance else 'Yes'}: AUC {raw.auc:.2f}", kind, details)
    yield Finding("What does preprocessing do to that?", _preprocessing_answer(probes), OPEN, list(_preprocessing_details(audit, target)))


def interval_text(result: ProbeResult) -> str:
    """Chance interval, p and n of a probe."""
    return (
        f"Chance gives {result.null_low:.2f} to {result.null_high:.2f}; p = {result.p_value:.3f};"
        f" {result.n_source} and {result.n_target} scans or patients."
    )


def _strongest(probe: SiteProbe) -> list[str]:
    clear = [feature for feature in probe.features if feature.p_holm < ALPHA]
    if not clear:
        return ["No single feature differs after Holm's correction."]
    named = ", ".join(f"{feature.name} ({feature.strength:.2f})" for feature in clear[:4])
    return [f"{len(clear)} of {len(probe.features)} features differ by themselves; strongest (AUC): {named}."]


def _preprocessing_answer(probes: dict[str, SiteProbe]) -> str:
    raw, after = probes[RAW].result, probes[AFTER].result
    if after is None:
        return "Not assessed"
    return f"AUC {raw.auc:.2f} before, {after.auc:.2f} after" if raw else f"AUC {after.auc:.2f} after"


def _preprocessing_details(audit: Audit, target: str) -> Iterator[str]:
    yield f"{audit.preprocessing.text[0].upper()}{audit.preprocessing.text[1:]}."
    grid, noise = audit.probes[target][GRID].result, audit.probes[target][NOISE].result
    if grid is not None:
        yield f"The grid alone tells the sites apart with AUC {grid.auc:.2f} ({'chance' if grid.at_chance else 'above chance'})."
    elif audit.probes[target][GRID].gap.startswith("no feature"):
        yield "All scans have one grid: it tells nothing."
    if noise is not None:
        told = "writes nothing of the grid into the voxels" if noise.at_chance else "writes the grid into the voxels"
        yield f"Pure noise on the scans' grids, preprocessed alike: AUC {noise.auc:.2f}, preprocessing {told}."
    shares = {name: _share([one.grid.facts()["separate_z"] > 0 for one in audit.of(name)]) for name in (audit.source, target)}
    if len(set(shares.values())) > 1:
        text = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
        yield (
            f"Voxels more than three times as long as wide, whose slices stock resampling treats on their own: {text}."
            " Plans with force_separate_z treat all alike."
        )


def _sides(audit: Audit) -> Finding:
    question = "Do all scans lie the same way?"
    details = [audit.orientation_warning[0].upper() + audit.orientation_warning[1:] + "."] if audit.orientation_warning else []
    for flips in audit.flips:
        if flips.mirrored:
            names = [audit.measured[place].scan.name for place in flips.mirrored]
            details.append(f"By content, {some(names)} look mirrored {flips.axis} against {audit.source}.")
    sides = {tuple(sorted({seen_as(side) for side in of})) for of in audit.sides.values()}
    if len(sides) > 1 or any(len(side) > 1 for side in sides):
        text = "; ".join(f"{name}: {', '.join(f'{count} {side}' for side, count in of.items())}" for name, of in audit.sides.items())
        details.append(f"conversion.csv notes different sides: {text}.")
    if details:
        return Finding(question, "No", BAD, details)
    told = [flips.axis for flips in audit.flips if flips.informative]
    if not told:
        return Finding(question, "Headers agree; content cannot tell", OPEN, [f"Content: {_why_no_side(audit)}."])
    return Finding(question, "Yes", GOOD, [f"Headers agree; content tells {', '.join(told)}, and no scan looks mirrored."])


def _labels(audit: Audit) -> Iterator[Finding]:
    for target in audit.targets:
        if not any(one.labels for one in audit.of(target)):
            continue
        if not any(target in entry.p_holm for entry in audit.labels):
            yield Finding(
                f"Was {target} labelled like {audit.source}?", "Not assessed", OPEN, [f"A test needs {FEWEST} labelled scans of either."]
            )
            continue
        clear = [entry for entry in audit.labels if entry.p_holm.get(target, 1.0) < ALPHA]
        question = f"Was {target} labelled like {audit.source}?"
        if not clear:
            yield Finding(question, "No difference shown", OPEN)
            continue
        words = [
            f"{entry.label}, {PROTOCOL[entry.measure].lower()}: {_medians(entry.medians, audit.source, target)}" for entry in clear[:6]
        ]
        yield Finding(question, f"No: {count(len(clear), 'measure')} apart", MIXED, [f"{word}." for word in words])


def _medians(medians: dict[str, tuple[float, float, float, int]], source: str, target: str) -> str:
    return " against ".join(number(medians[name][0]) for name in (source, target))


def _why_no_side(audit: Audit) -> str:
    if len(audit.of(audit.source)) < 3:
        return "the source has too few scans for a mean scan"
    return "the source's scans look like their own mirror image, or lie differently among themselves"


def _share(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
