"""Reads token counts: whole usage objects, and whether input tokens include the cached ones.

Everywhere in otel-ml, the input tokens of a run include tokens that were read from a cache or
written to one. Some emitters leave them out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import find_member, to_token_count
from otel_ml_collector.price import SPELLINGS

# Fields of a usage object, each with the paths of its members. The first one with a count is used.
_MEMBERS: Final[Mapping[str, Sequence[str]]] = {
    "input_tokens": (
        *("input_tokens", "prompt_tokens", "inputTokens", "promptTokens", "prompt_token_count"),
        *("promptTokenCount", "input_token_count", "inputTokenCount"),
    ),
    "output_tokens": (
        *("output_tokens", "completion_tokens", "outputTokens", "completionTokens"),
        *("candidates_token_count", "candidatesTokenCount", "output_token_count"),
        "outputTokenCount",
    ),
    "total_tokens": (
        *("total", "total_tokens", "totalTokens", "total_token_count", "totalTokenCount"),
        "tokens",
    ),
    "cached_tokens": (
        *("input_tokens_details.cached_tokens", "prompt_tokens_details.cached_tokens"),
        *("input_token_details.cache_read", "cache_read_input_tokens", "cacheReadInputTokens"),
        *("cache_read_tokens", "cacheReadTokens", "cached_tokens", "cachedTokens"),
        *("cached_input_tokens", "cachedInputTokens", "input_cached_tokens", "input_cache_read"),
        *("input_cached", "prompt_cached_tokens", "prompt_cache_hit_tokens"),
        *("cached_content_token_count", "cachedContentTokenCount"),
    ),
    "cache_creation_tokens": (
        *("input_token_details.cache_creation", "cache_creation_input_tokens"),
        *("cacheCreationInputTokens", "cacheWriteInputTokens", "cache_write_tokens"),
        *("cache_creation_tokens", "cacheWriteTokens", "cacheCreationTokens"),
        *("input_cache_creation", "input_cache_write", "prompt_cache_creation_tokens"),
    ),
    "reasoning_tokens": (
        *("output_tokens_details.reasoning_tokens", "completion_tokens_details.reasoning_tokens"),
        *("output_token_details.reasoning", "reasoning_tokens", "reasoningTokens"),
        *("output_reasoning_tokens", "output_reasoning", "completion_reasoning_tokens"),
        *("thoughts_token_count", "thoughtsTokenCount"),
    ),
    "audio_input_tokens": (
        *("input_tokens_details.audio_tokens", "prompt_tokens_details.audio_tokens"),
        *("input_token_details.audio", "input_audio_tokens", "input_audio", "prompt_audio_tokens"),
    ),
    "audio_output_tokens": (
        *("output_tokens_details.audio_tokens", "completion_tokens_details.audio_tokens"),
        *("output_token_details.audio", "output_audio_tokens", "output_audio"),
        "completion_audio_tokens",
    ),
}
_PATHS: Final = {name: [path.split(".") for path in members] for name, members in _MEMBERS.items()}
# Members of Anthropic's own usage objects, in which `input_tokens` leaves out cached tokens.
_OF_ANTHROPIC: Final = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
# Providers whose input tokens include cached ones. If slightly more tokens are cached than input,
# the emitter made an error. If far more are, it subtracted the cached tokens.
_INCLUSIVE: Final = SPELLINGS.keys() - {"anthropic", "aws.bedrock"}
_FAR: Final = 1.5
_WRITTEN: Final = ("input_cache_creation", "input_cache_write", "input_ephemeral")
# Starts of the names of scopes whose input tokens leave out cached tokens.
EXCLUSIVE: Final = (
    "opentelemetry.instrumentation.botocore.bedrock",
    "opentelemetry.instrumentation.genai.bedrock",
    "opentelemetry.instrumentation.bedrock",  # Traceloop
    "openlit.instrumentation.anthropic",
    "openlit.instrumentation.bedrock",
    "langtrace_python_sdk.instrumentation.anthropic",
    "com.anthropic.claude_code",
)


def read_usage(document: object) -> dict[str, int]:
    """Read the token counts of a usage object, as providers and frameworks write it.

    In Langfuse's form (``input``, ``output``), ``input`` counts only the tokens that no other
    ``input_*`` counts. So all of them are added up, unless the stated total shows that ``input``
    already includes the others.

    Returns:
        Counts by field of a run, and ``total_tokens``, ``audio_input_tokens`` and
        ``audio_output_tokens``. Fields without a valid count are missing.
    """
    if not isinstance(document, Mapping):
        return {}
    counts = {
        name: count
        for name, paths in _PATHS.items()
        if (count := _first_count(document, paths)) is not None
    }
    written = [_count(document[name]) or 0 for name in document if name.startswith(_WRITTEN)]
    if any(written):
        counts["cache_creation_tokens"] = sum(written)
    given, answered = _count(document.get("input")), _count(document.get("output"))
    if given is not None or answered is not None:
        counts |= _join_parts(document, given, answered, counts)
    elif not _OF_ANTHROPIC.isdisjoint(document):
        counts |= _include_anthropic(counts)
    return counts


def _include_anthropic(counts: Mapping[str, int]) -> dict[str, int]:
    """Return Anthropic's input tokens with the cached ones, unless the total includes them."""
    given, total = counts.get("input_tokens"), counts.get("total_tokens")
    if given is None or total == given + counts.get("output_tokens", 0):
        return {}
    cached = counts.get("cached_tokens", 0) + counts.get("cache_creation_tokens", 0)
    return {"input_tokens": given + cached}


