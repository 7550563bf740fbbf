"""The page that travels with a model: what it is, and which lines predict with it."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from nnunet_da import __version__
from nnunet_da.export.network import Needs

README = "README.md"


@dataclass(frozen=True)
class ModelCard:
    """What the page says.

    Attributes:
        trained_by: the trainer that trained.
        trainer: the trainer that prediction looks up.
        needs: whose code must be installed for it beside nnU-Net's.
        preset: the recipe of this package the plans came from, "" for none.
        checkpoint: which of the run's checkpoints this is.
        plugin: version of this package that trained, "" for none.
        configuration: name of the configuration.
        folds: the folds in the model.
        plans: cleaned plans.
        description: cleaned dataset.json.
    """

    trained_by: str
    trainer: str
    needs: Needs
    preset: str
    checkpoint: str
    plugin: str
    configuration: str
    folds: tuple[str, ...]
    plans: dict[str, Any]
    description: dict[str, Any]

    @property
    def folder_name(self) -> str:
        """`TRAINER__PLANS__CONFIGURATION`, as stock prediction puts it together."""
        return f"{self.trainer}__{self.plans['plans_name']}__{self.configuration}"


def readme(card: ModelCard, epochs: set[int]) -> str:
    """The page as Markdown.

    Args:
        card: what the model is.
        epochs: how long its folds were trained.
    """
    rows = "\n".join(f"| {name} | {value} |" for name, value in _rows(card, epochs).items())
    return f"""# {card.folder_name}

A segmentation model for nnU-Net v2. {_needs(card)}

## Predict

```bash
{_commands(card)}
```

SCANS is a folder of `CASE_0000{card.description["file_ending"]}`, with `_0001`, ... for further channels. Instead of installing the zip,
the folder `{card.plans["dataset_name"]}` can be copied into the folder that `nnUNet_results` names.

## What it is

| | |
|---|---|
{rows}

Held: the weights, the plans and the labels. Left out: cases, paths, times, other datasets' names, optimiser, logs.

Licence: none is given here. Whoever passes this model on states the terms, and checks what the training data allow.
"""


def _needs(card: ModelCard) -> str:
    if card.needs == "stock":
        return "Stock nnU-Net predicts with it; nothing else needs to be installed."
    if card.needs == "ours":
        return "Its network is part of the package `nnunet_da`, which must be installed beside nnU-Net."
    network = _configuration(card)["architecture"]["network_class_name"]
    return (
        f"It needs the trainer `{card.trainer}` and the network `{network}`; what of them nnU-Net does not have, get from whoever made it."
    )


def _commands(card: ModelCard) -> str:
    model = f"-d {card.plans['dataset_name']} -tr {card.trainer} -p {card.plans['plans_name']} -c {card.configuration}"
    cascade = " -prev_stage_predictions FOLDER" if _configuration(card).get("previous_stage") else ""
    wheel = f"nnunet_da-{card.plugin or __version__}-py3-none-any.whl"
    prepare = {
        "stock": [f"pip install nnunetv2=={version('nnunetv2')}"],
        "ours": [
            f"pip install {wheel}    # or: pip install . in a checkout of that version",
            'export nnUNet_extTrainer="$(nnunet-da trainer-path)"',
        ],
        "foreign": [f"export nnUNet_extTrainer=...    # the folder of {card.trainer}.py"],
    }[card.needs]
    install = ["export nnUNet_results=...    # a folder for models", "nnUNetv2_install_pretrained_model_from_zip MODEL.zip"]
    predict = f"nnUNetv2_predict {model} -f {' '.join(card.folds)}{cascade} -i SCANS -o PREDICTIONS"
    return "\n".join([*prepare, *install, predict])


def _rows(card: ModelCard, epochs: set[int]) -> dict[str, str]:
    planned, labels = _configuration(card), card.description["labels"]
    channels = card.description.get("channel_names") or card.description.get("modality", {})
    rows = {
        "trained by": card.trained_by,
        "preset": card.preset,
        "network": planned["architecture"]["network_class_name"].rpartition(".")[2],
        "channels": ", ".join(str(name) for name in channels.values()),
        "labels": ", ".join(f"{name} = {value}" for name, value in labels.items()),
        "patch, spacing (voxels, mm; plans' axes)": f"{_by(planned['patch_size'])}, {_by(planned['spacing'])}",
        "labelled source cases": str(card.description.get("numTraining", "")),
        "folds": ", ".join(card.folds),
        "checkpoint": f"{card.checkpoint}, after {' or '.join(str(number) for number in sorted(epochs))} epochs"
        if epochs
        else card.checkpoint,
        "trained with nnunet_da": card.plugin,
        "exported with": f"nnunet_da {__version__}, nnunetv2 {version('nnunetv2')}, torch {version('torch')}",
    }
    return {name: value for name, value in rows.items() if value}


def _configuration(card: ModelCard) -> dict[str, Any]:
    return card.plans["configurations"][card.configuration]


def _by(numbers: list[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
