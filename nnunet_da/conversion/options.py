"""Command-line options every format shares: where the result goes and how it is made. Importing this module is cheap."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_da.cli.options import positive
from nnunet_da.errors import UserError

if TYPE_CHECKING:
    from nnunet_da.conversion.dataset import DatasetSpecification, ScanFolder


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """`-d` and `--name` for a dataset or `-o` for a plain folder, `--overwrite`, `--processes`, `--no-pictures`."""
    group = parser.add_argument_group("output")
    group.add_argument("-d", "--dataset-id", type=int, metavar="ID", help="write a dataset into nnUNet_raw; 1 to 999, not yet in use")
    group.add_argument("--name", help="the dataset becomes DatasetID_NAME")
    group.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="write images for nnUNetv2_predict into this folder, no dataset: new scans"
    )
    group.add_argument("--overwrite", action="store_true", help="replace what stands there: another conversion, changed or vanished cases")
    group.add_argument("--processes", type=positive, default=min(4, os.cpu_count() or 1), help="cases at a time (default %(default)s)")
    group.add_argument("--no-pictures", dest="pictures", action="store_false", help="draw no picture per case")


def output_of(
    options: argparse.Namespace, channel_names: Sequence[str], labels: Mapping[str, int], converted_by: str
) -> "DatasetSpecification | ScanFolder":
    """What the user asked for: a dataset, or a plain folder of images.

    Args:
        options: of `add_output_arguments`.
        channel_names: one per channel; "CT" turns on nnU-Net's CT normalisation and our checks of Hounsfield units.
        labels: declared names and values, background included.
        converted_by: the verb and format, such as "nnunet-da convert qct".

    Raises:
        UserError: neither or both, `-d` without `--name`, an id or name nnU-Net cannot use, labels for a plain folder, or an output inside
            a folder of scans.
    """
    output = _output_of(options, channel_names, labels, converted_by)
    _refuse_output_among_scans(options, output.folder)
    return output


def _output_of(
    options: argparse.Namespace, channel_names: Sequence[str], labels: Mapping[str, int], converted_by: str
) -> "DatasetSpecification | ScanFolder":
    from nnunet_da.conversion.dataset import DatasetSpecification, ScanFolder

    if options.output and (options.dataset_id is not None or options.name is not None):
        raise UserError("the output is a dataset (-d and --name) or a plain folder (-o), got both: leave one out")
    command = getattr(options, "command", "")
    if options.output:
        _refuse_labels(options)
        return ScanFolder(options.output, tuple(channel_names), converted_by, command)
    if options.dataset_id is None or options.name is None:
        raise UserError("say where the result goes: -d ID and --name NAME for a dataset, or -o FOLDER for new scans to predict")
    return DatasetSpecification(options.dataset_id, options.name, tuple(channel_names), dict(labels), converted_by, command)


def _refuse_labels(options: argparse.Namespace) -> None:
    given = [name for name in ("label", "labels_json") if getattr(options, name, None)]
    if given:
        raise UserError(f"a plain folder (-o) takes no labels: leave out --{given[0].replace('_', '-')}, or make a dataset (-d and --name)")


def _refuse_output_among_scans(options: argparse.Namespace, output: Path) -> None:
    """A second run would take an output in a folder of scans for a scan; sets with file names of their own are safe from that."""
    given = [getattr(options, name, None) or [] for name in ("images", "labels", "test_images", "test_labels")]
    for source in [text for texts in given for text in ([texts] if isinstance(texts, str) else texts)]:
        if Path(source).is_dir() and output.resolve().is_relative_to(Path(source).resolve()):
            raise UserError(f"the output must lie outside the folders of scans, {output} lies in {source}: choose another")
