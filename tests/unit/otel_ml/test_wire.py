"""Conversion of runs, errors, scores and points to attributes."""

import asyncio
import json

import pytest

from otel_ml.judges.judge import Judgement
from otel_ml.metrics import make_points, point_attributes
from otel_ml.redaction import Redaction
from otel_ml.wire import (
    error_message,
    error_name,
    evaluation_attributes,
    exception_attributes,
    judge_attributes,
    outcome_of,
    score_attributes,
)


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("hostile")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), "error"),
        (asyncio.TimeoutError(), "error"),
        (BaseException(), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(1), "cancelled"),
        (GeneratorExit(), "abandoned"),
    ],
)
def test_outcome_tells_failure_from_stop(error: BaseException, expected: str) -> None:
    """A failure, a cancellation and an abandoned stream have different outcomes."""
    assert outcome_of(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), "ValueError"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (HostileError(), "tests.unit.otel_ml.test_wire.HostileError"),
    ],
)
def test_error_is_named(error: BaseException, expected: str) -> None:
    """An error's name includes its module, except for builtin errors."""
    assert error_name(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("wrong"), "wrong"),
        (ValueError(), ""),
        (ValueError("x" * 2_000), "x" * 1_024),
        (HostileError(), ""),
    ],
)
def test_error_message_is_bounded(error: BaseException, expected: str) -> None:
    """An error's message is cut to 1,024 characters, and empty if it cannot be read."""
    assert error_message(error, Redaction()) == expected


def test_exception_has_the_standard_s_attributes() -> None:
    """An exception event has type, message and a stack trace that ends with both."""
    with pytest.raises(ValueError, match="wrong") as caught:
        int("wrong")
    found = exception_attributes(caught.value, Redaction())
    stack = str(found.pop("exception.stacktrace"))
    message = "invalid literal for int() with base 10: 'wrong'"
    assert found == {"exception.type": "ValueError", "exception.message": message}
    assert stack.startswith("Traceback (most recent call last):\n")
    assert stack.endswith(f"ValueError: {message}\n")


def test_hostile_exception_has_its_type() -> None:
    """An exception whose message cannot be read still has its type."""
    found = exception_attributes(HostileError(), Redaction())
    assert found["exception.type"] == "tests.unit.otel_ml.test_wire.HostileError"
    assert found["exception.message"] == ""


def test_points_are_parallel_lists() -> None:
    """Metric points are written as lists of equal length, one entry per point."""
    points = make_points({"loss": [1, 2], "accuracy": 0.5}, 3, "auto")
    found = dict(point_attributes(points))
    times = found.pop("otel_ml.metric.times")
    assert isinstance(times, tuple)
    assert len(times) == 3
    assert found == {
        "otel_ml.metric.names": ("loss", "loss", "accuracy"),
        "otel_ml.metric.values": (1.0, 2.0, 0.5),
        "otel_ml.metric.steps": (3, 3, 3),
        "otel_ml.metric.modes": ("append", "append", "auto"),
    }


def test_scores_are_attributes() -> None:
    """Scores and passes are single attributes, and other details are one JSON attribute."""
    evaluations = [
        Judgement("grounded", "a1", 0.5, True, "fine", "because", None, 1.5, cost=0.25),
        Judgement("polite", "b2", error="ValueError: wrong"),
    ]
    assert score_attributes(evaluations) == {
        "otel_ml.score.grounded": 0.5,
        "otel_ml.passed.grounded": True,
        "otel_ml.judges": (
            '{"grounded":{"version":"a1","label":"fine","explanation":"because",'
            '"latency_ms":1.5,"cost":0.25},'
            '"polite":{"version":"b2","error":"ValueError: wrong"}}'
        ),
    }
    assert score_attributes([]) == {}


def test_score_is_a_record() -> None:
    """A score record has judge, version, value, source and the start of its run."""
    evaluation = Judgement("grounded", "a1", 0.5, False, "weak", "because", None, 1.5, cost=0.25)
    assert evaluation_attributes(evaluation, 7) == {
        "otel_ml.judge.name": "grounded",
        "otel_ml.judge.version": "a1",
        "otel_ml.source": "judge",
        "otel_ml.target.start_ns": 7,
        "otel_ml.score.value": 0.5,
        "otel_ml.passed": False,
        "otel_ml.score.label": "weak",
        "otel_ml.explanation": "because",
        "otel_ml.latency_ms": 1.5,
        "otel_ml.judge.cost": 0.25,
    }


def test_judge_is_a_record() -> None:
    """A judge version is sent as an update whose target kind is judge."""
    assert judge_attributes("grounded", "a1", "{}") == {
        "otel_ml.target.model": "grounded",
        "otel_ml.target.version": "a1",
        "otel_ml.target.kind": "judge",
        "otel_ml.model.definition": "{}",
    }


def test_error_of_a_record_is_that_of_the_run() -> None:
    """A judge's error has the same text in a score record and on the run, so both can merge."""
    evaluation = Judgement("grounded", "a1", error="ValueError: wrong")
    on_run = json.loads(str(score_attributes([evaluation])["otel_ml.judges"]))
    assert evaluation_attributes(evaluation, 7)["error.type"] == "ValueError: wrong"
    assert on_run["grounded"]["error"] == "ValueError: wrong"


def test_explanation_that_is_no_text_is_written() -> None:
    """Lone surrogates in a judge's explanation are replaced, because the wire cannot carry them."""
    evaluation = Judgement("grounded", "a1", 0.5, explanation="a\ud800b")
    on_run = json.loads(str(score_attributes([evaluation])["otel_ml.judges"]))
    assert on_run["grounded"]["explanation"] == "a?b"
    assert evaluation_attributes(evaluation, 7)["otel_ml.explanation"] == "a?b"
