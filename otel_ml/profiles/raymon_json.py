"""Reads the JSON files of raymon profiles, up to raymon 0.0.40.

Class names in a file are looked up in a fixed table, so a file cannot choose which code runs. A
raymon file stores only percentiles of numbers, so the distribution is interpolated between them. If
a component's extractor read one element, the file says which. Components with other extractors can
be compared, but cannot validate data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from otel_ml.profiles.components import DTYPES, SIDES, Component, component_of
from otel_ml.profiles.scores import SCORE_KINDS, ProfileScore, score_of
from otel_ml.statistics.fields import FieldSketch, field_of_sketch
from otel_ml.statistics.sketches import sketch_values

_SIDES: Final = {
    "InputComponent": "input",
    "OutputComponent": "output",
    "ActualComponent": "actual",
    "EvalComponent": "eval",
}
_PERCENTILES: Final = 101
_MOST_VALUES: Final = 20_000
_UNDECIDED: Final = -1

Read = tuple[str, str, list[Component], list[ProfileScore]]


def is_of_raymon(document: object) -> bool:
    """Return whether a dictionary is a raymon profile.

    raymon stores components as a dictionary, otel-ml as a list.
    """
    return isinstance(document, Mapping) and isinstance(document.get("components"), Mapping)


def read_raymon(
    document: Mapping[str, Any], extractors: Mapping[str, Callable[..., object]]
) -> Read:
    """Return name, version, components and scores from the JSON of a raymon profile.

    Raises:
        ValueError: The dictionary is not a raymon profile.
    """
    try:
        components = [
            _read_component(component["class"], component["state"], extractors)
            for component in document["components"].values()
        ]
        scores = [
            _read_score(score["class"], score["state"])
            for score in (document.get("scores") or {}).values()
        ]
        return str(document["name"]), str(document["version"]), components, scores
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError("Invalid raymon profile: expected a file that raymon has saved") from error


def _last(path: object) -> str:
    return str(path).rpartition(".")[2]


def _read_component(
    path: object, state: Mapping[str, Any], extractors: Mapping[str, Callable[..., object]]
) -> Component:
    side = _SIDES.get(_last(path), "")
    if side not in SIDES or state["dtype"] not in DTYPES:
        raise ValueError(
            f"Invalid component {_last(path)!r} of dtype {state['dtype']!r}: expected one of "
            f"{sorted(_SIDES)}, of dtype {sorted(DTYPES)}"
        )
    facts: dict[str, Any] = {"name": state["name"], "side": side, "dtype": state["dtype"]}
    extractor = state.get("extractor") or {}
    element = (extractor.get("state") or {}).get("element")
    if (
        _last(extractor.get("class")) == "ElementExtractor"
        and element is not None
        and side != "eval"
    ):
        facts["field"] = f"{side}s.{element}"
    else:
        facts["extractor"] = _last(extractor.get("class")) or "unknown"
    component = component_of(facts, extractors)
    stats = (state.get("stats") or {}).get("state") or {}
    sketch = sketch_of_stats(state["dtype"], stats)
    if sketch is not None:
        component.sketch = sketch
        component.invalid = sketch.missing
        if component.kind == "number":  # interpolated values do not include minimum and maximum
            component.low, component.high = float(stats["min"]), float(stats["max"])
    return component


def sketch_of_stats(dtype: str, stats: Mapping[str, Any]) -> FieldSketch | None:
    """Convert raymon's statistics of a field to a sketch, that is a summary of its distribution.

    Args:
        dtype: ``INT``, ``FLOAT`` or ``CAT``.
        stats: Statistics with ``percentiles`` or ``frequencies``, ``samplesize`` and ``invalids``.
            Invalid values count as missing.

    Returns:
        The sketch. None if raymon has not computed the statistics.
    """
    size, invalids = stats.get("samplesize"), stats.get("invalids")
    if not size or invalids is None:
        return None
    missing = round(float(invalids) * size)
    n = max(int(size) - missing, 0)
    if dtype == "CAT":
        frequencies = stats.get("frequencies")
        if frequencies is None:
            return None
        counts = _round_to(n, {str(key): float(share) for key, share in frequencies.items()})
        values = [value for value, count in counts.items() for _ in range(count)]
        return field_of_sketch(sketch_values([*values, *[None] * missing], kind="category"))
    percentiles = stats.get("percentiles")
    if percentiles is None or len(percentiles) != _PERCENTILES:
        return None
    kept = min(n, _MOST_VALUES)
    # A larger sample is scaled down with an equal share of missing values.
    absent = round(missing * kept / n) if n else missing
    numbers = [*_spread(percentiles, kept), *[None] * absent]
    return field_of_sketch(sketch_values(numbers, kind="number"))


def _spread(percentiles: Sequence[float], count: int) -> list[float]:
    values = []
    for place in range(count):
        at = (place + 0.5) / count * (_PERCENTILES - 1)
        low = min(int(at), _PERCENTILES - 2)
        first, second = float(percentiles[low]), float(percentiles[low + 1])
        values.append(first + (second - first) * (at - low))
    return values


def _round_to(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Convert shares to counts that add up to `total`. The largest remainders are rounded up."""
    exact = {value: share * total for value, share in shares.items() if share > 0}
    counts = {value: int(number) for value, number in exact.items()}
    left = max(total - sum(counts.values()), 0)
    for value in sorted(exact, key=lambda entry: counts[entry] - exact[entry])[:left]:
        counts[value] += 1
    return counts


def _read_score(path: object, state: Mapping[str, Any]) -> ProfileScore:
    kind = _last(path)
    if kind not in SCORE_KINDS:
        raise ValueError(f"Invalid score {kind!r}: expected one of {sorted(SCORE_KINDS)}")
    if len(state["inputs"]) == 1:  # raymon's class scores also take one error-type component
        kind = kind.removeprefix("Class")
    facts = {**state, "kind": kind}
    result = facts.pop("result", None)
    score = score_of(facts)
    if isinstance(result, int | float) and result != _UNDECIDED:
        # raymon does not store the number of values. With 0 only the threshold is applied.
        score.keep(float(result), 0)
    return score
