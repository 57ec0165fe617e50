"""A simulated day without problems: a rule with `surely` does not fire.

The test of a week with all rules is in tests/nightly/otel_ml_collector/alerts/test_quiet_week.py.
"""

from pathlib import Path

from tests.support.otel_ml_collector.alerts.quiet import (
    PROJECT,
    count_firings,
    draw_hours,
    make_wanted,
)
from tests.support.otel_ml_collector.stores import open_store
from tests.support.sampling import at_night


@at_night
def test_quiet_day(tmp_path: Path) -> None:
    """On a day without changes a plain rule fires falsely; with surely it does not."""
    with open_store(tmp_path / "store") as store:
        for spans in draw_hours(3, 24, {"acme": 16}):
            store.take(PROJECT, *spans)
        when = 'pass_rate("grounded") < 0.9'
        rules = {"plain": make_wanted(when), "sure": make_wanted(f"surely({when})")}
        fired = count_firings(store, rules, 24)
    assert fired["plain"] >= 1
    assert fired["sure"] == 0
