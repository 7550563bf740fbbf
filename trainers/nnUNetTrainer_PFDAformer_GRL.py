from nnunet_da.training import AdversarialAlignment, DomainBatch, PFDAformerTrainer


class nnUNetTrainer_PFDAformer_GRL(AdversarialAlignment, PFDAformerTrainer):
    """PF-DAformer with gradient reversal alone."""

    terms = ("adv",)

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {"adv": self.adversarial_loss(source, target)}
