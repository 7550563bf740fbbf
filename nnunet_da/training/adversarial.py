"""Adversarial alignment: a domain classifier behind gradient reversal."""

import torch
from torch import Tensor, nn

from nnunet_da.adaptation import (
    DomainClassifier,
    RunningStandardisation,
    domain_accuracy,
    domain_loss,
    ganin_strength,
    gradient_reversal,
)
from nnunet_da.training.batch import DomainBatch
from nnunet_da.training.trainer import DomainAdaptationTrainer


class AdversarialAlignment(DomainAdaptationTrainer):
    """Adds the domain classifier and its loss `adv` (PF-DAformer Eq. 3 to 8 and 18) to a trainer."""

    observed = ("domain_accuracy", "grl_strength")

    def build_heads(self, num_features: int) -> dict[str, nn.Module]:
        heads: dict[str, nn.Module] = {"domain_classifier": DomainClassifier(num_features)}
        if self.settings.classifier_input == "standardised":
            heads["standardisation"] = RunningStandardisation(num_features)
        return heads

    def adversarial_loss(self, source: DomainBatch, target: DomainBatch) -> Tensor:
        """Loss of the domain guess; the classifier learns it, the encoder receives its reversed gradient."""
        strength = self.grl_strength()
        classifier = self.heads["domain_classifier"]
        seen_source, seen_target = self._classifier_input(source.pooled, target.pooled)
        logits_source = classifier(gradient_reversal(seen_source, strength))
        logits_target = classifier(gradient_reversal(seen_target, strength))
        self.observe("domain_accuracy", domain_accuracy(logits_source.detach(), logits_target.detach()))
        self.observe("grl_strength", strength)
        return domain_loss(logits_source, logits_target)

    def _classifier_input(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if "standardisation" not in self.heads or not (len(source) and len(target)):  # one domain alone has no loss, and is no mixture
            return source, target
        both = self.heads["standardisation"](torch.cat([source, target]))
        return both[: len(source)], both[len(source) :]

    def grl_strength(self) -> float:
        """Reversal strength of this step, from the global step: a resumed run continues the curve."""
        if self.settings.grl_schedule == "constant":
            return self.settings.grl_lambda_max
        return ganin_strength(self.progress, self.settings.grl_lambda_max)
