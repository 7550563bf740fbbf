"""`nnunet-da adapt-bn`: the running statistics of a trained model's batch normalisation, recomputed on a target."""

import argparse
from pathlib import Path

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_folder", type=Path, metavar="MODEL", help="results folder DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION")
    parser.add_argument("-t", "--target", required=True, help="id or name of the unlabelled target; its imagesTr are looked at")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a folder laid out like nnUNet_results")
    parser.add_argument("-f", "--folds", nargs="+", default=[], metavar="FOLD", help="0 1 2 ... or all (default: every numbered fold)")
    parser.add_argument("--checkpoint", default="final", metavar="NAME", help="final, best or latest (default: final)")
    parser.add_argument("--cases", type=positive, metavar="N", help="scans to look at, evenly spaced (default: all)")
    parser.add_argument(
        "--momentum",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="weight of the target's statistics against the model's own (default: 1)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--processes", type=positive, default=2, help="for preprocessing where there is no target cache (default: 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier adapted model")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.batch_norm import AdaptationRequest, adapt_model
    from nnunet_da.diagnosis.diagnose import check_device

    request = AdaptationRequest(
        options.model_folder,
        options.target,
        options.output,
        tuple(options.folds),
        options.checkpoint,
        options.cases,
        options.momentum,
        check_device(options.device),
        options.processes,
        options.overwrite,
    )
    adapted = adapt_model(request)
    print(f"adapted: {adapted.layers} layers on {adapted.patches} patches of {len(adapted.cases)} scan(s)")
    print(f"written: {adapted.folder}")
    print(f"next: nnUNetv2_predict_from_modelfolder -m {adapted.folder} -i SCANS -o PREDICTIONS -f {' '.join(adapted.folds)}")
