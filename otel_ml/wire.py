"""What a run says, as attributes of the wire contract: pure functions, no span in sight."""

import numbers
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_ml import attributes as names
from otel_ml.errors import InvalidMetricError
from otel_ml.values import Encoded, clean, encode, preview

if TYPE_CHECKING:
    from otel_ml.judge import Evaluation

Value = str | bool | int | float
Attributes = Mapping[str, Value | list[str] | list[int] | list[float]]

_TAG_ATTRIBUTES: Final = 80  # beyond it tags go into one JSON attribute: a span holds 128
_STACKTRACE_CHARS: Final = 16_384
_MESSAGE_CHARS: Final = 1_024
_OWN_FOLDER: Final = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - compared with text
_INT64_MAX: Final = 2**63 - 1


class Point(NamedTuple):
    """One metric point; step -1 means that it has none."""

    name: str
    value: float
    step: int
    time_ns: int
    mode: str


def make_points(values: Mapping[str, object], step: int | None, mode: str) -> list[Point]:
    """Check metric values and turn them into points of this moment.

    Raises:
        InvalidMetricError: A value is no number; it names key and value.
    """
    now_ns = time.time_ns()
    at = -1 if step is None else _step(step)
    points = []
    for name, value in values.items():
        if isinstance(value, list | tuple):
            points += [Point(name, _number(name, item), at, now_ns, "append") for item in value]
        else:
            points.append(Point(name, _number(name, value), at, now_ns, mode))
    return points


def point_attributes(points: Sequence[Point]) -> Attributes:
    """Write points as the parallel lists of an `update` record."""
    return {
        names.METRIC_NAMES: [point.name for point in points],
        names.METRIC_VALUES: [point.value for point in points],
        names.METRIC_STEPS: [point.step for point in points],
        names.METRIC_TIMES: [point.time_ns for point in points],
        names.METRIC_MODES: [point.mode for point in points],
    }


def primitive(value: object) -> Value:
    """Coerce a tag's value to what OTLP keeps primitive: anything else becomes text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool | float):
        return value
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return primitive(value.item())  # type: ignore[attr-defined]  # a numpy scalar has it
    if isinstance(value, int):
        return value if -_INT64_MAX - 1 <= value <= _INT64_MAX else str(value)
    if isinstance(value, numbers.Real):
        return float(value)
    try:
        return clean(str(value))
    except Exception:  # noqa: BLE001 - the border to the host's values
        return f"{type(value).__module__}.{type(value).__qualname__}"


def tag_attributes(tags: Mapping[str, Value]) -> dict[str, Value]:
    """Write tags, one attribute each, those beyond the budget together as JSON."""
    pairs = list(tags.items())
    attributes = {names.TAG_PREFIX + name: value for name, value in pairs[:_TAG_ATTRIBUTES]}
    if len(pairs) > _TAG_ATTRIBUTES:
        rest = {name: {"value": value} for name, value in pairs[_TAG_ATTRIBUTES:]}
        attributes[names.TAGS] = encode(rest).text
    return attributes


def payload_attributes(key: str, value: object, encoded: Encoded) -> dict[str, Value]:
    """Write a payload under `key`, with a preview beside it when it is long."""
    attributes: dict[str, Value] = {key: encoded.text}
    short = preview(value, encoded.text)
    if short is not None:
        attributes[f"{key}.preview"] = short
    return attributes


def score_attributes(
    evaluations: "Sequence[Evaluation]", definitions: Mapping[str, str]
) -> dict[str, Value]:
    """Write the scores that were known when the run was handed over.

    Args:
        evaluations: One a judge.
        definitions: Definition JSON of the judges whose version is to be told now.
    """
    attributes: dict[str, Value] = {}
    details: dict[str, dict[str, object]] = {}
    for evaluation in evaluations:
        if evaluation.score is not None:
            attributes[names.SCORE_PREFIX + evaluation.judge] = evaluation.score
        if evaluation.passed is not None:
            attributes[names.PASSED_PREFIX + evaluation.judge] = evaluation.passed
        found = {
            "version": evaluation.version,
            "label": evaluation.label,
            "explanation": evaluation.explanation,
            "error": evaluation.error,
            "latency_ms": evaluation.latency_ms,
            "definition": definitions.get(evaluation.judge),
        }
        details[evaluation.judge] = {key: item for key, item in found.items() if item is not None}
    if details:
        attributes[names.JUDGES] = encode(details).text
    return attributes


def evaluation_attributes(
    evaluation: "Evaluation", start_ns: int, definition: str | None
) -> dict[str, Value]:
    """Write one score as a record of its own, about a run that began at `start_ns`."""
    found: dict[str, Value | None] = {
        names.JUDGE_NAME: evaluation.judge,
        names.JUDGE_VERSION: evaluation.version,
        names.SOURCE: "judge",
        names.TARGET_START_NS: start_ns,
        names.SCORE_VALUE: evaluation.score,
        names.PASSED: evaluation.passed,
        names.SCORE_LABEL: evaluation.label,
        names.EXPLANATION: evaluation.explanation,
        names.ERROR_TYPE: evaluation.error,
        names.MODEL_DEFINITION: definition,
    }
    return {
        key: clean(item) if isinstance(item, str) else item
        for key, item in found.items()
        if item is not None
    }


def outcome_of(error: BaseException) -> str:
    """Tell a failure from a call that was stopped from outside."""
    if isinstance(error, GeneratorExit):
        return "abandoned"
    stopped: tuple[type[BaseException], ...] = (KeyboardInterrupt, SystemExit)
    asyncio = sys.modules.get("asyncio")  # not loaded: then nothing of it was raised
    if asyncio is not None:
        stopped += (asyncio.CancelledError,)
    return "cancelled" if isinstance(error, stopped) else "error"


def error_name(error: BaseException) -> str:
    """Name an exception as ``error.type`` wants it: qualified, builtins without a module."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def error_message(error: BaseException) -> str:
    """Return the exception's text, cut, even when its ``__str__`` raises."""
    try:
        return clean(str(error)[:_MESSAGE_CHARS])
    except Exception:  # noqa: BLE001 - the host's own exception class
        return ""


def exception_attributes(error: BaseException) -> dict[str, Value]:
    """Write an exception as the standard's `exception` event."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        trace = trace.tb_next  # the stack begins with the host's frame, not with ours
    try:
        lines = traceback.format_exception(type(error), error, trace)
        stack = "".join(lines)[-_STACKTRACE_CHARS:]
    except Exception:  # noqa: BLE001 - the host's own exception class
        stack = ""
    return {
        "exception.type": error_name(error),
        "exception.message": error_message(error),
        "exception.stacktrace": clean(stack),
    }


def _step(step: object) -> int:
    if isinstance(step, numbers.Integral) or (isinstance(step, float) and step.is_integer()):
        whole = int(step)
    else:
        raise InvalidMetricError(f"Invalid step {step!r}: expected a whole number")
    if not -_INT64_MAX - 1 <= whole <= _INT64_MAX:
        raise InvalidMetricError(f"Invalid step {step!r}: expected a number of 64 bits")
    return whole


def _number(name: str, value: object) -> float:
    found = value
    try:
        if not isinstance(value, str | bool) and hasattr(value, "item"):
            found = value.item()  # a numpy scalar or a one-element tensor
        if not isinstance(found, bool) and isinstance(found, numbers.Real):
            return float(found)
    except (ValueError, TypeError, OverflowError, RuntimeError):  # an array, or beyond a float
        pass
    raise InvalidMetricError(
        f"Invalid value {value!r} of metric {name!r}: expected a number or a list of numbers"
    )
