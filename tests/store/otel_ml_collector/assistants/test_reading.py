"""Reading and listing by assistants: limits, parts, references, pages, and hidden records."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from otel_ml_collector.access import READ, Access
from otel_ml_collector.assistants.answers import READ_CHARS, ROW_CHARS
from otel_ml_collector.assistants.call import explain
from otel_ml_collector.assistants.protocol import ToolRefused, answer
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.span import Value
from tests.store.otel_ml_collector.assistants.test_tools import SINCE, refused, rows
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.test_datasets import digest_of, make_item, make_versions
from tests.store.otel_ml_collector.test_experiments import make_runs
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.assistants.fixtures import (
    ASKED_NS,
    OLD,
    RUNS,
    TRACE,
    Ask,
    make_tried,
)
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    id_of,
    make_call,
    make_span,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night, sampled

# Quotes and line ends take two characters each in JSON.
LONG: Final = 'a "quoted" line\n' * 4_000
WIDE: Final = 500
DEEP: Final = 30


@at_night
def test_long_part(service: Service, ask_tool: Ask) -> None:
    """A long part is returned in pieces of at most the requested size that add up to the part."""
    run = make_call("long", {"otel_ml.outputs": orjson.dumps(LONG).decode()})
    service.store.take("long", run)
    given: Any = {"ref": id_of(run), "part": "outputs", "chars": 24_000, "project": "long"}
    pieces: list[str] = []
    while given is not None:
        found = ask_tool("read", **given)
        assert len(orjson.dumps(found).decode()) <= READ_CHARS
        assert found["chars"] == len(LONG)
        text = found["text"]
        given = found["next"]["arguments"] if "next" in found else None
        if given is not None:
            text, _, left = text.rpartition("…(+")
            assert int(left.rstrip(")")) == len(LONG) - len("".join(pieces)) - len(text)
        assert len(text) <= 24_000
        pieces.append(text)
    assert "".join(pieces) == LONG
    assert refused(ask_tool, "read", ref="x", chars=24_001) == "chars: 24001 is more than 24000"
    assert refused(ask_tool, "read", ref="x", chars=499) == "chars: 499 is less than 500"


def test_read_run(service: Service, ask_tool: Ask) -> None:
    """Reading a run returns its payload by leaf, its error, scores, parent and children."""
    root = make_call("agent", trace_id=trace_id(5_001))
    inner: dict[str, Any] = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    told: dict[str, Value] = {
        "otel_ml.inputs": orjson.dumps({"question": "why", "deep": {"list": [*range(9)]}}).decode(),
        "otel_ml.outcome": "error",
        "error.type": "KeyError",
        "otel_ml.tag.client": "acme",
        "session.id": "s1",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
    }
    run = make_call("answer", told, status_message="no field x" + "y" * 400, **inner)
    below = make_call("search", trace_id=root.trace_id, parent_span_id=run.span_id)
    said = say(run, "a1", 0.0, more={"otel_ml.explanation": "it is not " * 60})
    service.store.take("one", tell("a1"), root, run, below, said)
    found = ask_tool("read", ref=run.span_id.hex(), project="one")
    assert (found["what"], found["run"], found["outcome"]) == ("run", id_of(run), "error")
    assert (found["parent"], found["session"]) == (root.span_id.hex(), "s1")
    assert (found["tags"], found["tokens"]) == (["client=acme"], {"input": 12, "output": 3})
    assert dict(found["payload"]["rows"]) == {
        "inputs.question": "why",
        **{f"inputs.deep.list[{place}]": place for place in range(5)},
        "inputs.deep.list[5:]": "…(+4 elements)",
    }
    message = found["error"]["message"]
    assert (found["error"]["type"], message) == ("KeyError", "no field x" + "y" * 290 + "…(+110)")
    [score] = rows(found["scores"])
    assert (score["score"], score["explanation"]) == (0, ("it is not " * 30) + "…(+300)")
    [child] = rows(found["children"])
    assert (child["run"], child["name"]) == (below.span_id.hex(), "search")
    assert {"error.message", "payload.rows.value", "scores.rows.explanation"} <= {*found["foreign"]}


def test_read_version(ask_tool: Ask) -> None:
    """Reading a version returns its statistics, judges, parameters and source."""
    found = ask_tool("read", ref="answer:v1")
    stats = found["statistics"]
    assert (found["what"], found["version"]) == ("version", "answer:v1")
    assert (stats["runs"], stats["errors"]) == (OLD, 5)
    assert found["judges"]["rows"] == [["grounded:v1", OLD, 0.9, 0.9]]
    assert found["params"]["rows"] == [["params.depth", 6]]
    assert found["source"].startswith("def answer(question):")


def test_large_trace(service: Service, ask_tool: Ask) -> None:
    """A large trace is shown in at most 40 lines, including failed runs and the critical path."""
    root = make_call("root", trace_id=trace_id(5_002), end_ns=NOW_NS + 900 * MS_NS)
    inner: dict[str, Any] = {"trace_id": root.trace_id}
    spans = [
        make_call(
            f"step {place}",
            {"otel_ml.outcome": "error", "error.type": "Timeout"} if place == 333 else {},
            parent_span_id=root.span_id,
            start_ns=NOW_NS + place * MS_NS,
            **inner,
        )
        for place in range(WIDE)
    ]
    above = root.span_id
    for place in range(DEEP):
        end_ns = NOW_NS + (890 - place) * MS_NS
        deep = make_call(f"deep {place}", parent_span_id=above, end_ns=end_ns, **inner)
        spans.append(deep)
        above = deep.span_id
    service.store.take("wide", root, *spans)
    found = ask_tool("read", ref=root.trace_id.hex(), project="wide")
    lines = rows(found["lines"])
    names = [line["name"] for line in lines]
    assert len(lines) <= 40
    assert (found["runs"], found["errors"]) == (1 + WIDE + DEEP, 1)
    assert ("step 333", "error") in {(line["name"], line["outcome"]) for line in lines}
    assert names[0] == "root"
    assert {f"deep {place}" for place in range(19)} <= {*names}
    shown = sum(line["times"] for line in lines)
    assert found["lines"]["left_out"] == 1 + WIDE + DEEP - shown
    more = found["lines"]["next"]
    assert more["tool"] == "find_runs"
    listed = ask_tool(more["tool"], **more["arguments"])
    assert len(listed["rows"]) + listed["left_out"] == 1 + WIDE + DEEP


def test_references(service: Service, ask_tool: Ask) -> None:
    """A user's trace key and a name with visible escapes are valid references."""
    run = make_call("answer", {"otel_ml.trace_key": "order 7"}, trace_id=trace_id(5_003))
    name = "odd\u202e"
    definition = {
        "otel_ml.record": "update",
        "otel_ml.target.model": name,
        "otel_ml.target.version": "v1",
        "otel_ml.target.kind": "model",
        "otel_ml.model.definition": '{"source": "def odd(): pass"}',
    }
    odd = make_call(name, {"otel_ml.model.version": "v1", "otel_ml.model.output_schema": "s"})
    service.store.take("named", run, odd, make_span("otel_ml.update", definition))
    keyed = ask_tool("read", ref="order 7", project="named")
    assert (keyed["what"], keyed["runs"]) == ("trace", 1)
    listed = ask_tool("statistics", group="version", project="named", since=SINCE)
    shown = next(row[0] for row in listed["rows"] if "odd" in row[0])
    assert shown == "odd\\u{202e}:v1"
    back = ask_tool("read", ref=shown, project="named")
    assert (back["version"], back["source"]) == (shown, "def odd(): pass")


