"""Diagnose a run: load it, find what to compare it with, probe, and put the findings together."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nnunet_da.diagnosis.covariate_probe import CovariateResult, covariate_probe
from nnunet_da.diagnosis.covariates import Covariate, read_covariates
from nnunet_da.diagnosis.gradients import TermShare, classifier_finding, gradient_findings, gradient_shares, read_curves
from nnunet_da.diagnosis.held_out import HeldOut, held_out_cases, read_scans, validation_names
from nnunet_da.diagnosis.runs import Run, differences, find_source_only, load_run, network_differences
from nnunet_da.diagnosis.transfer import ALARM, MARGIN, TransferCheck, check_transfer
from nnunet_da.errors import UserError
from nnunet_da.evaluation.probe import ProbeResult, domain_probe

BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        source_only: fold to compare with, None to look for it beside the run.
        checkpoint: final or best, of both runs.
        covariates: CSV, None for what the phantom wrote.
        permutations: of every null.
        patches: per case.
        seed: of patches, folds, permutations and bootstrap.
        margin: Dice on the source that adaptation may cost.
        device: cpu or cuda.
    """

    source_only: Path | None = None
    checkpoint: str = "final"
    covariates: Path | None = None
    permutations: int = 200
    patches: int = 8
    seed: int = 0
    margin: float = MARGIN
    device: str = "cpu"


