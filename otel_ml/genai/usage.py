"""How many tokens a response says that it took: OpenAI, Anthropic and litellm, whole or streamed.

The conventions count cached tokens as input, reasoning as output. Anthropic counts cached tokens
apart, so there they are added.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Iterator, Mapping
from typing import Final

from otel_ml import attributes as names
from otel_ml.genai.foreign import MAX_COUNT, read, read_count, read_name

# What providers call a number, beside the response's `usage` or in one of its details.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt_tokens",),
    "input": ("input_tokens",),
    "output": ("completion_tokens", "output_tokens"),
    "read": ("cache_read_input_tokens",),
    "written": ("cache_creation_input_tokens",),
}
_DETAILS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "cached": (
        ("prompt_tokens_details", "input_tokens_details"),
        ("cached_tokens",),
    ),
    "cache_write": (
        ("prompt_tokens_details", "input_tokens_details"),
        ("cache_write_tokens", "cache_creation_tokens"),
    ),
    "reasoning": (
        ("completion_tokens_details", "output_tokens_details"),
        ("reasoning_tokens", "thinking_tokens"),
    ),
}
# Where a streamed event keeps what it is about.
_WITHIN: Final = ("message", "response")


def find_usage(output: object) -> dict[str, int]:
    """Return the token counts of a response, of the chunks of one, or of several.

    Args:
        output: Anything. Within one response a number that is said again replaces the former:
            chunks say it once, at their end, or say sums. Several responses are added up.

    Returns:
        Attributes by name, those that were said.
    """
    total: dict[str, int] = {}
    for said in _responses(output):
        for name, count in _attributes(said).items():
            total[name] = total.get(name, 0) + count
    return {name: count for name, count in total.items() if count <= MAX_COUNT}


def _responses(output: object) -> list[dict[str, int]]:
    """Gather what is said of each response; a chunk without an id belongs to the one before."""
    responses: list[dict[str, int]] = []
    last: str | None = None
    for holder, usage in _usages(output):
        response = read_name(holder, "id") or last
        if not responses or response != last:
            responses.append({})
        last = response
        responses[-1].update(_read_usage(usage))
    return responses


def _usages(output: object) -> Iterator[tuple[object, object]]:
    parts = output if isinstance(output, list | tuple) else (output,)
    for part in parts:
        if isinstance(part, str | bytes):
            continue
        for holder in (part, *(read(part, name) for name in _WITHIN)):
            usage = None if holder is None else read(holder, "usage")
            if usage is not None:
                yield holder, usage


def _read_usage(usage: object) -> dict[str, int]:
    said: dict[str, int] = {}
    for field, keys in _FIELDS.items():
        count = read_count(usage, *keys)
        if count is not None:
            said[field] = count
    for field, (holders, keys) in _DETAILS.items():
        for holder in holders:
            count = read_count(read(usage, holder), *keys)
            if count is not None:
                said[field] = count
    return said


def _attributes(said: Mapping[str, int]) -> dict[str, int]:
    read_tokens = said.get("cached", said.get("read"))
    written = said.get("cache_write", said.get("written"))
    taken = said.get("prompt")
    if taken is None and "input" in said:
        taken = said["input"] + said.get("read", 0) + said.get("written", 0)
    found = {
        names.GEN_AI_INPUT_TOKENS: taken,
        names.GEN_AI_OUTPUT_TOKENS: said.get("output"),
        names.GEN_AI_CACHE_READ_TOKENS: read_tokens,
        names.GEN_AI_CACHE_WRITE_TOKENS: written,
        names.GEN_AI_REASONING_TOKENS: said.get("reasoning"),
    }
    return {name: count for name, count in found.items() if count is not None}
