"""Radiomics in a report: what `nnunet-da radiomics` wrote anywhere below the study."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nnunet_da.errors import UserError
from nnunet_da.report.comparison import commands_of
from nnunet_da.report.files import read_json_if_there, read_table

AGREEMENT_FILE, ENDPOINTS_FILE, ENDPOINT_AGREEMENT_FILE = "agreement.csv", "endpoints.csv", "endpoint_agreement.csv"
MANIFEST_FILE = "radiomics.json"
AGREEMENT_NUMBERS = (
    "n", "n_undefined", "pearson_r", "pearson_low", "pearson_high", "icc_a1", "icc_low", "icc_high", "ccc", "bias", "loa_low", "loa_high",
    "bias_percent",
)  # fmt: skip
AGREEMENT_TEXT = ("domain", "label", "mask", "feature", "family", "constant", "note")
ENDPOINT_TEXT = ("domain", "label", "mask", "endpoint", "note")
ENDPOINT_NUMBERS = (*AGREEMENT_NUMBERS, "r2_correlation", "r2_p", "r2_identity")
VALUE_TEXT = ("case", "domain", "label", "mask", "endpoint", "unit")
PREDICTION, REFERENCE = "prediction", "reference"


@dataclass(frozen=True)
class RadiomicsRecord:
    """What `radiomics` found for one arm; a table is empty where its file is not there.

    Attributes:
        agreement: one row per domain, label, mask and feature.
        endpoints: one row per case, domain, label, mask and endpoint.
        endpoint_agreement: one row per domain, label, mask and endpoint.
    """

    agreement: pd.DataFrame
    endpoints: pd.DataFrame
    endpoint_agreement: pd.DataFrame
    warnings: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def read_radiomics(folder: Path) -> RadiomicsRecord | None:
    """Everything of `radiomics` below the folder of an arm, joined; None where there is nothing.

    Raises:
        UserError: a file is not what `radiomics` writes, or two of them speak of the same.
    """
    folders = sorted({file.parent for name in (AGREEMENT_FILE, ENDPOINT_AGREEMENT_FILE) for file in folder.rglob(name)})
    if not folders:
        return None
    manifests = [read_json_if_there(path / MANIFEST_FILE) for path in folders]
    return RadiomicsRecord(
        _joined(folders, AGREEMENT_FILE, AGREEMENT_TEXT, AGREEMENT_NUMBERS, ("domain", "label", "mask", "feature")),
        _joined(folders, ENDPOINTS_FILE, VALUE_TEXT, ("value",), ("case", "domain", "label", "mask", "endpoint")),
        _joined(folders, ENDPOINT_AGREEMENT_FILE, ENDPOINT_TEXT, ENDPOINT_NUMBERS, ("domain", "label", "mask", "endpoint")),
        list(dict.fromkeys(str(warning) for manifest in manifests for warning in manifest.get("warnings", []))),
        commands_of(manifests),
        {str(name): str(version) for manifest in manifests for name, version in manifest.get("versions", {}).items()},
    )


def null_masks(agreement: pd.DataFrame) -> list[str]:
    """The masks that are the reference itself, grown or shrunk."""
    return [mask for mask in dict.fromkeys(agreement["mask"]) if mask not in (PREDICTION, REFERENCE)]


def mask_title(mask: str) -> str:
    """A mask in words: reference_eroded_0.5mm is "eroded 0.5 mm"."""
    words = mask.removeprefix(f"{REFERENCE}_").split("_")
    return " ".join([*words[:-1], f"{words[-1].removesuffix('mm')} mm" if words[-1].endswith("mm") else words[-1]])


def _joined(folders: list[Path], name: str, text: tuple[str, ...], numbers: tuple[str, ...], place: tuple[str, ...]) -> pd.DataFrame:
    files = [path / name for path in folders if (path / name).is_file()]
    tables = [read_table(file, text, numbers, "nnunet-da radiomics") for file in files]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*text, *numbers])
    repeated = table[table.duplicated(list(place))]
    if len(repeated):
        row = repeated.iloc[0]
        raise UserError(
            f"one {name} per arm and domain was expected, got two of {row[place[-1]]} in {row['domain']}, one in {files[0].parent}: "
            "remove the one that is out of date."
        )
    return table
