"""Write the datasets of sites: links to the original's files, made aside and renamed at the end."""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nnunet_da import paths
from nnunet_da.conversion.site_plan import CaseAtSite, SiteDataset
from nnunet_da.conversion.standing import refuse_overlap
from nnunet_da.datasets import RawDataset, other_names_of_id
from nnunet_da.errors import UserError
from nnunet_da.links import link
from nnunet_da.outputs import write_whole

SPLITS_FILE = "splits_final.json"
LOG_COLUMNS = ("case", "split", "site", "patient", "channel", "input", "output", "label_input", "label_output")


@dataclass(frozen=True)
class Written:
    """Folders of the datasets, and whether any of their files is a symbolic link."""

    folders: tuple[Path, ...]
    symbolic: bool


def write_sites(source: RawDataset, sites: Sequence[SiteDataset], *, overwrite: bool = False) -> Written:
    """Write all datasets under `nnUNet_raw`, and their splits under `nnUNet_preprocessed` too where that is set.

    Files are hard links: they take no space and outlive the original. Where those are not possible (another disk, files of another
    user), they are symbolic ones.

    Raises:
        UserError: an id in use, files of the original in a dataset to be replaced, splits to be replaced, or no links at all; nothing
            is left then.
    """
    raw = paths.nnunet_raw()
    for site in sites:
        _refuse_taken(source, site, overwrite)
    refuse_overlap((file for site in sites for file in _inputs(site)), (raw / site.folder_name for site in sites))
    splits = _splits_for_training(sites)  # where none are made, old ones would name cases of the old dataset
    if not overwrite and (existing := [file for file in splits if file.exists()]):
        raise UserError(f"{existing[0]} is there already, and trained models may rest on it: add --overwrite to replace it")
    holder = Path(tempfile.mkdtemp(prefix=".splitting_", dir=raw))
    try:
        (holder / "old").mkdir()
        symbolic = [_write_dataset(source, site, holder / site.folder_name, raw) for site in sites]
        _put_in_place([site.folder_name for site in sites], holder, raw)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
    for file, content in splits.items():
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(exist_ok=True)
            write_whole(file, content)
    return Written(tuple(raw / site.folder_name for site in sites), any(symbolic))


def _inputs(site: SiteDataset) -> Iterator[Path]:
    for case in (*site.training, *site.test):
        yield from (*case.files.images, *([case.files.label] if case.files.label else []))


def _refuse_taken(source: RawDataset, site: SiteDataset, overwrite: bool) -> None:
    """Stock nnU-Net refuses an id with two names, in any of its three folders."""
    if not 1 <= int(site.folder_name[7:].split("_")[0]) <= 999:
        raise UserError(f"dataset ids must be between 1 and 999, got {site.folder_name}: start lower with -d")
    if site.folder_name == source.name:
        raise UserError(f"the original {source.name} stays as it is, and a site would replace it: start at another id with -d")
    for taken in other_names_of_id(site.folder_name):
        raise UserError(f"the dataset id {site.folder_name[7:10]} is in use by {taken}: start at another id with -d")
    if (paths.nnunet_raw() / site.folder_name).exists() and not overwrite:
        raise UserError(f"{site.folder_name} is there already: start at another id with -d, or replace it with --overwrite")


def _splits_for_training(sites: Sequence[SiteDataset]) -> dict[Path, str | None]:
    """File, where training looks for it, and content, None where there shall be no file; nothing where `nnUNet_preprocessed` is not set."""
    folder = paths.optional(paths.nnunet_preprocessed)
    if folder is None:
        return {}
    return {folder / site.folder_name / SPLITS_FILE: _json(site.splits) if site.splits else None for site in sites}


def _write_dataset(source: RawDataset, site: SiteDataset, folder: Path, raw: Path) -> bool:
    """One dataset, dataset.json last; whether a symbolic link was needed."""
    folder.mkdir()
    symbolic, rows = False, []
    for name, suffix, cases, labelled in (("training", "Tr", site.training, site.labelled), ("test", "Ts", site.test, True)):
        for case in cases:
            for row in _rows(source, case, name, suffix, labelled):
                rows.append(row)
                for given, made in (("input", "output"), ("label_input", "label_output")):
                    if row[made]:
                        symbolic |= link(Path(row[given]), folder / row[made], raw / site.folder_name / row[made])
    with (folder / "conversion.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LOG_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if site.splits:
        write_whole(folder / SPLITS_FILE, _json(site.splits))
    description = {key: value for key, value in source.description.items() if key != "dataset"}
    description |= {"name": site.folder_name[11:], "numTraining": len(site.training), "converted_by": "nnunet-da convert sites"}
    write_whole(folder / "dataset.json", _json(description))
    return symbolic


def _rows(source: RawDataset, case: CaseAtSite, split: str, suffix: str, labelled: bool) -> Iterator[dict[str, str]]:
    """A log row per channel, the label beside channel 0."""
    name, label = case.files.name, case.files.label
    for channel, image in enumerate(case.files.images):
        row = {"case": name, "split": split, "site": case.site, "patient": case.patient, "channel": str(channel), "input": str(image)}
        row |= {"output": f"images{suffix}/{name}_{channel:04d}{source.file_ending}", "label_input": "", "label_output": ""}
        if channel == 0 and labelled and label is not None:
            row |= {"label_input": str(label), "label_output": f"labels{suffix}/{name}{source.file_ending}"}
        yield row


def _put_in_place(names: Sequence[str], holder: Path, raw: Path) -> None:
    """Rename all datasets, or none."""
    done: list[str] = []
    try:
        for name in names:
            if (raw / name).exists():
                (raw / name).rename(holder / "old" / name)
            done.append(name)
            (holder / name).rename(raw / name)
    except OSError:
        for name in done:
            with suppress(OSError):
                (raw / name).rename(holder / name)
            with suppress(OSError):
                (holder / "old" / name).rename(raw / name)
        raise


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"
