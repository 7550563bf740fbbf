"""`python -m nnunet_da.study.steps FOLDER STEP ...`: what a study does beyond the verbs, one job each, in the study's own folders."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nnunet_da.cli.main import print_error
from nnunet_da.errors import CheckFailed, UserError
from nnunet_da.study.layout import Layout, Run
from nnunet_da.study.study import Study, read_resolved


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="nnunet_da.study.steps")
    parser.add_argument("folder", type=Path)
    parser.add_argument("step", choices=sorted(STEPS))
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args(arguments)
    layout = Layout(options.folder)
    try:
        STEPS[options.step](read_resolved(layout), layout, *options.rest)
    except (UserError, CheckFailed, OSError) as error:
        return print_error(error)
    return 0


def prepare(study: Study, layout: Layout, preset: str) -> None:
    """Plans, folds and preprocessed scans of one preset; test cases that are training cases are refused first."""
    from nnunet_da.study.leakage import refuse_trained_tests
    from nnunet_da.study.locks import lock
    from nnunet_da.study.prepare import prepare_preset

    refuse_trained_tests(study)
    with lock(layout.folder / "locks" / "prepare.lock"):  # presets share the source's fingerprint, folds and label maps
        prepare_preset(study, preset)


def targets(study: Study, layout: Layout) -> None:
    """One dataset of several targets' labelled cases."""
    from nnunet_da.study.prepare import merge_targets

    merge_targets(study)


def merge(study: Study, layout: Layout, arm: str) -> None:
    """Dataset, plans and preprocessed scans of the oracle or the joint arm."""
    from nnunet_da.study.prepare import prepare_labelled_target

    prepare_labelled_target(study, study.arm(arm))


def configure(study: Study, layout: Layout, arm: str, run: str) -> None:
    """The configuration of one run of an arm, in the plans of the dataset it trains on."""
    from nnunet_da.study.prepare import configure_run

    configure_run(study, layout, study.arm(arm), _run(study, run))


def pseudo(study: Study, layout: Layout, arm: str, run: str) -> None:
    """Dataset, plans and preprocessed scans of one run of a self-training arm."""
    from nnunet_da.study.prepare import prepare_pseudo_labels

    prepare_pseudo_labels(study, layout, study.arm(arm), _run(study, run))


def collect(study: Study, layout: Layout) -> None:
    """Tables, statistics and notes that the report shows."""
    from nnunet_da.study.collect import collect_results

    collect_results(study, layout)


def _run(study: Study, name: str) -> Run:
    return next(run for run in study.runs if run.name == name)


STEPS: dict[str, Callable[..., None]] = {step.__name__: step for step in (prepare, targets, merge, configure, pseudo, collect)}

if __name__ == "__main__":
    sys.exit(main())
