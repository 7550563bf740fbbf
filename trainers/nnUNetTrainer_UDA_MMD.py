from nnunet_da.training import DomainAdaptationTrainer, DomainBatch, mmd


class nnUNetTrainer_UDA_MMD(DomainAdaptationTrainer):
    """MMD on bottleneck features, for any plans network."""

    terms = ("mmd",)

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {"mmd": mmd(source.pooled, target.pooled, bandwidths=self.settings.mmd_bandwidths)}