def test_usual_size(service: Service, ask_tool: Ask) -> None:
    """By default a list has ten rows, with texts of up to 160 characters."""
    long = {"otel_ml.inputs": orjson.dumps("z" * 1_000).decode()}
    service.store.take("usual", *(make_call("answer", long) for _ in range(12)))
    found = ask_tool("find_runs", project="usual", since=SINCE, columns=["input"])
    assert (len(found["rows"]), found["left_out"]) == (10, 2)
    [text] = {row[0] for row in found["rows"]}
    head, _, left = text.partition("…(+")
    assert (head, int(left.rstrip(")"))) == ("z" * ROW_CHARS, found_preview(service) - ROW_CHARS)


def found_preview(service: Service) -> int:
    """Return how much of the input the API shows in a list."""
    listed = ask(service.app, "/api/v1/projects/usual/runs?limit=1").json["runs"]
    return len(listed[0]["inputs"])


@sampled(4)
@pytest.mark.parametrize(
    ("tool", "given", "told"),
    [
        ("find_runs", {"where": "x" * 4_001}, "where: 4,001 characters is more than 4,000"),
        (
            "find_runs",
            {"where": "\ud800"},
            "where: 'half of a character': expected whole characters",
        ),
        ("find_runs", {"columns": ["run"] * 13}, "columns: 13 is more than 12"),
        ("find_runs", {"limit": 51}, "limit: 51 is more than 50"),
        ("find_runs", {"limit": 0}, "limit: 0 is less than 1"),
        ("find_runs", {"since": "yesterday"}, "since: 'yesterday': expected 15m, 24h, 7d or a "),
        (
            "find_runs",
            {"order": "slowest", "cursor": "x"},
            "cursor: only the orders newest and oldest have ",
        ),
        ("statistics", {"bucket": "2h"}, "bucket: '2h': expected one of '', '15m', '1h', '1d'"),
        ("complete_filter", {"limit": 101}, "limit: 101 is more than 100"),
        (
            "compare",
            {"a": "answer:v1", "b": "answer:v1"},
            "b: the same as a: expected a different ",
        ),
        ("compare", {"a": "answer:v1", "b": "answer:v2", "show": 21}, "show: 21 is more than 20"),
        ("compare", {"a": "qa:v1", "b": "answer:v2"}, "a: 'qa:v1' is a dataset: expected a "),
        (
            "overview",
            {"project": None, "where": "model == 'x'"},
            "project: missing: a filter applies ",
        ),
        ("errors", {"project": None}, "project: missing: expected a project that overview "),
        ("find_runs", {"until": "2020-01-01T00:00:00Z"}, "until: '2020-01-01T00:00:00Z': expected"),
    ],
)
def test_bounds(ask_tool: Ask, tool: str, given: dict[str, Any], told: str) -> None:
    """An invalid argument is refused with its name, its value and the expected one."""
    assert refused(ask_tool, tool, **given).startswith(told)


