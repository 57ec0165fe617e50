"""Rules on scores across a change of the judge's version."""

from pathlib import Path

from otel_ml_collector.alerts.history import check_rule, make_unsaved
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.store.alerts import read_alert_events, read_alert_rows
from otel_ml_collector.store.versions import read_version_starts
from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.store.otel_ml_collector.alerts.test_evaluation import RULE, Told, call, look, make_hour
from tests.store.otel_ml_collector.query.test_judges import tell
from tests.support.otel_ml_collector.alerts.world import targets_of
from tests.support.otel_ml_collector.stores import open_service
from tests.support.sampling import at_night


@at_night
def test_other_judge(tmp_path: Path) -> None:
    """A new version of a judge restarts the rule, and alerts of the old version are resolved."""
    with open_service(tmp_path, alert_targets=targets_of("oncall")) as service:
        store = service.store
        call(service, "PUT", "judged/alerts/a", RULE)
        for version in ("j1", "j2"):
            store.take("judged", tell(version))
        starts = read_version_starts(store.reader, "judged", "judge", ["grounded"])
        [_, change_ns] = starts["grounded"]
        last_ns = change_ns // HOUR_NS * HOUR_NS + 3 * HOUR_NS
        told, states = Told("judged"), []
        for hour in (5, 4, 3, 2, 1):
            # The second version starts in hour 3.
            version = "j1" if hour > 3 else "j2"
            spans = make_hour(hour, "Remax", 8, version=version, last_ns=last_ns)
            store.take("judged", *spans, now_ns=last_ns)
            look(service, told, last_ns - (hour - 1) * HOUR_NS + MINUTE_NS)
            rows = {row.slice: row.state for row in read_alert_rows(store.reader, "judged")}
            states.append(rows['["Remax"]'])
        assert states == ["pending", "firing", "no data", "pending", "firing"]
        assert told.lines == ["firing Remax", "resolved Remax", "firing Remax"]
        events = read_alert_events(store.reader, "judged", 0, "a")
        assert [event.reason for event in events if event.before == "firing"] == [
            "new version of a judge"
        ]
        rule = make_unsaved(WantedAlert.model_validate(RULE))
        history = check_rule(
            store.reader, "judged", rule, last_ns - 5 * HOUR_NS, last_ns + MINUTE_NS
        )
        assert [firing.hours for firing in history.firings] == [0.0, 1.0]
        assert [point.word for point in history.slices[0].points][-3:] == ["no data", "bad", "bad"]
