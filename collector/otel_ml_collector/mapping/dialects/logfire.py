"""Logfire and Pydantic AI: functions with their arguments, calls of models, words of people.

Spec: https://logfire.pydantic.dev/docs/reference/advanced/
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from otel_ml_collector.mapping.check import is_span_id
from otel_ml_collector.mapping.dialects import table
from otel_ml_collector.mapping.dialects.reading import add_error, read_structured
from otel_ml_collector.mapping.dialects.table import AROUND, Names, Row, Table
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.judged import judged
from otel_ml_collector.mapping.values import to_int, to_json, to_text
from otel_ml_collector.records import Metric, Run, run_id
from otel_ml_collector.span import Span

_TYPE: Final = "logfire.span_type"
_LEVEL: Final = "logfire.level_num"
_SCHEMA: Final = "logfire.json_schema"
_JUDGE: Final = "logfire.feedback.name"
_COMMENT: Final = "logfire.feedback.comment"
_PENDING_PARENT: Final = "logfire.pending_parent_id"
_OPERATION: Final = "gen_ai.operation.name"
_ERROR_LEVEL: Final = 17
_ID_DIGITS: Final = 16
# What tells the span of an agent, or of a tool, that names no operation.
_AGENT: Final = ("agent_name", "final_result", "all_messages_events", "pydantic_ai.all_messages")
_TOOL: Final = ("tool_arguments", "tool_response")
TABLE: Final = Table(
    dialect="logfire",
    marks=("logfire.",),
    kind_sources=(),
    kinds={},
    rows=(
        Row("model", ("agent_name",), AROUND),
        Row(
            "inputs",
            (
                "pydantic_ai.all_messages",
                "all_messages_events",
                "tool_arguments",
                "request_data",
            ),
        ),
        Row("outputs", ("final_result", "tool_response", "return", "response_data")),
        Row("cost", ("operation.cost",)),
        Row("tags", ("logfire.tags",)),
    ),
    scores=(_JUDGE,),
    instead={
        "request_data": "gen_ai.input.messages",
        "response_data": "gen_ai.output.messages",
    },
    notes=(
        "A span that names no `gen_ai.operation.name` is an agent's when it has one of "
        f"{', '.join(f'`{name}`' for name in _AGENT)}, and a tool's when it has one of "
        f"{', '.join(f'`{name}`' for name in _TOOL)}.",
        f"Arguments of a function, which `{_SCHEMA}` lists, are the inputs when nothing else is.",
        "`request_data` and `response_data` count where `gen_ai.input.messages` and "
        "`gen_ai.output.messages` are absent.",
        f"`{_LEVEL}` of {_ERROR_LEVEL} and more is the outcome `error`; its message is "
        "`logfire.msg` when the span has no other.",
        f"A span of `{_TYPE}` `annotation` is a run of kind `span`, and what it says in the "
        f"attribute that `{_JUDGE}` names is a score of its parent, source `human`: a number, "
        f"a bool (passed) or a text (label), explained by `{_COMMENT}`.",
        f"A span of `{_TYPE}` `pending_span` opens its parent, which is running until it ends.",
    ),
)


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that Logfire's attributes name and nobody named before."""
    told = span.attributes
    if _OPERATION not in told:
        if not told.keys().isdisjoint(_AGENT):
            found.setdefault("kind", "agent")
        if not told.keys().isdisjoint(_TOOL):
            found.setdefault("kind", "tool")
    table.read_run(TABLE, told, present, found)
    if _SCHEMA in told and "inputs" not in found:
        _read_arguments(span, found)
    if (to_int(told.get(_LEVEL)) or 0) >= _ERROR_LEVEL:
        has_better = bool(span.events or span.status_message)
        add_error("" if has_better else to_text(told.get("logfire.msg")), found)


def read_scores(span: Span, present: Names, run: Run) -> list[Metric]:
    """Read what a person said of the parent of an annotation."""
    told = span.attributes
    if told.get(_TYPE) != "annotation" or not is_span_id(span.parent_span_id):
        return []
    judge = to_text(told.get(_JUDGE))
    value = told.get(judge)
    is_label = isinstance(value, str)
    score = judged(
        run,
        judge,
        None if is_label else value,
        label=to_text(value) if is_label else "",
        explanation=to_text(told.get(_COMMENT)),
        human=0,
    )
    owner = run_id(span.trace_id, span.parent_span_id)
    return [] if score is None else [replace(score, owner=owner, owner_start_ns=0)]


def is_pending(span: Span) -> bool:
    """Tell the placeholder of a span that has only begun."""
    return _PENDING_PARENT in span.attributes and span.attributes.get(_TYPE) == "pending_span"


def announced_span(span: Span) -> Span | None:
    """Make the span that a placeholder stands for; None when it names none."""
    if not is_span_id(span.parent_span_id):
        return None
    left_out = {_TYPE, _PENDING_PARENT}
    return replace(
        span,
        span_id=span.parent_span_id,
        parent_span_id=_read_id(to_text(span.attributes[_PENDING_PARENT])),
        end_ns=span.start_ns,
        attributes={key: told for key, told in span.attributes.items() if key not in left_out},
    )


def _read_id(text: str) -> bytes:
    try:
        return bytes.fromhex(text) if len(text) == _ID_DIGITS else b""
    except ValueError:
        return b""


def _read_arguments(span: Span, found: Found) -> None:
    """Read the arguments of a function, unless the span is one of a model's."""
    told = span.attributes
    schema = read_structured(told[_SCHEMA])
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or any(key.startswith("gen_ai.") for key in told):
        return
    names = [name for name in properties if name in told and name not in found["used"]]
    if names:
        arguments = {name: read_structured(told[name]) for name in names}
        found["inputs"] = arguments, to_json(arguments)
        found["used"].update(names)
