"""One nnU-Net dataset of several sites to one dataset per site, by links.

Importing this module is cheap: the parts that do the work are imported when they are needed.
"""

import argparse
from pathlib import Path

HELP = "a multi-site nnU-Net dataset and a table of its cases' sites (one dataset per site, by links)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--dataset", required=True, metavar="ID", help="the dataset to split, an id or a name; it stays as it is")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="table with the columns case, site and, best, patient")
    parser.add_argument(
        "-d", "--dataset-id", type=int, required=True, metavar="ID", help="of the first site; the others take the next ones"
    )
    parser.add_argument("--prefix", default="", help="put before the sites' names, such as Hip_ (default none)")
    parser.add_argument("--unlabelled", action="append", default=[], metavar="SITE", help="a target: leave its training labels out; repeat")
    parser.add_argument("--leave-one-out", action="store_true", help="also one dataset per site that holds all the others, as its source")
    parser.add_argument(
        "--test", type=float, metavar="AMOUNT", help="patients of each site to hold out as imagesTs: a fraction such as 0.1, or a number"
    )
    parser.add_argument("--stratify", metavar="COLUMN", help="balance the hold-out and the folds by this column, such as sex")
    parser.add_argument(
        "--folds", type=int, default=5, help="in splits_final.json, by patient; 0 leaves it to nnU-Net (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the hold-out and the folds (default %(default)s)")
    parser.add_argument(
        "--patients-per-site", action="store_true", help="each site counts its own patients: equal numbers are other people"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace datasets and splits of these names")


def run(options: argparse.Namespace) -> None:
    """Split, then say what came out and where."""
    from nnunet_da.conversion.site_datasets import write_sites
    from nnunet_da.conversion.site_plan import SplitRequest, plan_sites
    from nnunet_da.conversion.site_table import read_site_table
    from nnunet_da.datasets import find_dataset

    table = read_site_table(options.csv, options.stratify)
    if not table.has_patients:
        print("no column 'patient': every case counts as a patient of its own")
    request = SplitRequest(
        options.dataset_id,
        options.prefix,
        tuple(options.unlabelled),
        options.leave_one_out,
        options.test,
        options.folds,
        options.seed,
        options.patients_per_site,
    )
    source = find_dataset(options.dataset)
    sites = plan_sites(source, table, request)
    written = write_sites(source, sites, overwrite=options.overwrite)
    for site, folder in zip(sites, written.folders, strict=True):
        print(f"wrote {folder}: {site.summary}")
    if written.symbolic:
        print("hard links were not possible here: the datasets hold symbolic links, so keep the original where it is")
