"""Tests of the project that records are stored in, and of how old they may be."""

from typing import Any

import pytest

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Log, Scope, Value
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    make_call,
    make_record,
    make_sign,
    make_start,
)

PROJECT = "otel_ml.project"
ONE = Access("id", "", frozenset({"ingest"}), ("one",))
SOME = Access("id", "", frozenset({"ingest"}), ("first", "second"))
ALL = Access("id", "", frozenset({"ingest"}), None)


def make_scope(resource: str = "", scope: str = "") -> Scope:
    told = ({PROJECT: resource} if resource else {}, {PROJECT: scope} if scope else {})
    return Scope(told[0], "tests", "1", told[1])


@pytest.mark.parametrize(
    ("access", "told", "project"),
    [
        (ALL, {}, "default"),
        (ALL, {"header": "h"}, "h"),
        (ALL, {"header": "h", "resource": "r"}, "r"),
        (ALL, {"header": "h", "resource": "r", "scope": "s"}, "s"),
        (ALL, {"header": "h", "resource": "r", "scope": "s", "span": "a"}, "a"),
        (ALL, {"resource": "."}, "_."),
        (ALL, {"span": ".."}, "_.."),
        (ALL, {"header": ".."}, "_.."),
        (ALL, {"resource": "a/../b"}, "a/../b"),
        (SOME, {"resource": ".."}, None),
        (SOME, {}, "first"),
        (SOME, {"header": "second"}, "second"),
        (SOME, {"header": "other", "resource": "second"}, "second"),
        (SOME, {"header": "second", "scope": "other"}, None),
        (SOME, {"header": "other"}, None),
        (SOME, {"resource": "other"}, None),
        (SOME, {"span": "other", "scope": "first"}, None),
        (SOME, {"span": "default"}, None),
        (ONE, {}, "one"),
        (ONE, {"span": "other", "scope": "other", "resource": "other", "header": "other"}, "one"),
    ],
)
def test_project(access: Access, told: dict[str, str], project: str | None) -> None:
    """The project comes from a one-project key, else from span, scope, resource or request."""
    filing = Filing(told.get("header"), NOW_NS, access)
    scope = make_scope(told.get("resource", ""), told.get("scope", ""))
    own: dict[str, Any] = {PROJECT: told["span"]} if "span" in told else {}
    records = map_spans([make_call(attributes=own, scope=scope)], filing)
    log = Log(
        time_ns=NOW_NS,
        observed_ns=NOW_NS,
        trace_id=b"t" * 16,
        span_id=b"s" * 8,
        severity_number=9,
        severity_text="",
        event="",
        body="text",
        attributes=own,
        scope=scope,
    )
    lines = map_logs([log], filing)
    if project is None:
        assert (dict(records.rejected), len(records)) == ({"project_not_allowed": 1}, 0)
        assert (dict(lines.rejected), len(lines)) == ({"project_not_allowed": 1}, 0)
        assert not records.trace_keys + lines.trace_keys
    else:
        assert [run.project for run in records.runs] == [project]
        assert [line.project for line in lines.logs] == [project]


@pytest.mark.parametrize("access", [ONE, SOME])
def test_targets(access: Access) -> None:
    """Records about another project's run, key, tag or model stay in the key's own project."""
    theirs = make_call()
    tag = {"otel_ml.tag.a": 1}
    score: dict[str, Value] = {"otel_ml.judge.name": "judge", "otel_ml.score.value": 1.0}
    model = {"otel_ml.target.model": "model", "otel_ml.target.version": "0" * 16}
    records = map_spans(
        [
            make_record("update", theirs, tag),
            make_record("evaluation", theirs, score),
            make_record("update", theirs, {**tag, "otel_ml.target.trace_key": "key"}),
            make_record("update", theirs, {**tag, "otel_ml.target.tag": "a=1"}),
            make_record("update", theirs, {**tag, **model}),
            make_start(theirs),
            make_sign("heartbeat", NOW_NS),
        ],
        Filing("theirs", NOW_NS, access),
    )
    own = access.projects[0] if access.projects else ""
    if access is SOME:
        assert dict(records.rejected) == {"project_not_allowed": 7}
    else:
        for filed in (
            *(records.tags, records.metrics, records.open_runs),
            *(records.trace_keys, records.versions, records.signs),
        ):
            assert {record.project for record in filed} == {own}
        assert len(records.tags) == 4


@pytest.mark.parametrize(
    ("scopes", "resource", "days", "is_taken"),
    [
        ({"ingest", "import"}, {"otel_ml.import": True}, 4_000, True),
        ({"ingest", "import"}, {"otel_ml.import": "mlflow"}, 401, True),
        ({"ingest", "import"}, {"otel_ml.import": False}, 401, False),
        ({"ingest", "import"}, {}, 401, False),
        ({"ingest", "import"}, {}, 399, True),
        ({"ingest"}, {"otel_ml.import": True}, 401, False),
        (OPEN.scopes, {"otel_ml.import": True}, 401, True),
        ({"ingest", "import"}, {"otel_ml.import": True}, -1, False),
        ({"ingest", "import"}, {"otel_ml.import": True}, NOW_NS / DAY_NS, False),
    ],
)
def test_history(scopes: set[str], resource: dict[str, Any], days: float, is_taken: bool) -> None:
    """Old spans are accepted if the resource has `otel_ml.import` and the key may import."""
    access = Access("id", "", frozenset(scopes), None)
    scope = Scope(resource, "tests", "1", {})
    start_ns = NOW_NS - int(days * DAY_NS)
    filing = Filing("p", NOW_NS, access)
    records = map_spans([make_call(scope=scope, start_ns=start_ns)], filing)
    assert [run.start_ns for run in records.runs] == ([start_ns] if is_taken else [])
    assert dict(records.rejected) == ({} if is_taken else {"outside_time_window": 1})


def test_history_beside_news() -> None:
    """A resource with `otel_ml.import` does not admit old spans of other resources."""
    old_ns = NOW_NS - 1_000 * DAY_NS
    told, untold = Scope({"otel_ml.import": 1}, "", "", {}), Scope({}, "", "", {})
    calls = [make_call(scope=scope, start_ns=old_ns) for scope in (told, untold, told, untold)]
    records = map_spans(calls, Filing("p", NOW_NS))
    assert [run.run_id for run in records.runs] == [
        f"{call.trace_id.hex()}-{call.span_id.hex()}" for call in calls[::2]
    ]
    assert dict(records.rejected) == {"outside_time_window": 2}


@pytest.mark.parametrize(
    ("access", "resource", "header", "project"),
    [
        (OPEN, {"service.name": "shop"}, None, "shop"),
        (OPEN, {"service.name": "shop", PROJECT: "r"}, None, "r"),
        (OPEN, {"service.name": "shop"}, "h", "h"),
        (OPEN, {"service.name": ".."}, None, "_.."),
        (OPEN, {"service.name": "unknown_service:python"}, None, "default"),
        (OPEN, {"service.name": ""}, None, "default"),
        (OPEN, {}, None, "default"),
        (ONE, {"service.name": "shop"}, None, "one"),
        (SOME, {"service.name": "second"}, None, "second"),
        (SOME, {"service.name": "shop"}, None, "first"),
    ],
)
def test_project_of_a_service(
    access: Access, resource: dict[str, Value], header: str | None, project: str
) -> None:
    """If the settings say so, `service.name` is the project of spans that name none."""
    filing = Filing(header, NOW_NS, access, by_service=True)
    records = map_spans([make_call("a", scope=Scope(resource, "tests", "1", {}))], filing)
    assert [run.project for run in records.runs] == [project]
