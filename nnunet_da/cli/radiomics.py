"""`nnunet-da radiomics`: do features and bone endpoints of the predictions agree with those of the references?"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.cli.options import positive
from nnunet_da.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from nnunet_da.radiomics.cases import Cohort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--evaluation",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="what evaluate --images wrote for one method, one folder or one per domain",
    )
    parser.add_argument("--images", type=Path, metavar="IMG", help="instead of --evaluation: folder of the scans, with -r and -p")
    parser.add_argument("-r", "--references", type=Path, metavar="REF", help="folder of reference label maps")
    parser.add_argument("-p", "--predictions", type=Path, metavar="PRED", help="folder of predicted label maps, same file names")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the tables; a stopped run goes on there"
    )
    domains = parser.add_mutually_exclusive_group()
    domains.add_argument("--domain", metavar="NAME", help="with --images: domain of all cases (default: the DatasetXXX_NAME in REF's path)")
    domains.add_argument("--domains", type=Path, metavar="CSV", help="with --images: file with the columns case and domain")
    parser.add_argument("--dataset-json", type=Path, metavar="F", help="with --images: labels and regions (default: nnU-Net's, else REF's)")
    parser.add_argument(
        "--settings", type=Path, metavar="YAML", help="parameter file of pyradiomics (default: its 107 features, bins of 25)"
    )
    parser.add_argument(
        "--calibration",
        type=float,
        nargs=2,
        metavar=("SLOPE", "INTERCEPT"),
        help="density in mg/cm3 = SLOPE x HU + INTERCEPT (default: HU)",
    )
    parser.add_argument(
        "--shell", type=float, default=2.0, metavar="MM", help="depth of the cortical shell whose density is taken (default: 2)"
    )
    nulls = parser.add_mutually_exclusive_group()
    nulls.add_argument(
        "--null", type=float, nargs="+", default=[0.5, 1.0], metavar="MM", help="erode and dilate the reference by so much (default: 0.5 1)"
    )
    nulls.add_argument("--no-null", action="store_true", help="a third of the time, and nothing to compare the agreement with")
    parser.add_argument("--processes", type=positive, metavar="N", help="cases at a time (default: one per core, at most 8)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the tables in OUT; cases that did not change are not measured again"
    )


def run(options: argparse.Namespace) -> None:
    from nnunet_da.outputs import check_output
    from nnunet_da.radiomics.endpoints import BoneSettings
    from nnunet_da.radiomics.measure import MeasureSettings
    from nnunet_da.radiomics.results import AGREEMENT_FILE, RESULTS, WORK_FOLDER, warnings_of, write_results
    from nnunet_da.radiomics.run import measure_cohort
    from nnunet_da.radiomics.tables import tables
    from nnunet_da.radiomics.text import as_text

    check_output(options.output, RESULTS, options.overwrite)
    calibration = tuple(options.calibration) if options.calibration else None
    nulls_mm = () if options.no_null else tuple(options.null)
    settings = MeasureSettings(options.settings, BoneSettings(calibration, options.shell), nulls_mm)
    measured = measure_cohort(_cohort(options), settings, options.output / WORK_FOLDER, processes=options.processes)
    found = tables(measured)
    write_results(measured, found, options.output, command=options.command, overwrite=options.overwrite)
    print(as_text(measured, found))
    for warning in warnings_of(measured, found):
        print(f"warning: {warning}")
    print(f"written: {options.output / AGREEMENT_FILE}")
    if measured.failed:
        raise CheckFailed(f"{len(measured.failed)} of {len(measured.failed) + len(measured.cases)} cases were not measured (listed above).")


def _cohort(options: argparse.Namespace) -> "Cohort":
    from nnunet_da.evaluation.cases import read_domains
    from nnunet_da.radiomics.cases import cohort_of_evaluations, cohort_of_folders

    folders = (options.images, options.references, options.predictions)
    only_with_folders = (*folders, options.domain, options.domains, options.dataset_json)
    if options.evaluation and any(only_with_folders):
        raise UserError("an evaluation names its files and domains itself: give --evaluation alone, or --images, -r and -p.")
    if options.evaluation:
        return cohort_of_evaluations(options.evaluation)
    if not all(folders):
        raise UserError("what to measure was expected: --evaluation DIR, or --images IMG -r REF -p PRED; see nnunet-da radiomics -h.")
    domains = read_domains(options.domains) if options.domains else options.domain
    return cohort_of_folders(*folders, domains, options.dataset_json)
