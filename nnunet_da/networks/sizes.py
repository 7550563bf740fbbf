"""Which sizes of input a network can take."""

from collections.abc import Sequence


def check_multiple(size: Sequence[int], unit: int, network: str) -> None:
    """Refuse an input whose axes are no multiples of a network's coarsest cell.

    Args:
        size: (Z, Y, X).
        unit: voxels per coarsest cell and axis.
        network: its name, for the message.

    Raises:
        ValueError: as above, with the next size that fits.
    """
    if len(size) != 3:
        raise ValueError(f"{network} takes 3D images (Z, Y, X), got an input of {tuple(size)}: plan 3d_fullres.")
    for axis, n in zip("ZYX", size, strict=True):
        if n % unit or n < unit:
            fitting = max(-(-n // unit), 1) * unit
            raise ValueError(
                f"{network} takes images whose axes are multiples of {unit}, got {tuple(size)} with {n} along {axis};"
                f" the next that fits is {fitting}."
            )
