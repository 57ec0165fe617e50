"""Tests of the metrics of missing and late spans."""

from otel_ml_collector.telemetry.service import LossNumbers, Missed
from tests.support.otel_ml_collector.telemetry.page import read_collector


def test_loss() -> None:
    """The metrics show the latest numbers per project."""
    numbers = LossNumbers()
    numbers.set_missing({"p": Missed(5, 1), "gone": Missed(1, 0)})
    numbers.set_missing({"p": Missed(7, 2), "q": Missed(0, 0)})
    assert read_collector(numbers) == {
        ("otel_ml_spans_missing", ("p",)): 7,
        ("otel_ml_spans_missing", ("q",)): 0,
        ("otel_ml_spans_late", ("p",)): 2,
        ("otel_ml_spans_late", ("q",)): 0,
    }


def test_bound() -> None:
    """The 100 projects with the most missing spans are listed, and the others are summed up."""
    numbers = LossNumbers()
    numbers.set_missing({f"p{number}": Missed(number, 1) for number in range(1, 151)})
    page = read_collector(numbers)
    missing = {key[1][0]: value for key, value in page.items() if key[0].endswith("missing")}
    assert missing == {
        **{f"p{number}": number for number in range(51, 151)},
        "other": sum(range(1, 51)),
    }
    assert page["otel_ml_spans_late", ("other",)] == 50
