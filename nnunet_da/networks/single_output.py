"""What nnU-Net asks of every decoder: a switch for deep supervision, which networks with one output cannot turn on."""

from torch import nn


class SingleOutputDecoder(nn.Module):
    """A decoder with one output, at full resolution."""

    @property
    def deep_supervision(self) -> bool:
        """Always False; nnU-Net's trainer and predictor set it.

        Raises:
            NotImplementedError: it is set to True.
        """
        return False

    @deep_supervision.setter
    def deep_supervision(self, enabled: bool) -> None:
        if enabled:
            raise NotImplementedError(
                f"{type(self).__name__} has no deep supervision, but it was asked for: use a trainer of nnunet_da, with deep_supervision"
                " false in the plans."
            )
