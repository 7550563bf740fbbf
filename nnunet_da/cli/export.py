"""`nnunet-da export`: a trained model, cleaned, as a folder or zip to give away."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="results folder DatasetXXX_NAME/TRAINER__PLANS__CONFIGURATION")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="NAME.zip, or a folder laid out like nnUNet_results"
    )
    parser.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="0 1 2 ... or all (default: every numbered fold)")
    parser.add_argument("--checkpoint", default="final", metavar="NAME", help="final, best or latest (default: final)")
    parser.add_argument("--dataset-name", metavar="DatasetXXX_NAME", help="install under this name (default: the source dataset's)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.export import export_model

    exported = export_model(
        options.run_folder,
        options.output,
        folds=options.folds,
        checkpoint=options.checkpoint,
        dataset_name=options.dataset_name,
        overwrite=options.overwrite,
    )
    needs = {"stock": "stock nnU-Net alone", "ours": "nnU-Net and nnunet_da", "foreign": "nnU-Net and the code of its trainer"}
    print(f"written: {exported.file}")
    print(f"model {exported.dataset}/{exported.folder_name}: predicts with {needs[exported.needs]}; its README.md has the lines")
