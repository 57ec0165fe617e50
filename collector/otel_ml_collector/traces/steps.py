"""The steps of an agent: what its model thought, the tools that it called, and their results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup

from otel_ml.genai.messages import read_message, unwrap
from otel_ml_collector.mapping.chat import find_messages, line_in, line_of_error, text_of_part
from otel_ml_collector.mapping.values import to_json
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_present_runs
from otel_ml_collector.store.reader import JsonValue, Reader
from otel_ml_collector.traces.conversation import render_markdown
from otel_ml_collector.traces.tree import TreeSpan
from otel_ml_collector.web.passages import RetrievedPassage, find_passages
from otel_ml_collector.web.payload import alone
from otel_ml_collector.web.previews import write_preview
from otel_ml_collector.wording import shorten

# Steps on a page, and calls in one step and in one agent inside it.
STEPS_SHOWN: Final = 12
_CALLS_OF_STEP: Final = 12
_CALL_DEPTH: Final = 2
_STEP_CHARS: Final = 1_500
# Rendering Markdown takes longer the more special characters a text has.
_MARKDOWN_CHARS: Final = 8_000
_MARKDOWN_SIGNS: Final = 1_500
_ARGUMENT_CHARS: Final = 240


@dataclass(frozen=True, slots=True)
class StepCall:
    """A tool that an agent called, or another agent inside it.

    Attributes:
        node: The span of the call; None if only the model's request is recorded.
        name: Name of the tool or agent.
        given: Its arguments, as written in a call.
        result: Its output as text; None if it has none, or if its passages or calls are shown.
        result_chars: Number of characters of the whole output.
        error: Its error; empty if it did not fail.
        calls: For an agent, and for a tool that calls an agent or tools: the calls inside.
        is_selected: Whether this is the selected span.
    """

    node: TreeSpan | None
    name: str
    given: str = ""
    result: str | None = None
    result_chars: int = 0
    error: str = ""
    passages: Sequence[RetrievedPassage] = ()
    calls: "Sequence[StepCall]" = ()
    is_selected: bool = False


@dataclass(frozen=True, slots=True)
class AgentStep:
    """A call of the agent's model, and the calls of tools that followed.

    Attributes:
        number: Counted from 1; 0 for calls before the first call of the model.
        node: The call of the model; None for step 0.
        thought: What the model wrote or reasoned; empty if nothing.
        html: The same as HTML, for the answer of the last step.
        more_calls: Number of calls that are not shown.
    """

    number: int
    node: TreeSpan | None
    thought: str = ""
    html: Markup | None = None
    error: str = ""
    calls: Sequence[StepCall] = ()
    more_calls: int = 0
    is_selected: bool = False


@dataclass(frozen=True, slots=True)
class AgentSteps:
    """A part of the steps of an agent.

    Attributes:
        agent: The span of the agent.
        question: What it was asked; empty if unknown.
        steps: The steps of this part, in order.
        first: Position of the first of them, from 0.
        total: Number of all steps.
        last: The last step, if it is not in this part.
        slowest: The longest call of all steps; None with a single call.
        failed: The first call that failed; None if none did.
    """

    agent: TreeSpan
    question: str
    steps: Sequence[AgentStep]
    first: int
    total: int
    last: AgentStep | None = None
    slowest: TreeSpan | None = None
    failed: TreeSpan | None = None

    @property
    def end(self) -> int:
        """Position after the last step of this part."""
        return self.first + len(self.steps)


@dataclass(slots=True)
class _ModelTurn:
    """A call of a model and the spans that followed it, before their payloads are read."""

    number: int
    model: TreeSpan | None
    nodes: list[TreeSpan] = field(default_factory=list)


def find_agent(node: TreeSpan | None) -> TreeSpan | None:
    """Find the agent whose steps a span is part of: the span itself, or the closest above it.

    A model's call has its own conversation. A chain counts as an agent if it called both a model
    and a tool, or an agent.
    """
    if node is None or node.span.kind in {"model", "embedding", "judge"}:
        return None
    while node is not None:
        if node.span.kind == "agent" and _list_turns(node):
            return node
        if node.span.kind in {"chain", "span"}:
            turns = _list_turns(node)
            called = [call for turn in turns for call in turn.nodes]
            has_model = any(turn.model for turn in turns)
            if (has_model and called) or any(call.span.kind == "agent" for call in called):
                return node
        node = node.parent
    return None


def find_steps(
    reader: Reader, agent: TreeSpan, selected: TreeSpan, first: int | None, now_ns: int
) -> AgentSteps:
    """Read a part of the steps of an agent, at most 12, and its last step.

    Args:
        reader: The store.
        agent: The agent.
        selected: The selected span.
        first: Position of the first step of the part; None for the part with the selected span.
        now_ns: The current time.
    """
    turns = _list_turns(agent)
    if first is None:
        first = _find_place(turns, selected) if selected is not agent else 0
    first = max(min(first, len(turns) - 1), 0)
    part = turns[first : first + STEPS_SHOWN]
    is_last_apart = first + STEPS_SHOWN < len(turns)
    shown = [*part, turns[-1]] if is_last_apart else part
    runs = _read_runs(reader, agent, shown, now_ns)
    last = turns[-1]
    steps = [_make_step(turn, runs, selected, is_last=turn is last) for turn in shown]
    calls = list_calls(agent)
    return AgentSteps(
        agent=agent,
        question=_find_question(runs, agent, turns),
        steps=steps[: len(part)],
        first=first,
        total=len(turns),
        last=steps[-1] if is_last_apart else None,
        slowest=max(calls, key=lambda node: node.span.length_ms) if len(calls) > 1 else None,
        failed=next((node for node in calls if node.span.outcome == "error"), None),
    )


def _list_turns(agent: TreeSpan) -> list[_ModelTurn]:
    """List the calls of an agent's model, each with the tools and agents called after it."""
    turns: list[_ModelTurn] = []
    for node in list_calls(agent):
        if node.span.kind == "model":
            turns.append(_ModelTurn(sum(turn.model is not None for turn in turns) + 1, node))
        else:
            if not turns:
                turns.append(_ModelTurn(0, None))
            turns[-1].nodes.append(node)
    return turns


