from nnunet_da.training import DomainBatch, PFDAformerTrainer, mmd


class nnUNetTrainer_PFDAformer_MMD(PFDAformerTrainer):
    """PF-DAformer with MMD alone."""

    terms = ("mmd",)

    def adaptation_losses(self, source: DomainBatch, target: DomainBatch):
        return {"mmd": mmd(source.pooled, target.pooled, bandwidths=self.settings.mmd_bandwidths)}
