"""`nnunet-da pseudo-label`: self-training, a dataset of the source and of target scans that a trained model labels with confidence."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_folder", type=Path, metavar="MODEL", help="results folder DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION")
    parser.add_argument("-t", "--target", required=True, help="id or name of the unlabelled target; its imagesTr are labelled")
    parser.add_argument("-o", "--output", type=int, required=True, metavar="ID", help="id of the dataset to write")
    parser.add_argument("--name", required=True, help="its name, such as SelfTrained")
    parser.add_argument("-f", "--folds", nargs="+", default=[], metavar="FOLD", help="0 1 2 ... or all (default: every numbered fold)")
    parser.add_argument("--checkpoint", default="final", metavar="NAME", help="final, best or latest (default: final)")
    parser.add_argument(
        "--confidence", type=float, default=0.9, metavar="P", help="least mean probability of a scan's predicted foreground (default: 0.9)"
    )
    parser.add_argument("--no-mirroring", action="store_true", help="predict without averaging over mirrored scans: faster")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier merged dataset of this name")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.diagnosis.diagnose import check_device
    from nnunet_da.pseudo_labels import RECORD, SelfTrainingRequest, pseudo_label

    request = SelfTrainingRequest(
        options.model_folder,
        options.target,
        options.output,
        options.name,
        tuple(options.folds),
        options.checkpoint,
        options.confidence,
        not options.no_mirroring,
        check_device(options.device),
        options.overwrite,
    )
    made = pseudo_label(request)
    print(f"kept: {len(made.kept)} of {len(made.confidences)} target scans, see {RECORD}")
    print(f"written: {made.dataset.folder}")
    dataset_id, plans, configuration = made.dataset.dataset_id, made.plans_name, made.configuration
    preprocess = f"nnunet-da preprocess -d {dataset_id} -p" if made.has_targets else f"nnUNetv2_preprocess -d {dataset_id} -plans_name"
    print(f"next: {preprocess} {plans} -c {made.preprocessed_configuration}")
    print(f"then: nnUNetv2_train {dataset_id} {configuration} FOLD -p {plans} -tr {made.trainer}")