def list_calls(above: TreeSpan) -> list[TreeSpan]:
    """List the closest calls of models, tools and agents below a span, oldest first.

    A second record of a call, and a model's call around other ones, are left out.
    """
    calls: list[TreeSpan] = []
    waiting = [*above.children]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        node = waiting.pop()
        kind = node.span.kind
        is_model = kind == "model" and node.span.own is None
        is_call = kind in {"tool", "retriever", "agent"} or (
            is_model and not any(child.span.kind == "model" for child in node.children)
        )
        if is_call:
            calls.append(node)
        if kind == "model" or not (is_call or kind in {"judge", "embedding"}):
            waiting += node.children
    return sorted(calls, key=lambda node: (node.span.start_ns, node.span.run_id))


def _find_place(turns: Sequence[_ModelTurn], selected: TreeSpan) -> int:
    """Return the position of the first step to show, so that the selected span is in view."""
    way = {id(selected)}
    above = selected.parent
    while above is not None:
        way.add(id(above))
        above = above.parent
    place = next(
        (
            at
            for at, turn in enumerate(turns)
            if id(turn.model) in way or any(id(node) in way for node in turn.nodes)
        ),
        0,
    )
    return max(place - 1, 0)


def _read_runs(
    reader: Reader, agent: TreeSpan, turns: Iterable[_ModelTurn], now_ns: int
) -> Mapping[str, Run]:
    """Read the payloads of an agent, of its steps and of the calls inside them; by run ID."""
    nodes = [agent]
    for turn in turns:
        nodes += [] if turn.model is None else [turn.model]
        for node in turn.nodes[:_CALLS_OF_STEP]:
            nodes.append(node)
            for inner in list_calls(node)[:_CALLS_OF_STEP]:
                nodes += [inner, *list_calls(inner)[:_CALLS_OF_STEP]]
    ids = dict.fromkeys(node.span.run_id for node in nodes)
    return find_present_runs(reader, agent.span.project, [*ids], now_ns)


def _find_question(runs: Mapping[str, Run], agent: TreeSpan, turns: Sequence[_ModelTurn]) -> str:
    """Return what an agent was asked: its own input, or what its first call was asked last."""
    models = [turn.model for turn in turns if turn.model is not None]
    for node in [agent, *models[:1]]:
        run = runs.get(node.span.run_id)
        if run is None:
            continue
        asked = [message for item in find_messages(run.inputs) if (message := read_message(item))]
        users = [
            [text_of_part(part) for part in message["parts"] if part.get("type") == "text"]
            for message in asked
            if message["role"] == "user"
        ]
        texts = next((parts for parts in reversed(users) if parts), [])
        text = "\n".join(filter(None, texts))
        if not asked and isinstance(value := alone(run.inputs), str):
            text = value
        if text:
            return text[:_STEP_CHARS]
    return ""


def _make_step(
    turn: _ModelTurn, runs: Mapping[str, Run], selected: TreeSpan, *, is_last: bool
) -> AgentStep:
    run = runs.get(turn.model.span.run_id) if turn.model else None
    thought, requested = _read_answer(run)
    calls = [_make_call(node, runs, selected) for node in turn.nodes[:_CALLS_OF_STEP]]
    if not turn.nodes:
        calls = [StepCall(None, name, given) for name, given in requested[:_CALLS_OF_STEP]]
    is_answer = is_last and not calls
    return AgentStep(
        number=turn.number,
        node=turn.model,
        thought=thought[:_STEP_CHARS],
        html=_render(thought) if is_answer and thought else None,
        error=_error_of(run),
        calls=calls,
        more_calls=max(len(turn.nodes) - _CALLS_OF_STEP, 0),
        is_selected=turn.model is selected,
    )


