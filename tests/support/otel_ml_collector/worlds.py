"""Hypothesis strategies for all kinds of records about a few small traces."""

import json
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

from otel_ml_collector.owners import own_key, own_response, own_tag
from otel_ml_collector.records import (
    LateLog,
    LateTag,
    LineRecord,
    Metric,
    Records,
    Run,
    Tag,
    TraceKey,
    run_id,
)
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, span_id, trace_id

_SCOPES: Final = ("otel_ml", "openinference.openai", "opentelemetry.openai", "langchain")
_KINDS: Final = ("model", "model", "model", "chain", "agent", "tool", "span", "judge")
_RESPONSES: Final = ("", "", "msg_1", "msg_2")
_CLIENTS: Final = ("bigshot", "kessler")
_KEYS: Final = ("order 1", "order 2")
_MOST_SPANS: Final = 6
_TRACES: Final = 2
_AT: Final = st.integers(0, 30).map(lambda at: NOW_NS + at * MS_NS)
_AMOUNT: Final = st.sampled_from([None, None, 7, 50])
_NAMED: Final = st.sampled_from(["", "", "a", "b"])


@st.composite
def runs(draw: st.DrawFn, project: str, trace: int, place: int, *, is_open: bool = False) -> Run:
    """Draw a run of a trace; its parent is an earlier span, a missing one, or none."""
    parent = draw(st.integers(0, place - 1) | st.sampled_from([0, 99]))
    start_ns = NOW_NS + place * MS_NS
    tokens, kind = draw(_AMOUNT), draw(st.sampled_from(_KINDS))
    inputs, outputs = draw(st.sampled_from(["", '"why"'])), draw(st.sampled_from(["", '"so"']))
    client = draw(st.sampled_from(["", *_CLIENTS]))
    run = Run(
        project=project,
        trace_id=trace_id(trace),
        span_id=span_id(place),
        parent_span_id=span_id(parent) if parent else b"",
        start_ns=start_ns,
        end_ns=start_ns if is_open else start_ns + draw(st.integers(1, 20)) * MS_NS,
        kind=kind,
        name="call",
        model="" if kind == "span" else "answer",
        outcome="running" if is_open else draw(st.sampled_from(["ok", "ok", "error"])),
        session=draw(_NAMED),
        user=draw(_NAMED),
        experiment=draw(st.sampled_from(["", "", "", run_id(trace_id(77), span_id(77))])),
        tags=[Tag("client", client)] if client else [],
        scope=json.dumps({"name": draw(st.sampled_from(_SCOPES))}),
        inputs=inputs,
        inputs_preview=inputs.strip('"'),
        process="00000001" if is_open else "",
        rank=draw(st.integers(1, 3)),
    )
    if not is_open:
        run.outputs, run.outputs_preview = outputs, outputs.strip('"')
        run.provider = run.provider_model = "gpt" if tokens else ""
        run.input_tokens, run.output_tokens = tokens, tokens
        run.cost = draw(st.sampled_from([None, 0.25])) if tokens else None
        run.response_id = draw(st.sampled_from(_RESPONSES)) if kind == "model" else ""
    return run


def _owners() -> st.SearchStrategy[str]:
    of_runs = st.builds(
        lambda trace, span: run_id(trace_id(trace), span_id(span)),
        st.integers(1, _TRACES),
        st.integers(1, _MOST_SPANS),
    )
    names = [
        *map(own_key, (*_KEYS, trace_id(1).hex())),
        *(own_tag(f"client={client}") for client in _CLIENTS),
        own_response("msg_1"),
    ]
    return of_runs | of_runs | st.sampled_from(names)


def _late_tags(project: str) -> st.SearchStrategy[LateTag]:
    return st.builds(
        lambda owner, name, value, at, record: LateTag(
            project, owner, Tag(name, value), at, record
        ),
        _owners(),
        st.sampled_from(["client", "plan"]),
        st.sampled_from([*_CLIENTS, 3]),
        _AT,
        st.uuids().map(str),
    )


