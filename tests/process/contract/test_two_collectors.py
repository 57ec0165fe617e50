"""Tests of the rows of `runs` if two collectors write to one server."""

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Final, NamedTuple

import pytest

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.resolutions import resolve, write_rows
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.store.writer import Writer
from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.store.test_scored_lists import list_runs
from tests.support.clickhouse import Server
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import count_rows, find_differing
from tests.support.otel_ml_collector.scored import count_scored, find_wrong_scores, find_wrong_tags
from tests.support.otel_ml_collector.spans import make_call, make_record, make_span
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

REPEAT_S: Final = 1.0
OTHER_SCOPE: Final = Scope({}, "others", "1", {})


class Place(NamedTuple):
    """A collector, as far as it stores and resolves records."""

    store: Store
    watch: CallResolver

    def take(self, *spans: Span, project: str = "p") -> None:
        """Store spans as one group, and notify the job as a collector does."""
        records = map_spans(spans, Filing(project, time.time_ns()))
        self.store.writer.write(records)
        self.watch.note(records, self.store.writer.stamped_ns or 0)

    def finish(self) -> None:
        """Resolve what this collector stored, and write all rows that have changed."""
        while self.watch.run_pass() or self.store.connections.memory.updates.has_pending:
            pass


@contextmanager
def opened_places(server: Server, names: tuple[str, str] = ("a", "b")) -> Iterator[Sequence[Place]]:
    """Open two collectors with an empty store on a server."""
    url = server.url(server.make_database())
    with closing(connect(url)) as here, closing(connect(url)) as there:
        yield [
            Place(
                Store(opened, Writer(opened, collector=name), Reader(opened)),
                CallResolver(opened, name, repeat_s=REPEAT_S),
            )
            for name, opened in zip(names, (here, there), strict=True)
        ]


@pytest.fixture
def places(server: Server) -> Iterator[Sequence[Place]]:
    with opened_places(server) as opened:
        yield opened


def find_wrong(store: Store) -> list[object]:
    """Return the rows that lack something that the store has."""
    return [*find_differing(store), *find_wrong_scores(store), *find_wrong_tags(store)]


@at_night
def test_at_the_same_time(places: Sequence[Place]) -> None:
    """Rows have all facts if two collectors store records of the same traces at once."""
    draw = random.Random(79)  # noqa: S311 - an order, no secret
    plan = Plan(examples(at_night=400, on_commit=100), time.time_ns(), seed=79)
    requests = [body for body, _ in FullDataset(plan).requests(12)]
    requests += draw.sample(requests, 4)
    draw.shuffle(requests)

    def work(place: Place, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            place.take(*decode_traces(body))
            place.watch.run_pass()
        place.finish()

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(work, place, requests[at::2]) for at, place in enumerate(places)]
        for each in done:
            each.result()
    store = places[0].store
    assert count_rows(store).folded > 20
    assert count_scored(store) > 20
    assert find_wrong(store) == []


def make_trace() -> tuple[Span, Span]:
    """Make a root that names a session, and a call below it with another scope."""
    root = make_span("root", {"session.id": "s"}, scope=OTHER_SCOPE)
    ids = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    return root, make_call("answer", {"otel_ml.outputs": '"b"'}, **ids)


def repeat(span: Span, **attributes: Value) -> Span:
    """Make another copy of a run, with more attributes."""
    longer = {"otel_ml.outputs": '"a longer answer"', **attributes}
    return replace(span, attributes={**span.attributes, **longer})


def read_users(store: Store, project: str) -> list[tuple[str, str]]:
    """Read the session and user in the rows of a project's runs."""
    sql = Sql("""SELECT name, final_session AS session, final_user AS user FROM runs FINAL
      WHERE project = {project:String} ORDER BY name""")
    return [(row["session"], row["user"]) for row in store.reader.rows(sql, {"project": project})]


def test_older_resolution(places: Sequence[Place]) -> None:
    """A collector that read a trace first and writes its rows last keeps newer values in them."""
    one, other = places
    root, call = make_trace()
    one.take(call)
    one.take(root)
    connections = one.store.connections
    client, memory = connections.open(), connections.memory
    resolve(client, memory, [("p", root.trace_id.hex())])
    other.take(repeat(root, **{"user.id": "u"}))
    other.finish()
    write_rows(client, memory, Tombstones(connections))
    assert read_users(one.store, "p") == [("s", "u")] * 2
    assert find_wrong(one.store) == []


def test_better_record(places: Sequence[Place]) -> None:
    """A run that another collector stored with a longer answer gets the values of its trace."""
    one, other = places
    root, call = make_trace()
    one.take(call, say(call, "aa", 0.5))
    one.finish()
    other.take(repeat(call))
    other.finish()
    one.take(root, say(call, "aa", 0.75, after_s=2))
    one.finish()
    assert read_users(one.store, "p") == [("s", "")] * 2
    assert count_scored(one.store) == 1
    assert find_wrong(one.store) == []


@sampled(1)
@pytest.mark.parametrize("names", [("a", "b"), ("", "")], ids=["named", "unnamed"])
def test_killed(server: Server, names: tuple[str, str]) -> None:
    """What a collector stored before it was killed is in all rows, without its restart."""
    with opened_places(server, names) as places:
        check_killed(places)


def check_killed(places: Sequence[Place]) -> None:
    """Kill one collector, and check the rows that the other one completes."""
    one, other = places
    root, call = make_trace()
    keyed = make_call("keyed", {"otel_ml.trace_key": "order-1"})
    one.take(call, keyed)
    one.finish()
    told: dict[str, Value] = {
        "otel_ml.target.trace_key": "order-1",
        "otel_ml.judge.name": "polite",
        "otel_ml.score.value": 0.5,
    }
    for span in (root, say(call, "aa", 0.5), make_record("evaluation", keyed, told)):
        # A killed collector resolves nothing of it.
        other.store.writer.write(map_spans([span], Filing("p", time.time_ns())))
    assert read_users(one.store, "p") == [("", ""), ("", ""), ("s", "")]

    def has_all() -> bool:
        one.finish()
        return count_scored(one.store) == 2 and ("", "") not in read_users(one.store, "p")[::2]

    wait_until(has_all)
    assert read_users(one.store, "p") == [("s", ""), ("", ""), ("s", "")]
    assert find_wrong(one.store) == []


def test_lists_read_rows(places: Sequence[Place]) -> None:
    """Lists of both collectors read rows, also with scores for a key that the other one stored."""
    one, other = places
    root, call = make_trace()
    keyed = make_call("keyed", {"otel_ml.trace_key": "order-1"})
    one.take(root, call, keyed)
    one.finish()
    told: dict[str, Value] = {
        "otel_ml.target.trace_key": "order-1",
        "otel_ml.judge.name": "grounded",
        "otel_ml.score.value": 0.25,
    }
    other.take(say(call, "aa", 0.5), make_record("evaluation", keyed, told))
    other.finish()
    for place in places:
        place.finish()
        reader = place.store.reader
        assert len(list_runs(reader, "p", 'scores["grounded"] < 0.6')) == 2
        assert len(list_runs(reader, "p", 'session == "s"')) == 1
    assert find_wrong(one.store) == []
