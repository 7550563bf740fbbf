from nnunet_da.training import AdversarialAlignment, DomainBatch, PFDAformerTrainer, mmd


class nnUNetTrainer_PFDAformer(AdversarialAlignment, PFDAformerTrainer):
    """PF-DAformer: gradient reversal and MMD on the pooled tokens of TransUNet3D."""

    terms = ("adv", "mmd")

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {
            "adv": self.adversarial_loss(source, target),
            "mmd": mmd(source.pooled, target.pooled, bandwidths=self.settings.mmd_bandwidths),
        }