def test_empty(ask_tool: Ask) -> None:
    """An empty answer gives the reason, whatever the question was."""
    none = 'model == "answer" and latency_ms > 1e9'
    for tool in ("find_runs", "statistics", "errors", "overview"):
        hint = ask_tool(tool, where=none, since=SINCE)["hint"]
        assert re.fullmatch(
            r"no run has ever matched; the newest run of the project is from \S+Z", hint
        )
    calm = ask_tool("errors", where='model == "answer" and version == 1 and outcome == "ok"')
    assert calm["hint"] == f"none of {OLD - 5} runs failed"
    # Patterns are only allowed with a window, so the hint does not mention earlier runs.
    pattern = ask_tool("statistics", where='matches(input, "^nothing")', since=SINCE)
    assert pattern["hint"] == "no run since 2026-11-20T00:00Z matches"


def test_records_of_others(service: Service) -> None:
    """Reading a run of another project and an unknown run give the same error message."""
    reader = service.store.reader.narrow(Access("k", "k", frozenset({READ}), ("shop",)))
    secret = ask(service.app, "/api/v1/projects/other/runs").json["runs"][0]["run_id"]
    messages = set()
    for ref in (secret, f"{'ab' * 16}-{'cd' * 8}"):
        with pytest.raises(ToolRefused) as caught:
            answer("read", {"ref": ref}, reader, "", ASKED_NS)
        messages.add(str(caught.value).replace(ref, "X"))
    assert len(messages) == 1
    short = set()
    for ref in (secret[-16:], "cd" * 8):
        with pytest.raises(ToolRefused) as caught:
            answer("read", {"ref": ref}, reader, "", ASKED_NS)
        short.add(str(caught.value).replace(ref, "X"))
    assert len(short) == 1


def test_again() -> None:
    """If the store is unavailable, the message has the time to wait."""
    told = explain(Unavailable("The store has trouble: NETWORK_ERROR", 3), "")
    assert told == "The store has trouble: NETWORK_ERROR: try again in 3 s"


def test_completion(ask_tool: Ask) -> None:
    """Completion reports whether a filter is valid or why not; items have a kind and a count."""
    whole = ask_tool("complete_filter", text='tags["client"] == "acme"')
    assert (whole["is_valid"], "problem" in whole) == (True, False)
    wrong = ask_tool("complete_filter", text="modell == 1")
    assert (wrong["is_valid"], wrong["problem"]) == (
        False,
        "Unknown field 'modell': did you mean model?",
    )
    values = rows(ask_tool("complete_filter", text='model == "answer" and tags["client"] == "'))
    assert {(one["text"], one["kind"]) for one in values} == {
        ("acme", "value"),
        ("bigshot", "value"),
    }
    counts: Mapping[str, int] = {one["text"]: one["count"] for one in values}
    assert sum(counts.values()) == RUNS


def test_show(ask_tool: Ask) -> None:
    """The requested number of worse runs is shown, each with both outputs."""
    none = ask_tool("compare", a="answer:v1", b="answer:v2", show=0)
    assert "worse" not in none
    few = ask_tool("compare", a="answer:v1", b="answer:v2", show=2)["worse"]
    assert (len(few["rows"]), few["left_out"]) == (2, 23)
    first = rows(few)[0]
    place = int(first["item"].removeprefix("q-"))
    outputs = (first["a_output"], first["b_output"])
    assert outputs in {(f"p of {place}", f"f of {place}"), (f"p of {place}", "ValueError")}
    assert TRACE.hex() not in first["a_run"]


@at_night
def test_worst_slice(service: Service, ask_tool: Ask) -> None:
    """If the items of one tag got much worse, the tag is named with its difference."""
    items = {
        f"q-{place:03}": make_item({"question": place}, region="north" if place < 30 else "south")
        for place in range(60)
    }
    service.store.take("sliced", *items.values(), *make_versions("qa", items))
    first = make_tried(20, "v1", items=60)
    second = make_tried(21, "v2", items=60, baseline=id_of(first))
    for tried, signs in ((first, "p" * 60), (second, "f" * 30 + "p" * 30)):
        runs = [
            replace(run, attributes={**run.attributes, "otel_ml.item.digest": digest_of(item)})
            for run, item in zip(make_runs(tried, signs), items.values(), strict=True)
        ]
        service.store.take("sliced", tried, *runs)
    found = ask_tool("compare", project="sliced", a=id_of(first), b=id_of(second), show=3)
    assert (found["verdict"], found["how"]) == ("worse", "paired on qa: 60 common items")
    said = {name: found["slice"][name] for name in ("tag", "judge", "difference", "n")}
    assert said == {"tag": "region=north", "judge": "exact", "difference": -1, "n": 30}
    assert found["worse"]["left_out"] == 27
