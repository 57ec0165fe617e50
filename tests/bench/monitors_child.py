"""Let one of the three judge all draws of all streams, in its environment; print JSON.

Each is used as its guide shows first, with defaults: Evidently with its drift preset and its test
of missing values, NannyML with its calculators of univariate drift and of missing values, with
chunks of a window's size.
"""

import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from tests.bench.monitors_cases import DRAWS, STREAMS, Stream, Values

# The result for a draw: whether anything is wrong, and the finding or the error.
Said = tuple[bool, str]
_ERROR_CHARS: Final = 160


def ask_ours(stream: Stream, windows: list[Values], judged: Values) -> Said:
    """Use the statistics of otel-ml as the collector does."""
    from otel_ml.statistics.field_drift import Reference, compare_fields
    from otel_ml.statistics.fields import FieldSketch, merge_fields, sketch_field

    def sketch(values: Values) -> FieldSketch:
        rows = [
            (value, place // stream.session)
            for place, value in enumerate(values)
            if not _is_nan(value)
        ]
        return sketch_field(*zip(*rows, strict=True), runs=len(values))

    parts = [sketch(values) for values in windows]
    reference = Reference(
        "before", {"value": merge_fields(parts)}, [{"value": part} for part in parts]
    )
    (drift,) = compare_fields({"value": sketch(judged)}, reference)
    words = ["drift" if part.name == "value" else part.name for part in drift.drifted]
    return bool(words), " and ".join(words)


def ask_evidently(stream: Stream, windows: list[Values], judged: Values) -> Said:
    """Use Evidently's metrics with the tests that it generates from the reference."""
    import pandas as pd  # type: ignore[import-untyped]  # has no types
    from evidently import Report
    from evidently.metrics import MissingValueCount, ValueDrift

    reference = pd.DataFrame({"value": [value for values in windows for value in values]})
    current = pd.DataFrame({"value": judged})
    report = Report(
        [ValueDrift(column="value"), MissingValueCount(column="value")], include_tests=True
    )
    told = report.run(current, reference).dict()
    failed = dict.fromkeys(
        "drift" if "Drift" in json.dumps(test["metric_config"]) else "missing"
        for test in told["tests"]
        if _word(test["status"]) == "FAIL"
    )
    return bool(failed), " and ".join(failed)


def ask_nannyml(stream: Stream, windows: list[Values], judged: Values) -> Said:
    """Use NannyML's calculators."""
    import nannyml
    import pandas as pd

    reference = pd.DataFrame({"value": [value for values in windows for value in values]})
    current = pd.DataFrame({"value": judged})
    options: dict[str, Any] = {"column_names": ["value"], "chunk_size": stream.n}
    categories = {"treat_as_categorical": ["value"]} if stream.is_category else {}
    words = []
    for name, calculator in (
        ("drift", nannyml.UnivariateDriftCalculator(**options, **categories)),
        ("missing", nannyml.MissingValuesCalculator(**options)),
    ):
        calculator.fit(reference)
        result = calculator.calculate(current).filter(period="analysis").to_df()
        alerts = [column for column in result.columns if column[-1] == "alert"]
        if result[alerts].to_numpy().any():
            words.append(name)
    return bool(words), " and ".join(words)


ASKED: Final[Mapping[str, Callable[[Stream, list[Values], Values], Said]]] = {
    "otel-ml": ask_ours,
    "evidently": ask_evidently,
    "nannyml": ask_nannyml,
}


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _word(status: object) -> str:
    return str(getattr(status, "value", status)).rpartition(".")[2].upper()


def judge_all(name: str) -> dict[str, Any]:
    """Judge each draw of each stream; return how many have findings, and which findings."""
    said: dict[str, Any] = {}
    for title, stream in STREAMS.items():
        count, words, errors = 0, set(), set()
        for draw in range(DRAWS):
            try:
                is_wrong, word = ASKED[name](stream, *stream.make(draw))
            except Exception as error:  # noqa: BLE001 - the error is its result
                errors.add(f"{type(error).__name__}: {error}"[:_ERROR_CHARS])
                continue
            count += is_wrong
            words |= {word} if word else set()
        said[title] = {"said": count, "words": sorted(words), "errors": sorted(errors)}
    return said


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    chosen = sys.argv[1]
    print(json.dumps({"version": version(chosen), "said": judge_all(chosen)}))
