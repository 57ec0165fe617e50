"""Tests of mapping plans, which depend only on the attribute names of a span."""

from otel_ml_collector.mapping.dialects.plan import Plan, Plans
from otel_ml_collector.mapping.dialects.shape import ShapeNames
from otel_ml_collector.mapping.dialects.table import Evidence

NAMES = ("gen_ai.usage.input_tokens", "otel_ml.tag.client", "session.id", "http.route")


def test_same_names() -> None:
    """Spans with the same attribute names share one plan, whatever their values."""
    plans = Plans()
    assert plans.find(dict.fromkeys(NAMES, 1)) is plans.find(dict.fromkeys(NAMES))
    assert len(plans) == 1


def test_other_names() -> None:
    """A plan lists the names that stay attributes, and only dialects that occur."""
    assert Plans().find({"z": 1, "http.route": "/", "user.id": "u"}) == Plan(
        None, (), Evidence(), {}, ("http.route", "z"), ShapeNames((), ("z",), has_counts=False)
    )


def test_bounded() -> None:
    """At most 1,000 plans are kept, however many sets of names arrive."""
    plans = Plans()
    for number in range(2_500):
        plans.find({f"attribute.{number}": 1})
    assert 0 < len(plans) <= 1_000


def test_long_names() -> None:
    """Plans for very long or very many names are not kept."""
    plans = Plans()
    plans.find({"a" * 10_000: 1})
    plans.find({str(number): 1 for number in range(200)})
    assert len(plans) == 0