def _metrics(project: str, name: Any, source: Any, **fields: Any) -> st.SearchStrategy[Metric]:
    of_all: dict[str, Any] = {
        "project": st.just(project),
        "owner": _owners(),
        "owner_start_ns": st.just(0),
        "name": name,
        "source": source,
        "step": st.just(-1),
        "time_ns": _AT,
        "mode": st.just(""),
    }
    return st.builds(Metric, **of_all | fields)


def _scores(project: str) -> st.SearchStrategy[Metric]:
    return _metrics(
        project,
        st.sampled_from(["grounded", "polite"]),
        st.just("judge"),
        judge_version=st.sampled_from(["v1", "v2"]),
        value=st.sampled_from([0.0, 0.5, 1.0]),
        passed=st.sampled_from([None, False, True]),
        error=st.sampled_from(["", "", "TimeoutError"]),
    )


def _words(project: str) -> st.SearchStrategy[Metric]:
    of_people = _metrics(
        project,
        st.just("thumbs"),
        st.sampled_from(["human", "agent"]),
        record_id=st.uuids().map(str),
        value=st.sampled_from([None, 0.25, 1.0]),
        label=st.sampled_from(["", "good"]),
    )
    truths = _metrics(
        project,
        st.just("churned"),
        st.just("actual"),
        record_id=st.uuids().map(str),
        value=st.none(),
        actual=st.sampled_from(["true", "3"]),
    )
    return of_people | truths


def _points(project: str) -> st.SearchStrategy[Metric]:
    return _metrics(
        project,
        st.just("loss"),
        st.just("logged"),
        record_id=st.uuids().map(str),
        value=st.sampled_from([0.5, 2.0]),
        mode=st.sampled_from(["single", "append"]),
    )


def _contents(project: str) -> st.SearchStrategy[LateLog]:
    body = json.dumps({"content": "asked in a log"})
    return st.builds(
        lambda owner, at, record: LateLog(
            project, owner, LineRecord(at, "info", body), record, 0, "gen_ai.user.message"
        ),
        _owners().filter(lambda owner: not owner.startswith(("key:", "tag:"))),
        _AT,
        st.uuids().map(str),
    )


def _keys_of(project: str, runs_: Sequence[Run], keys: Sequence[tuple[str, int]]) -> list[TraceKey]:
    index: list[TraceKey] = []
    for trace in sorted({run.trace_id for run in runs_}):
        times = [
            time for run in runs_ if run.trace_id == trace for time in (run.start_ns, run.end_ns)
        ]
        own = [key for key, number in keys if trace_id(number) == trace]
        index += [
            TraceKey(key, project, trace, min(times), max(times)) for key in (trace.hex(), *own)
        ]
    return index


@st.composite
def worlds(draw: st.DrawFn, project: str) -> Records:
    """Draw all records about at most two traces of a project."""
    ended: list[Run] = []
    still_open: list[Run] = []
    for trace in range(1, draw(st.integers(1, _TRACES)) + 1):
        for place in range(1, draw(st.integers(1, _MOST_SPANS)) + 1):
            state = draw(st.sampled_from(["ended", "ended", "ended", "open", "both"]))
            if state != "open":
                ended.append(draw(runs(project, trace, place)))
            if state != "ended":
                still_open.append(draw(runs(project, trace, place, is_open=True)))

    def some(what: Any) -> Any:
        return draw(st.lists(what, max_size=4))

    keys = some(st.tuples(st.sampled_from(_KEYS), st.integers(1, _TRACES)))
    return Records(
        runs=ended,
        open_runs=still_open,
        metrics=[*some(_scores(project)), *some(_words(project)), *some(_points(project))],
        tags=some(_late_tags(project)),
        logs=some(_contents(project)),
        trace_keys=_keys_of(project, [*ended, *still_open], keys),
    )
