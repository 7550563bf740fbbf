"""What a reader has to know before the numbers of a comparison."""

from collections.abc import Iterator, Sequence

import pandas as pd

from nnunet_da.evaluation.paired import Method, Pairs, listed

FEW_CASES, FEW_SEEDS = 20, 5


def cautions(pairs: Pairs, table: pd.DataFrame, alpha: float) -> Iterator[str]:
    """Sentences about unpaired and few cases, and about seeds.

    Args:
        table: one row per test with the columns domain, n and p_wilcoxon.
        alpha: level of significance.
    """
    if pairs.left_out:
        total = len(pairs.left_out) + len(pairs.rows)
        yield f"not in every method and left out: {len(pairs.left_out)} of {total}: {listed(pairs.left_out)}"
    yield from _seeds(pairs.methods)
    yield from _few_cases(table, alpha)


def _few_cases(table: pd.DataFrame, alpha: float) -> Iterator[str]:
    family = int(table["family_wilcoxon"].iloc[0])
    cases = {str(domain): int(found["n"].min()) for domain, found in table.groupby("domain", sort=False)}
    few = [f"{domain} {n}" for domain, n in cases.items() if n < FEW_CASES]
    if few:
        yield f"few paired cases for some metric ({', '.join(few)}): their bootstrap intervals are narrower than they should be"
    hopeless = [f"{domain} {n}" for domain, n in cases.items() if family and 2 * 0.5**n * family >= alpha]  # all cases to one side
    if hopeless:
        yield (
            f"Wilcoxon's p, corrected for {family} tests, cannot fall below {alpha:g} whatever the data with so few cases "
            f"({', '.join(hopeless)}): more cases, or fewer --metrics, are needed"
        )


def _seeds(methods: Sequence[Method]) -> Iterator[str]:
    single = [method.name for method in methods if len(method.runs) == 1]
    if single:
        yield (
            f"one trained model each: {', '.join(single)}; the p values speak of these trained models on further cases, "
            "not of the methods: another seed may turn them round"
        )
    several = [method.name for method in methods if 1 < len(method.runs) < FEW_SEEDS]
    if several:
        yield f"fewer than {FEW_SEEDS} seeds: {', '.join(several)}; the interval over seeds and cases is too narrow"
