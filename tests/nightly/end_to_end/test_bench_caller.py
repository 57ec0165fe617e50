"""Slow cases of tests/process/end_to_end/test_bench_caller.py."""

from tests.bench.caller import COLLECTOR, ROWS, STRANGER, cells_of, measure
from tests.bench.timed import CALLER, SENDER
from tests.process.end_to_end.test_bench_caller import CALLS


def test_each_row_has_by_hand_beside_it_at_its_own_receiver() -> None:
    """Each round times a row together with the hand-written span, and otel-ml loses nothing."""
    rows = [row for row in ROWS if row.title == "4 KB in, 2 KB out"]
    assert [row.receiver for row in rows] == [COLLECTOR, STRANGER]
    timed = measure(rounds=2, rows=rows, calls=CALLS)
    assert {pair: len(rounds) for pair, rounds in timed.items()} == {row.pair: 2 for row in rows}
    for row in rows:
        assert all(ours.arrived == 1 for _, ours in timed[row.pair])
        for figure in (CALLER, SENDER):
            assert len(cells_of(row, figure, timed[row.pair])) == 9
