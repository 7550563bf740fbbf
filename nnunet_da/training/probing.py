"""Collect the very tensors that enter the alignment terms, for a domain probe."""

from typing import Any

import numpy as np
import torch

from nnunet_da.evaluation.probe import ProbeResult, domain_probe
from nnunet_da.training.batch import DomainBatch
from nnunet_da.training.trainer import DomainAdaptationTrainer


def probe_alignment(trainer: DomainAdaptationTrainer, batches: int, permutations: int = 200) -> ProbeResult:
    """Probe pooled features of training batches for their domain, the network as it is (untrained or loaded).

    Args:
        trainer: initialised, with alignment terms.
        batches: how many training batches to draw.
        permutations: of the null.

    Raises:
        ValueError: fewer cases in a domain than the probe has folds.
    """
    seen: dict[str, list[tuple[str, Any]]] = {"source": [], "target": []}
    loader, _ = trainer.get_dataloaders()
    trainer.network.eval()
    with torch.no_grad():
        for _ in range(batches):
            source, target = _pooled(trainer, next(loader))
            seen["source"] += zip(source.cases, source.pooled.cpu().numpy(), strict=True)
            seen["target"] += zip(target.cases, target.pooled.cpu().numpy(), strict=True)
    (cases_source, features_source), (cases_target, features_target) = (zip(*rows, strict=True) for rows in seen.values())
    return domain_probe(
        np.stack(features_source), np.stack(features_target), list(cases_source), list(cases_target), permutations=permutations
    )


def _pooled(trainer: DomainAdaptationTrainer, batch: dict[str, Any]) -> tuple[DomainBatch, DomainBatch]:
    _, features, output = trainer.alignment.forward(trainer.network, trainer._images(batch), len(batch["data"]))
    return trainer.domain_batches(features.float(), batch, output)
