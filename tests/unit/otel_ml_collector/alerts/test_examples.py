"""Examples of alert rules use `surely` wherever the measure supports it."""

from otel_ml_collector.alerts.conditions import read_condition
from otel_ml_collector.errors import BadInput
from tests.support.otel_ml_collector.alerts.examples import find_conditions


def can_be_sure(condition: str) -> bool:
    try:
        read_condition(f"surely({condition})")
    except BadInput:
        return False
    return True


def test_examples_are_sure() -> None:
    """Every example of a rule uses `surely` if its measure supports it."""
    examples = [*find_conditions()]
    plain = [
        (place, condition)
        for place, condition in examples
        if not condition.startswith("surely(") and can_be_sure(condition)
    ]
    assert plain == []
    assert sum(condition.startswith("surely(") for _, condition in examples) >= 10
