"""The GenAI semantic conventions of OpenTelemetry, their current names and the former ones.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Mapping
from typing import Final, Literal

from otel_ml import attributes as names
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import parse, to_float, to_int, to_text
from otel_ml_collector.span import Span, Value

_INPUTS: Final = (
    "gen_ai.input.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.retrieval.query.text",
    "gen_ai.prompt",
)
_OUTPUTS: Final = (
    "gen_ai.output.messages",
    "gen_ai.tool.call.result",
    "gen_ai.retrieval.documents",
    "gen_ai.completion",
)
_TokenField = Literal["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"]
_TOKENS: Final[Mapping[_TokenField, tuple[str, ...]]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cached_tokens": ("gen_ai.usage.cache_read.input_tokens",),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens",),
}
_NAMES: Final = ("gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.workflow.name")
_REQUEST: Final = "gen_ai.request."


def read_run(span: Span, found: Found) -> None:
    """Fill the fields that ``gen_ai.*`` attributes name and nobody named before."""
    attributes = span.attributes
    if not any(key.startswith("gen_ai.") for key in attributes):
        return
    found.setdefault("dialect", "gen_ai")
    operation = to_text(attributes.get("gen_ai.operation.name"))
    found.setdefault("kind", names.OPERATIONS.get(operation, "model"))
    _read_model(attributes, found)
    _read_content(attributes, found)
    _read_usage(attributes, found)
    conversation = attributes.get("gen_ai.conversation.id")
    if conversation is not None and "session.id" not in attributes:
        found.setdefault("session", to_text(conversation))


def _first(attributes: Mapping[str, Value], keys: tuple[str, ...]) -> tuple[str, Value]:
    for key in keys:
        if attributes.get(key) is not None:
            return key, attributes[key]
    return "", None


def _read_model(attributes: Mapping[str, Value], found: Found) -> None:
    _, model = _first(attributes, ("gen_ai.response.model", "gen_ai.request.model"))
    _, requested = _first(attributes, ("gen_ai.request.model", "gen_ai.response.model"))
    _, actor = _first(attributes, _NAMES)
    _, provider = _first(attributes, ("gen_ai.provider.name", "gen_ai.system"))
    if model is not None:
        found.setdefault("provider_model", to_text(model))
    # Versions gather under the model that was asked for: answers name dated snapshots.
    name = actor if found["kind"] in {"agent", "tool", "chain"} and actor else requested or actor
    if name is not None:
        found.setdefault("model", to_text(name))
    if provider is not None:
        found.setdefault("provider", to_text(provider))
    params = {
        key.removeprefix(_REQUEST): value
        for key, value in attributes.items()
        if key.startswith(_REQUEST) and key != "gen_ai.request.model"
    }
    if params:
        found.setdefault("params", params)


def _read_content(attributes: Mapping[str, Value], found: Found) -> None:
    key, value = _first(attributes, _INPUTS)
    if key and "inputs" not in found:
        inputs = parse(value)
        system = parse(attributes.get("gen_ai.system_instructions"))
        if system is not None and isinstance(inputs, list):
            inputs = [{"role": "system", "parts": system}, *inputs]
            found["used"].add("gen_ai.system_instructions")
        found["inputs"] = inputs
        found["used"].add(key)
    key, value = _first(attributes, _OUTPUTS)
    if key and "outputs" not in found:
        found["outputs"] = parse(value)
        found["used"].add(key)


def _read_usage(attributes: Mapping[str, Value], found: Found) -> None:
    for field, keys in _TOKENS.items():
        count = to_int(_first(attributes, keys)[1])
        if count is not None:
            found.setdefault(field, count)
    cost = to_float(attributes.get("gen_ai.usage.cost"))
    if cost is not None:
        found.setdefault("cost", cost)
