"""Materialized predictions give the same answers as payloads, whatever happens to the runs."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.ground_truth.find import find_target
from otel_ml_collector.span import Span
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.predictions import keep_day, keep_due, read_kept_days
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.writer import Writer
from tests.store.otel_ml_collector.quality.test_quality import call, get, make_run, save, tell
from tests.support.otel_ml_collector.spans import DAY_NS, SECOND_NS
from tests.support.otel_ml_collector.stores import Service, Store, open_service
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

FIRST_NS: Final = (time.time_ns() // DAY_NS - 5) * DAY_NS
DAYS: Final = 3
PER_DAY: Final = 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("kept")) as service:
        yield service


def take(service: Service, project: str, spans: Sequence[Span]) -> None:
    """Store spans with a new writer, which has not marked any day yet."""
    store = service.store
    writer = Store(store.connections, Writer(store.connections), store.reader)
    writer.take(project, *spans, now_ns=time.time_ns())


def make_runs(seed: int, runs: int = DAYS * PER_DAY) -> list[Span]:
    """Make runs over three days that predict a class, a number and a ranking, with sessions."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    spans = []
    for place in range(runs):
        p = draw.random()
        outputs = {
            "label": "yes" if p > 0.5 else "no",
            "p": p,
            "minutes": draw.uniform(1, 9),
            "best": draw.sample("abcdef", 4),
        }
        run = make_run(FIRST_NS + place * DAYS * DAY_NS // runs, outputs, order=f"{seed}-{place}")
        session = {"session.id": draw.choice(["s1", "s2", ""])}
        spans.append(replace(run, attributes={**run.attributes, **session}))
    return spans


def tell_all(runs: Sequence[Span], seed: int = 0) -> list[Span]:
    """Report the ground truth of every second run."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    return [
        tell(run, value, run.start_ns + 3_600 * SECOND_NS, name)
        for run in runs[::2]
        for name, value in (
            ("churned", draw.choice(["yes", "no"])),
            ("minutes", draw.uniform(1, 9)),
            ("best", draw.sample("abcdef", 2)),
        )
    ]


def save_all(service: Service, project: str) -> None:
    save(service, project)
    plain = {"positive": "", "probability": ""}
    save(service, project, "minutes", kind="number", prediction="outputs.minutes", **plain)
    save(service, project, "best", kind="ranking", prediction="outputs.best", k=2, **plain)


def keep(store: Store, project: str) -> None:
    """Materialize the predictions of all targets for the three days."""
    client = store.connections.open()
    for name in ("churned", "minutes", "best"):
        rule = find_target(store.reader, project, name).rule
        for day in range(DAYS):
            keep_day(client, project, rule, FIRST_NS + day * DAY_NS)


def list_kept(store: Store, project: str, name: str = "churned") -> list[int]:
    """List the days that are answered without payloads."""
    rule = find_target(store.reader, project, name).rule
    kept = read_kept_days(store.reader, project, rule, FIRST_NS, time.time_ns())
    return [(day_ns - FIRST_NS) // DAY_NS for day_ns in kept.days]


def rounded(value: Any) -> Any:
    """Round all numbers in JSON, because sums of several parts differ in the last digits."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {name: rounded(of_name) for name, of_name in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, list) else value


def answers(service: Service, project: str) -> dict[str, Any]:
    """Return the rounded quality of all three targets, for all runs and for a slice."""
    asked = {}
    for name in ("churned", "minutes", "best"):
        for where in ("", "latency_ms < 1e9 and outputs.p > 0.3"):
            end = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime())
            answer = get(
                service,
                f"{project}/targets/{name}",
                where=where,
                start=time.strftime("%Y-%m-%dT06:00:00Z", time.gmtime(FIRST_NS / 1e9)),
                end=end,
                bucket="day",
            )
            del answer["target"]["saved_time"]
            for point in answer["points"]:  # depends on the current time
                del point["usual"]
            asked[name + where] = rounded(answer)
    return asked


@at_night
def test_deletion(service: Service) -> None:
    """Deleting a run removes its materialized prediction at once, and its day is read again."""
    store = service.store
    runs = make_runs(3)
    gone = runs[PER_DAY]  # the first run of the second day
    take(service, "gone", [*runs, *tell_all(runs)])
    save_all(service, "gone")
    take(
        service, "left", [run for run in [*runs, *tell_all(runs)] if run.trace_id != gone.trace_id]
    )
    save_all(service, "left")
    keep(store, "gone")
    Deleter(store.connections, Tombstones(store.connections)).delete(
        "gone", "run", f"{gone.trace_id.hex()}-{gone.span_id.hex()}"
    )
    assert list_kept(store, "gone") == [0, 2]
    rows = store.connections.open().query(
        Sql("SELECT count() FROM predictions WHERE project = 'gone' AND trace_id = {trace:String}"),
        {"trace": gone.trace_id.decode("latin-1")},
    )
    assert rows.result_rows == [(0,)]
    assert answers(service, "gone") == answers(service, "left")


