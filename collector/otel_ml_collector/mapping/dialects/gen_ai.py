"""The GenAI semantic conventions of OpenTelemetry, their current names and the former ones.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from otel_ml import attributes as names
from otel_ml_collector.mapping.dialects.events import (
    CONTENT_EVENTS,
    Said,
    read_details,
    read_inputs,
    read_outputs,
)
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.providers import provider_of
from otel_ml_collector.mapping.values import parse, read_payload, to_float, to_int, to_json, to_text
from otel_ml_collector.owners import RESPONSE_CHARS
from otel_ml_collector.span import Span, Value

INPUTS: Final = (
    "gen_ai.input.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.retrieval.query.text",
    "gen_ai.prompt",
)
OUTPUTS: Final = (
    "gen_ai.output.messages",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "gen_ai.completion",
)
_TokenField = Literal["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"]
TOKENS: Final[Mapping[_TokenField, tuple[str, ...]]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
    ),
}
ACTORS: Final = ("gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.workflow.name")
# Kinds of runs whose model is an actor.
ACTING: Final = frozenset({"agent", "tool", "chain"})
PROVIDERS: Final = ("gen_ai.provider.name", "gen_ai.system")
MODELS: Final = ("gen_ai.response.model", "gen_ai.request.model")
COST: Final = "gen_ai.usage.cost"
CONVERSATION: Final = "gen_ai.conversation.id"
_PREFIX: Final = "gen_ai."


@dataclass(frozen=True, slots=True)
class Names:
    """Which of the conventions' names there are for each field, the preferred one first."""

    model: Sequence[str]
    requested: Sequence[str]
    actor: Sequence[str]
    provider: Sequence[str]
    inputs: Sequence[str]
    outputs: Sequence[str]
    tokens: Sequence[tuple[_TokenField, Sequence[str]]]
    params: Sequence[tuple[str, str]]


def find_names(keys: Sequence[str]) -> Names | None:
    """Find the conventions' names among those of a span; None when there are none."""
    if not any(key.startswith(_PREFIX) for key in keys):
        return None

    def present(*wanted: str) -> list[str]:
        return [name for name in wanted if name in keys]

    tokens = [(field, present(*wanted)) for field, wanted in TOKENS.items()]
    prefix = names.GEN_AI_REQUEST_PREFIX
    params = [key for key in keys if key.startswith(prefix) and key != names.GEN_AI_REQUEST_MODEL]
    return Names(
        model=present(*MODELS),
        requested=present(*reversed(MODELS)),
        actor=present(*ACTORS),
        provider=present(*PROVIDERS),
        inputs=present(*INPUTS),
        outputs=present(*OUTPUTS),
        tokens=[(field, there) for field, there in tokens if there],
        params=[(key, key.removeprefix(prefix)) for key in params],
    )


def read_run(span: Span, present: Names, found: Found) -> None:
    """Fill the fields that ``gen_ai.*`` attributes name and nobody named before."""
    attributes = span.attributes
    found.setdefault("dialect", "gen_ai")
    operation = to_text(attributes.get("gen_ai.operation.name"))
    found.setdefault("kind", names.OPERATIONS.get(operation, "model"))
    _read_model(attributes, present, found)
    _read_content(attributes, present, found)
    _read_usage(attributes, present, found)
    if span.events:
        events = [event for event in span.events if event.name in CONTENT_EVENTS]
        read_events([Said(e.name, e.time_ns, None, e.attributes) for e in events], found)
    response = attributes.get(names.GEN_AI_RESPONSE_ID)
    if response is not None:
        found.setdefault("response_id", to_text(response)[:RESPONSE_CHARS])
    conversation = attributes.get(CONVERSATION)
    if conversation is not None and "session.id" not in attributes:
        found.setdefault("session", to_text(conversation))


def read_events(events: Sequence[Said], found: Found) -> None:
    """Fill the fields that events of a call tell and nobody named before."""
    if not events:
        return
    details = read_details(events)
    present = find_names(list(details))
    if present is not None:
        _read_content(details, present, found)
        _read_usage(details, present, found)
    inputs, outputs = read_inputs(events), read_outputs(events)
    if inputs:
        found.setdefault("inputs", (inputs, to_json(inputs)))
    if outputs:
        found.setdefault("outputs", (outputs, to_json(outputs)))


def _first(attributes: Mapping[str, Value], present: Sequence[str]) -> tuple[str, Value]:
    for key in present:
        value = attributes[key]
        if value is not None:
            return key, value
    return "", None


def _read_model(attributes: Mapping[str, Value], present: Names, found: Found) -> None:
    _, model = _first(attributes, present.model)
    _, requested = _first(attributes, present.requested)
    _, actor = _first(attributes, present.actor)
    _, provider = _first(attributes, present.provider)
    if model is not None:
        found.setdefault("provider_model", to_text(model))
    # Versions gather under the model that was asked for: answers name dated snapshots.
    name = actor if found["kind"] in ACTING and actor else requested or actor
    if name is not None:
        found.setdefault("model", to_text(name))
    if provider is not None:
        found.setdefault("provider", provider_of(to_text(provider)))
    if present.params and "params" not in found:
        found["params"] = to_json({name: attributes[key] for key, name in present.params})


def _read_content(attributes: Mapping[str, Value], present: Names, found: Found) -> None:
    key, value = _first(attributes, present.inputs)
    if key and "inputs" not in found:
        found["inputs"] = inputs, _ = read_payload(value)
        system = parse(attributes.get("gen_ai.system_instructions"))
        if system is not None and isinstance(inputs, list) and not _has_system(inputs):
            inputs = [{"role": "system", "parts": system}, *inputs]
            found["inputs"] = inputs, to_json(inputs)
            found["used"].add("gen_ai.system_instructions")
        found["used"].add(key)
    key, value = _first(attributes, present.outputs)
    if key and "outputs" not in found:
        found["outputs"] = read_payload(value)
        found["used"].add(key)


def _has_system(messages: Sequence[object]) -> bool:
    """Tell messages among which the system's instructions stand already."""
    return any(isinstance(one, Mapping) and one.get("role") == "system" for one in messages)


def _read_usage(attributes: Mapping[str, Value], present: Names, found: Found) -> None:
    for field, keys in present.tokens:
        count = to_int(_first(attributes, keys)[1])
        if count is not None:
            found.setdefault(field, count)
    cost = to_float(attributes.get(COST))
    if cost is not None:
        found.setdefault("cost", cost)
