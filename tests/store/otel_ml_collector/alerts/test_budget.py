"""A look at rules is bounded: what it has no time for is looked at by the next one."""

from pathlib import Path

from otel_ml_collector.alerts.evaluation import AlertEvaluator
from otel_ml_collector.alerts.rule import ALERT, WantedAlert
from otel_ml_collector.store.alerts import read_alert_rows
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import END_NS, Told
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import open_store


def test_each_in_its_turn(tmp_path: Path) -> None:
    """Without any time left a look asks one question, and each rule has its turn."""
    with open_store(tmp_path / "store") as store:
        runs = [make_call("answer", start_ns=END_NS - HOUR_NS + n * MINUTE_NS) for n in range(3)]
        store.take("p", *runs)
        documents = Documents(store.connections)
        for name in ("a", "b", "c"):
            where = f'model == "answer" and latency_ms >= 0 and name != "{name}"'
            rule = WantedAlert(where=where, when="runs > 0", window="1h", hold="1 of 1", min_runs=1)
            documents.save(store.reader, "p", ALERT, name, rule.model_dump())
        evaluator = AlertEvaluator(
            store.reader,
            store.connections,
            Told("p"),
            clock=lambda: END_NS + MINUTE_NS,
            budget_s=0.0,
        )
        fired = []
        for _ in range(4):
            evaluator.evaluate()
            rows = read_alert_rows(store.reader, "p")
            fired.append(sum(row.state == "firing" for row in rows))
        assert fired == [1, 2, 3, 3]
