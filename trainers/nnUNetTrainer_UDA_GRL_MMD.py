from nnunet_da.training import AdversarialAlignment, DomainBatch, mmd


class nnUNetTrainer_UDA_GRL_MMD(AdversarialAlignment):
    """Gradient reversal and MMD on bottleneck features, for any plans network."""

    terms = ("adv", "mmd")

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {
            "adv": self.adversarial_loss(source, target),
            "mmd": mmd(source.pooled, target.pooled, bandwidths=self.settings.mmd_bandwidths),
        }
