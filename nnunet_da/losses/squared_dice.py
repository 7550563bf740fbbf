"""V-Net's Dice loss, whose denominator is squared."""

from torch import Tensor, nn

from nnunet_da.losses.inputs import foreground_and_truth, prepare


class SquaredDiceLoss(nn.Module):
    """1 - 2 sum(p g) / (sum p^2 + sum g^2 + smooth), per sample and foreground class, then the mean; loss(logits, labels).

    Milletari et al., V-Net, 2016, arXiv:1606.04797, Eq. 3; the Dice term of V-Net femur (arXiv:2006.05513). The sums run in float32 at
    least, also under autocast. A sample without foreground gives 1 whatever is predicted, and teaches nothing.

    Args:
        smooth: added to the denominator alone, > 0.
        ignore_label: voxels of this label are left out.

    Raises:
        ValueError: smooth is 0 or below.
    """

    def __init__(self, smooth: float = 1e-5, ignore_label: int | None = None) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f"smooth must be above 0, got {smooth}.")
        self.smooth, self.ignore_label = smooth, ignore_label

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of logits (B, K, Z, Y, X), K >= 2, and integer labels (B, 1, Z, Y, X)."""
        foreground, truth = foreground_and_truth(*prepare(logits, labels, self.ignore_label))
        intersection = (foreground * truth).flatten(2).sum(dim=2)
        total = foreground.square().flatten(2).sum(dim=2) + truth.flatten(2).sum(dim=2)
        return 1 - (2 * intersection / (total + self.smooth)).mean()
