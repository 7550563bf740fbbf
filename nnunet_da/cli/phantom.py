"""`nnunet-da phantom`: a synthetic centre as a nnU-Net dataset."""

import argparse

# the factors of nnunet_da.phantom.cohort.SWITCHES; repeated because that module imports numpy and scipy (a test compares them)
SWITCHES = (
    "kernel", "noise", "slice", "voltage", "calibration", "cupping", "contrast", "joint", "cortex", "population", "positioning",
    "label_protocol",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("-d", "--dataset-id", type=int, required=True, metavar="ID", help="id of the new dataset, 1 to 999")
    parser.add_argument("--name", required=True, help="name of the new dataset")
    parser.add_argument("--centre", required=True, help="tulane or rochester")
    parser.add_argument("--severity", type=int, default=1, help="0 identical scanners, 1 like the paper's centres (default), 2 hard")
    parser.add_argument("--people", help="the centre whose patients are scanned (default: its own)")
    parser.add_argument("--train", type=int, default=12, metavar="N", help="training cases (default 12)")
    parser.add_argument("--test", type=int, default=6, metavar="N", help="test cases, always labelled (default 6)")
    parser.add_argument("--no-labels", action="store_true", help="write no labelsTr")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default 0)")
    parser.add_argument(
        "--on", nargs="+", default=[], metavar="FACTOR", choices=SWITCHES, help="factors that differ beside those of the severity"
    )
    parser.add_argument("--off", nargs="+", default=[], metavar="FACTOR", choices=SWITCHES, help="factors that do not differ")
    parser.add_argument("--window-mm", type=float, nargs=3, metavar=("Z", "Y", "X"), help="size of the crop instead of 192 pixels")
    parser.add_argument("--pixel-mm", type=float, help="one pixel size for all cases")
    parser.add_argument("--slice-scale", type=float, default=1.0, help="multiplies the slice thickness, for small cases")
    parser.add_argument("--full-field", action="store_true", help="both hips, table and calibration rods, 512 x 512")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="cases at a time (default 2)")
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset if it exists")


def run(options: argparse.Namespace) -> int:
    """Write the dataset and name it."""
    from nnunet_da import paths
    from nnunet_da.phantom.cohort import Window, centre, switched
    from nnunet_da.phantom.dataset import write_dataset

    size = tuple(options.window_mm) if options.window_mm else None
    folder = write_dataset(
        paths.nnunet_raw(),
        options.dataset_id,
        options.name,
        centre(options.centre, options.severity, people=options.people, **switched(options.on, options.off)),
        options.train,
        options.test,
        options.seed,
        labels=not options.no_labels,
        processes=options.processes,
        window=Window(size_mm=size, pixel_mm=options.pixel_mm, slice_scale=options.slice_scale, full_field=options.full_field),
        overwrite=options.overwrite,
        progress=True,
    )
    print(f"wrote {folder}")
    return 0