@at_night
def test_nightly_import(service: Service) -> None:
    """Ground truth for many orders, reported by tag, marks only the days of their runs."""
    store = service.store
    runs = make_runs(4)
    take(service, "import", runs)
    save_all(service, "import")
    keep(store, "import")
    at_ns = time.time_ns()
    last = [
        (run, f"order=4-{place}")
        for place, run in enumerate(runs)
        if run.start_ns >= FIRST_NS + 2 * DAY_NS
    ]
    truths = [tell(run, "yes", at_ns + place, tag=tag) for place, (run, tag) in enumerate(last)]
    marks = Sql("""SELECT day_ns, max(marked_ns) FROM daily WHERE project = 'import'
      GROUP BY day_ns ORDER BY day_ns""")
    before = store.connections.open().query(marks).result_rows
    for first in range(0, len(truths), 12):
        take(service, "import", truths[first : first + 12])
    assert store.connections.open().query(marks).result_rows[:2] == before[:2]
    assert list_kept(store, "import")[:2] == [0, 1]
    said = [json.loads(str(run.attributes["otel_ml.outputs"]))["label"] for run, _ in last]
    for _ in range(2):
        answer = get(service, "import/targets/churned", last="30d")
        assert (answer["runs"], answer["here"]) == (len(runs), len(last))
        [accuracy] = [
            one["value"]["value"] for one in answer["figures"] if one["name"] == "accuracy"
        ]
        assert accuracy == pytest.approx(said.count("yes") / len(said))
        keep(store, "import")
        assert list_kept(store, "import") == [0, 1, 2]


def test_due(service: Service) -> None:
    """Days unchanged for a minute are materialized automatically, once for each target."""
    store = service.store
    client = store.connections.open()
    take(service, "due", make_runs(5, 3))
    save_all(service, "due")
    keep_due(client, time.monotonic)
    assert list_kept(store, "due") == [], "they changed just now"
    at_once = {"mutations_sync": 2}
    client.command(Sql("ALTER TABLE daily UPDATE marked_ns = 1 WHERE 1"), settings=at_once)
    for _ in range(20):  # as often as the background job repeats
        if not keep_due(client, time.monotonic):
            break
    assert list_kept(store, "due", "minutes") == [0, 1, 2]
    call(service, "DELETE", "due/targets/best")
    client.command(
        Sql("ALTER TABLE predicted UPDATE predicted_ns = 2 WHERE project = 'due'"),
        settings=at_once,
    )
    keep_due(client, time.monotonic)
    rules = Sql("SELECT uniqExact(rule) FROM predicted WHERE project = 'due'")
    # Nothing is kept for a deleted target. The engine hides the rows only after it answers.
    wait_until(lambda: client.query(rules).result_rows == [(2,)])


@at_night
def test_no_payloads(service: Service) -> None:
    """Thirty days of a target with materialized days are answered without rows of ``payloads``."""
    store, project = service.store, "bare"
    runs = make_runs(6)
    take(service, project, [*runs, *tell_all(runs)])
    save_all(service, project)
    keep(store, project)
    assert list_kept(store, project) == [0, 1, 2]

    def ask_quality() -> dict[str, Any]:
        asked = {}
        for name in ("churned", "minutes", "best"):
            answer = get(service, f"{project}/targets/{name}", last="30d", bucket="day")
            asked[name] = {
                "counts": (answer["runs"], answer["here"], answer["wrong"]),
                "figures": rounded(answer["figures"]),
                "points": rounded([point["figures"] for point in answer["points"]]),
                "classes": rounded([known["figures"] for known in answer["classes"]]),
                "confusion": answer["confusion"],
            }
        return asked

    expected = ask_quality()
    assert expected["churned"]["counts"][:2] == (len(runs), len(runs) // 2)
    client = store.connections.open()
    client.command(
        Sql("ALTER TABLE payloads DELETE WHERE project = 'bare'"), settings={"mutations_sync": 2}
    )
    left = client.query(Sql("SELECT count() FROM payloads WHERE project = 'bare'")).result_rows
    assert left == [(0,)]
    assert ask_quality() == expected
    # A day that is not materialized needs payloads, which proves that this test can fail.
    client.command(
        Sql("ALTER TABLE predicted DELETE WHERE project = 'bare' AND day_ns = {day:Int64}"),
        {"day": FIRST_NS},
        settings={"mutations_sync": 2},
    )
    assert list_kept(store, project) == [1, 2]
    assert ask_quality()["churned"]["counts"][0] == len(runs) - PER_DAY
