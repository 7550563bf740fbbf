"""Numbers and names as a reader wants them."""

from collections.abc import Sequence


def number(value: float, whole: bool = False) -> str:
    """About three figures, no exponents."""
    size = abs(value)
    decimals = 0 if whole or size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 4
    return f"{value + 0.0:,.{decimals}f}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "−")


def short(dataset: str) -> str:
    """A dataset's name in words that can be broken into lines: "101 Tulane"."""
    return dataset[len("Dataset") :].replace("_", " ")


def count(amount: int, noun: str) -> str:
    """An amount with its noun: "1 pair", "2 pairs"."""
    return f"{amount} {noun}{'' if amount == 1 else 's'}"


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
