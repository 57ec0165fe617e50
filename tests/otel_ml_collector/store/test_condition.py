"""Tests of pieces of a WHERE clause."""

from otel_ml_collector.store.condition import ALWAYS, Condition, join


def test_join() -> None:
    """Joined conditions keep their parts together and have the parameters of all."""
    one = Condition("a = {f0:String} OR b", {"f0": "x"})
    two = Condition("c = {f1:Int64}", {"f1": 3})
    assert join("AND", [one, two]) == Condition(
        "(a = {f0:String} OR b) AND (c = {f1:Int64})", {"f0": "x", "f1": 3}
    )


def test_always() -> None:
    """The condition that leaves out nothing is told from those that do."""
    assert (ALWAYS.is_always, Condition("a = 1").is_always) == (True, False)
