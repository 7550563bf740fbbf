"""`nnunet-da plan`: plans for a labelled source and, but for baselines, unlabelled targets."""

import argparse

from nnunet_da.cli.options import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--source", required=True, help="id or name of the labelled source dataset")
    parser.add_argument(
        "-t", "--target", nargs="+", default=[], help="ids or names of the unlabelled target datasets; baselines such as stock need none"
    )
    parser.add_argument("--preset", default="pf_daformer", help="recipe (default: pf_daformer; see docs/presets.md)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="change one setting, repeatable")
    parser.add_argument(
        "--from-checkpoint",
        metavar="FILE",
        help="trained nnU-Net to start from, {fold} stands for the fold; short for --set init_checkpoint=FILE",
    )
    parser.add_argument("--name", help="add a variant 3d_fullres_NAME to existing plans instead of making plans")
    parser.add_argument("-tr", "--trainer", help="check that this trainer fits the preset")
    parser.add_argument("--patch-size", type=int, nargs=3, metavar=("Z", "Y", "X"), help="voxels, instead of the preset's")
    parser.add_argument("--batch-size", type=int, help="samples per domain, instead of the preset's")
    parser.add_argument("--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"), help="mm to resample to, instead of the preset's")
    parser.add_argument("--processes", type=positive, default=2, help="for reading images (default: 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace plans or a variant of the same name")


def run(options: argparse.Namespace) -> None:
    from nnunet_da.planning import PlanRequest, plan
    from nnunet_da.settings import parse_assignment

    overrides = dict(parse_assignment(text) for text in options.overrides)
    if options.from_checkpoint is not None:
        overrides["init_checkpoint"] = options.from_checkpoint
    request = PlanRequest(
        source=options.source,
        targets=options.target,
        preset=options.preset,
        overrides=overrides,
        patch_size=options.patch_size,
        batch_size=options.batch_size,
        spacing_mm=options.spacing,
        variant=options.name,
        trainer=options.trainer,
        processes=options.processes,
        overwrite=options.overwrite,
    )
    file, configuration = plan(request)
    dataset_id = int(file.parent.name[len("Dataset") : len("Dataset") + 3])
    print(f"plans: {file}")
    if options.name is None:
        print(f"next: nnunet-da preprocess -d {dataset_id} -p {file.stem} -c {configuration}")
    else:
        parent = configuration.removesuffix(f"_{options.name}")
        print(f"configuration: {configuration}, it shares the preprocessed data of {parent}")
        print(f"next: nnUNetv2_train {dataset_id} {configuration} 0 -p {file.stem} -tr {options.trainer or 'TRAINER'}")
