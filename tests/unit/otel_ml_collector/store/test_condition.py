"""Tests of the parts of a WHERE clause."""

from otel_ml_collector.store.sql import Condition, Sql, all_of


def test_all_of() -> None:
    """Joined conditions are put in parentheses, and their parameters are merged."""
    one = Condition(Sql("a = {f0:String} OR b"), {"f0": "x"})
    two = Condition(Sql("c = {f1:Int64}"), {"f1": 3})
    assert all_of([one, two]) == Condition(
        Sql("(a = {f0:String} OR b) AND (c = {f1:Int64})"), {"f0": "x", "f1": 3}
    )