@dataclass(frozen=True)
class CovariateOutcome:
    """What the features tell of one covariate: by phase, or why it was not assessed."""

    name: str
    results: dict[str, CovariateResult] = field(default_factory=dict)
    not_assessed: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        source_only: None where none was found.
        differ: in what the two runs differ apart from alignment; empty where they are comparable.
        held_out: the scans that were probed.
        probes: phase (before, after) -> result.
        probe_gap: why a probe, or one phase of it, was not assessed.
        curves, curves_source_only: columns epoch, term, value; empty where there are none.
    """

    run: Run
    source_only: Run | None
    differ: list[str]
    held_out: HeldOut
    probes: dict[str, ProbeResult]
    probe_gap: str | None
    covariates: list[CovariateOutcome]
    covariate_gap: str | None
    curves: pd.DataFrame
    curves_source_only: pd.DataFrame
    shares: list[TermShare]
    transfer: TransferCheck
    options: Options

    @property
    def alarm(self) -> bool:
        return self.transfer.status == ALARM

    @property
    def findings(self) -> list[str]:
        """What it all means, one sentence each."""
        weights = {share.term: self.run.weight(share.term) for share in self.shares}
        after = self.probes.get(AFTER)
        classifier = classifier_finding(self.curves, None if after is None else not after.at_chance, self.run.settings)
        told = [*_probe_findings(self.probes), *_covariate_findings(self.covariates), *gradient_findings(self.shares, weights)]
        return told + ([classifier] if classifier else [])


def diagnose(folder: Path, options: Options) -> Diagnosis:
    """Diagnose one trained fold.

    Raises:
        UserError: no run of ours, or a file that cannot be read. What cannot be assessed is said in the result instead.
    """
    run = load_run(folder, options.checkpoint)
    source_only = _source_only(run, options)
    differ = [] if source_only is None else differences(run, source_only)
    held_out = held_out_cases(run)
    networks, gap = _phases(run, source_only)
    gap = held_out.too_few() or gap
    features = {} if held_out.too_few() else _features(networks, run, held_out, options)
    curves = read_curves(run.curves_file) if run.curves_file.is_file() else _no_curves()
    others = source_only is not None and source_only.curves_file.is_file()
    covariates, covariate_gap = _covariates(features, held_out, options)
    return Diagnosis(
        run,
        source_only,
        differ,
        held_out,
        {phase: _domain_probe(rows, held_out, options) for phase, rows in features.items()},
        gap,
        covariates,
        covariate_gap,
        curves,
        read_curves(source_only.curves_file) if others and source_only else _no_curves(),
        gradient_shares(curves),
        check_transfer(run, source_only, differ, validation_names(run), options.margin, options.seed),
        options,
    )


def _source_only(run: Run, options: Options) -> Run | None:
    if options.source_only is not None:
        return load_run(options.source_only, options.checkpoint)
    folder = None if run.is_source_only else find_source_only(run)
    if folder is None or not (folder / f"checkpoint_{options.checkpoint}.pth").is_file():
        return None
    return load_run(folder, options.checkpoint)


def _phases(run: Run, source_only: Run | None) -> tuple[dict[str, Run], str | None]:
    """Phase -> the run whose network stands for it, and why there is no other."""
    if run.is_source_only:
        return {BEFORE: run}, "this is the source-only run: there is no after"
    if source_only is None:
        return {AFTER: run}, "no source-only run was found: there is no before"
    obstacles = network_differences(run, source_only)
    if obstacles:
        return {AFTER: run}, f"no before: of run and source-only run {' and '.join(obstacles)}"
    return {BEFORE: source_only, AFTER: run}, None


def _features(phases: dict[str, Run], run: Run, held_out: HeldOut, options: Options) -> dict[str, NDArray[np.float32]]:
    """Phase -> (cases, F), source cases first."""
    import torch
    from tqdm import tqdm

    from nnunet_da.training.held_out_features import case_features, trained_network

    device = torch.device(options.device)
    networks = {phase: trained_network(each.content, each.folder / f"checkpoint_{each.kind}.pth", device) for phase, each in phases.items()}
    cases = held_out.source + held_out.target
    return case_features(
        networks,
        tqdm(read_scans(run, cases), total=len(cases), desc="features", unit="case", disable=None, leave=False),
        run.configuration["patch_size"],
        patches=options.patches,
        alignment=run.alignment,
        seed=options.seed,
        device=device,
        batch_size=run.configuration["batch_size"],
    )


def _domain_probe(features: NDArray[np.float32], held_out: HeldOut, options: Options) -> ProbeResult:
    n = len(held_out.source)
    names = [[f"{case.dataset}/{case.case}" for case in cases] for cases in (held_out.source, held_out.target)]
    return domain_probe(features[:n], features[n:], *names, permutations=options.permutations, seed=options.seed)


def _covariates(features: dict[str, NDArray[np.float32]], held_out: HeldOut, options: Options) -> tuple[list[CovariateOutcome], str | None]:
    cases = held_out.source + held_out.target
    if not cases:
        return [], held_out.too_few()
    covariates = read_covariates(options.covariates, [(case.dataset, case.case) for case in cases])
    if not features:
        return [], held_out.too_few()
    domains = np.array(["source"] * len(held_out.source) + ["target"] * len(held_out.target))
    gap = None if covariates else "no covariates were given (--covariates CSV)"
    return [_covariate(covariate, features, domains, options) for covariate in covariates], gap


def _covariate(covariate: Covariate, features: dict[str, NDArray[np.float32]], domains: NDArray, options: Options) -> CovariateOutcome:
    known, seed = covariate.known, options.seed
    try:
        results = {
            phase: covariate_probe(
                rows[known], covariate.values, domains[known], numeric=covariate.numeric, permutations=options.permutations, seed=seed
            )
            for phase, rows in features.items()
        }
    except ValueError as error:
        return CovariateOutcome(covariate.name, not_assessed=str(error))
    return CovariateOutcome(covariate.name, results)


def _probe_findings(probes: dict[str, ProbeResult]) -> list[str]:
    before, after = probes.get(BEFORE), probes.get(AFTER)
    if before is None or after is None:
        return []
    change = f"(AUC {before.auc:.2f} before, {after.auc:.2f} after)"
    sentence = {
        (True, True): "could not be told apart before adaptation nor after it {}: no shift that a linear probe of so few cases sees",
        (True, False): "could not be told apart for sure before adaptation and can be after it {}: adaptation did not hide them",
        (False, True): "were told apart by a linear probe before adaptation and no longer are {}",
        (False, False): "are told apart by a linear probe before and after adaptation {}: they are not aligned",
    }[before.at_chance, after.at_chance]
    return [f"The domains {sentence.format(change)}."]


def _covariate_findings(covariates: list[CovariateOutcome]) -> list[str]:
    both = [each for each in covariates if {BEFORE, AFTER} <= set(each.results)]
    lost = [each.name for each in both if each.results[BEFORE].readable and not each.results[AFTER].readable]
    kept = [each.name for each in both if each.results[BEFORE].readable and each.results[AFTER].readable]
    findings = [f"Still readable from the features after adaptation: {', '.join(kept)}."] if kept else []
    return findings + ([f"Readable before adaptation and not after: {', '.join(lost)}; it may have erased anatomy too."] if lost else [])


def _no_curves() -> pd.DataFrame:
    return pd.DataFrame({"epoch": pd.Series(dtype=int), "term": pd.Series(dtype=str), "value": pd.Series(dtype=float)})


def check_device(device: str | None) -> str:
    """The device to use: what is asked for, else CUDA where there is one.

    Raises:
        UserError: CUDA is asked for and missing.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU that torch can use, there is none: use --device cpu, or run `nnunet-da doctor`")
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