def _join_parts(
    usage: Mapping[str, object],
    given: int | None,
    answered: int | None,
    counts: Mapping[str, int],
) -> dict[str, int]:
    """Return the input and output tokens of a usage object in Langfuse's form, see `read_usage`."""
    total = counts.get("total_tokens")
    if total is not None and total == (given or 0) + (answered or 0):
        parts = {"input_tokens": given, "output_tokens": answered}
    else:
        separate = sum(_count(usage.get(name)) or 0 for name in _OF_ANTHROPIC)
        parts = {
            "input_tokens": _whole(usage, "input", given, separate),
            "output_tokens": _whole(usage, "output", answered, 0),
        }
    return {name: count for name, count in parts.items() if count is not None}


def _whole(usage: Mapping[str, object], side: str, count: int | None, separate: int) -> int | None:
    """Add the other counts of a side to its count, such as ``input_audio`` to ``input``."""
    if count is None:
        return None
    others = (_count(usage[name]) or 0 for name in usage if name.startswith(f"{side}_"))
    return count + sum(others) + separate


def _first_count(document: Mapping[str, object], paths: Iterable[Sequence[str]]) -> int | None:
    """Return the first count above zero; zero if there is no other count."""
    found = (_count(find_member(document, path)) for path in paths)
    counts = [count for count in found if count is not None]
    return next(filter(None, counts), 0 if counts else None)


def _count(value: object) -> int | None:
    return to_token_count(value) if isinstance(value, int | float | str) else None


def include_cached(run_columns: RunColumns, scope_name: str) -> None:
    """Add cached tokens to the input tokens of runs whose emitter leaves them out.

    Such emitters are recognized by their scope, or by their numbers: the total is the sum of input,
    cached and output tokens, or more tokens are cached than input. Counts that contradict each
    other are left unchanged.

    Args:
        run_columns: Fields of the runs.
        scope_name: Name of the instrumentation that sent the spans.
    """
    columns = run_columns.columns
    if "cached_tokens" not in columns and "cache_creation_tokens" not in columns:
        return
    is_exclusive = scope_name.startswith(EXCLUSIVE)
    given, cached, created, answered, total = map(
        run_columns.column,
        ("input_tokens", "cached_tokens", "cache_creation_tokens", "output_tokens", "total_tokens"),
    )
    providers = run_columns.column("provider")
    whole = [*given]
    for at, count in enumerate(given):
        cached_count = (cached[at] or 0) + (created[at] or 0)
        if count is None or not cached_count:
            continue
        outside = None if total[at] is None else total[at] - count - (answered[at] or 0)
        most = _FAR * count if providers[at] in _INCLUSIVE else count
        is_more = cached_count > most and (outside is None or providers[at] not in _INCLUSIVE)
        if is_exclusive or outside == cached_count or is_more:
            whole[at] = count + cached_count
    run_columns.fill("input_tokens", whole)
