from nnunet_da.training import AdversarialAlignment, DomainBatch


class nnUNetTrainer_UDA_GRL(AdversarialAlignment):
    """Gradient reversal on bottleneck features, for any plans network."""

    terms = ("adv",)

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {"adv": self.adversarial_loss(source, target)}
