"""How far judges and people agree beyond chance: Cohen's kappa, Krippendorff's alpha."""

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import product
from typing import Final, Literal, TypeVar

Label = TypeVar("Label", bound=Hashable)
Level = Literal["nominal", "ordinal", "interval"]
_LEVELS: Final = ("nominal", "ordinal", "interval")


def cohen_kappa(counts: Mapping[tuple[Label, Label], int]) -> float:
    """Return by how much two sides agree beyond chance, from their confusion table.

    Args:
        counts: How many runs got which label of the first and of the second side.

    Returns:
        From -1 to 1; nan where there is no run, or all have the same label on both sides.

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological
    Measurement 20 (1960).
    """
    n = sum(counts.values())
    if not n:
        return math.nan
    first, second = Counter[Label](), Counter[Label]()
    for (one, other), count in counts.items():
        first[one] += count
        second[other] += count
    by_chance = sum(first[label] * second[label] for label in first)
    same = sum(count for (one, other), count in counts.items() if one == other)
    return math.nan if by_chance == n * n else (same * n - by_chance) / (n * n - by_chance)


def krippendorff_alpha(units: Sequence[Sequence[Hashable]], level: Level = "nominal") -> float:
    """Return by how much several sides agree beyond chance; of each run some may have said nothing.

    Args:
        units: Of each run what was said of it, in any order; runs of which fewer than two spoke do
            not count.
        level: What the answers are: `nominal` labels, `ordinal` ranks (numbers in their order) or
            `interval` numbers.

    Returns:
        Up to 1; nan where nothing can be compared, or all said the same.

    Raises:
        ValueError: The level is another one.

    Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011); Content analysis
    (2004), chapter 11.
    """
    if level not in _LEVELS:
        raise ValueError(f"Invalid level {level!r}: expected one of {', '.join(_LEVELS)}")
    weights: dict[tuple[Hashable, Hashable], list[float]] = {}
    for unit in units:
        said, m = Counter(unit), len(unit)
        if m <= 1:
            continue
        for (one, count), (other, counted) in product(said.items(), repeat=2):
            share = count * (counted - (one == other)) / (m - 1)
            weights.setdefault((one, other), []).append(share)
    together = {pair: math.fsum(of) for pair, of in weights.items()}
    totals: dict[Hashable, float] = {}
    for (one, _), weight in together.items():
        totals[one] = totals.get(one, 0.0) + weight
    n = math.fsum(totals.values())
    apart = _distance(level, totals)
    seen = math.fsum(weight * apart(*pair) for pair, weight in together.items())
    chance = math.fsum(
        totals[one] * totals[other] * apart(one, other) for one, other in product(totals, repeat=2)
    )
    return math.nan if not chance else 1 - (n - 1) * seen / chance


def _distance(
    level: Level, totals: Mapping[Hashable, float]
) -> Callable[[Hashable, Hashable], float]:
    """Return how far apart two answers are, squared."""
    if level == "nominal":
        return lambda one, other: float(one != other)
    places: dict[Hashable, float] = {value: float(value) for value in totals}  # type: ignore[arg-type]  # numbers
    if level == "ordinal":
        # The answers up to the middle of a rank.
        below = 0.0
        for value in sorted(places, key=places.__getitem__):
            places[value] = below + totals[value] / 2
            below += totals[value]
    return lambda one, other: (places[one] - places[other]) ** 2