def _read_answer(run: Run | None) -> tuple[str, list[tuple[str, str]]]:
    """Return what a model wrote, else what it reasoned, and the calls that it asked for."""
    if run is None:
        return "", []
    texts: list[str] = []
    thoughts: list[str] = []
    requested: list[tuple[str, str]] = []
    messages = [message for item in find_messages(run.outputs) if (message := read_message(item))]
    for part in (part for message in messages[-1:] for part in message["parts"]):
        if part.get("type") == "tool_call":
            name = str(part.get("name") or "")
            requested.append((name, _without_name(text_of_part(part), name)[:_STEP_CHARS]))
        elif part.get("type") == "reasoning":
            thoughts.append(text_of_part(part))
        elif part.get("type") == "text":
            texts.append(text_of_part(part))
    if not messages:
        text = alone(run.outputs)
        texts.append(text if isinstance(text, str) else write_preview(_write_result(run.outputs)))
    return "\n".join(filter(None, texts)) or "\n".join(filter(None, thoughts)), requested


def _make_call(
    node: TreeSpan, runs: Mapping[str, Run], selected: TreeSpan, depth: int = 0
) -> StepCall:
    """Make a call with the calls inside it, two levels deep."""
    run = runs.get(node.span.run_id)
    has_inner = depth < _CALL_DEPTH and node.span.kind != "retriever"
    inner = [item for item in list_calls(node) if item.span.kind != "model"] if has_inner else []
    calls = [_make_call(item, runs, selected, depth + 1) for item in inner[:_CALLS_OF_STEP]]
    given, result, passages = "", "", list[RetrievedPassage]()
    if run is not None:
        given = _write_arguments(run.inputs)
        is_retriever = node.span.kind == "retriever" or _are_documents(run.outputs)
        passages = find_passages(run.outputs, is_retriever=is_retriever)
        result = _write_result(run.outputs)
    is_shown = bool(result) and not passages and node.span.kind != "agent"
    return StepCall(
        node=node,
        name=node.span.model or node.span.name,
        given=given[:_STEP_CHARS],
        result=result[:_STEP_CHARS] if is_shown else None,
        result_chars=len(result),
        error=_error_of(run) if run else line_of_error(node.span.error_type, ""),
        passages=passages,
        calls=calls,
        is_selected=node is selected,
    )


def _are_documents(value: JsonValue) -> bool:
    """Return whether a tool returned several records that may be documents, and not messages."""
    inner = unwrap(alone(value))
    return (
        isinstance(inner, list)
        and len(inner) > 1
        and all(isinstance(item, dict) and not {"role", "type"} & item.keys() for item in inner)
    )


def _write_arguments(value: JsonValue) -> str:
    """Write the arguments of a call, such as ``city="Ghent", days=3``, or its only value.

    For messages, this is the question. Other long arguments are shortened, because some
    frameworks pass whole agents as arguments.
    """
    if isinstance(value, dict):
        given = [(name, item) for name, item in value.items() if item is not None]
        return ", ".join(f"{name}={_write_argument(item)}" for name, item in given)
    return "" if value is None else to_json(value)


def _write_argument(value: JsonValue) -> str:
    if isinstance(value, str):
        return to_json(shorten(value, _ARGUMENT_CHARS))
    if isinstance(value, list) and find_messages(value):
        return to_json(line_in(value))
    text = to_json(value)
    if isinstance(value, dict | list) and len(text) > _ARGUMENT_CHARS:
        return f"({len(value):,} values)"
    return text


def _without_name(text: str, name: str) -> str:
    return text.removeprefix(name).removeprefix("(").removesuffix(")")


def _write_result(value: JsonValue) -> str:
    inner = unwrap(alone(value))
    if isinstance(inner, dict) and "type" in inner and isinstance(inner.get("content"), str):
        inner = inner["content"]  # a message of a tool, as LangChain returns it
    if inner is None or inner in ("", {}, []):
        return ""
    return inner if isinstance(inner, str) else to_json(inner)


def _error_of(run: Run | None) -> str:
    if run is None or run.outcome != "error":
        return ""
    return line_of_error(run.error_type, run.error_message[: 4 * _STEP_CHARS]) or "error"


def _render(text: str) -> Markup | None:
    if (
        len(text) > _MARKDOWN_CHARS
        or sum(sign in "[]!*_<>&~|`#" for sign in text) > _MARKDOWN_SIGNS
    ):
        return None
    return render_markdown(text)
