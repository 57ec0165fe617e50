"""Finds the provider's ID of a response in the output of a call.

Instrumentations that state no response ID often record the whole response. Its ID shows which spans
record the same call: docs/design/021-counted-once.md.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

# Maximum number of entries read from a list, such as the chunks of a streamed answer, and maximum
# depth of nested objects.
_ENTRIES: Final = 64
_DEPTH: Final = 6
# Members in which frameworks keep the provider's response, or LangChain the values of a message.
_HOLDERS: Final = ("raw", "response", "outputs", "kwargs")
# Members of Anthropic's answers that items of the same type in OpenAI's output do not have.
_OF_ANTHROPIC: Final = frozenset({"model", "stop_reason", "usage"})
# The ID of a LangChain message is that of the provider's response, or one made up by LangChain.
_OF_RESPONSE: Final = re.compile(r"chatcmpl-|cmpl-|resp_|gen-|msg_(?![0-9a-f]{32})")


def find_response_id(output: object) -> str:
    """Find the ID of the provider's response in the output of a call.

    The output can be the response itself, or a value that contains it.

    These responses are known: chat completions and responses of OpenAI and of everything compatible
    with it, as a whole or in chunks; messages of Anthropic; answers of Gemini; results and messages
    of LangChain. IDs of messages, tool calls and output items are no response IDs.

    Returns:
        The ID; empty if there is none, or if the output holds several responses.
    """
    found = set(_find_ids(output, _DEPTH))
    return found.pop() if len(found) == 1 else ""


def _find_ids(value: object, depth: int) -> Iterable[str]:
    if isinstance(value, list) and depth:
        for entry in value[:_ENTRIES]:
            yield from _find_ids(entry, depth - 1)
    if not isinstance(value, Mapping):
        return
    if response_id := _id_of_response(value) or _id_of_message(value):
        yield response_id
    elif isinstance(generations := value.get("generations"), list):
        about = value.get("llm_output")
        own = about.get("id") if isinstance(about, Mapping) else None
        yield from [own] if isinstance(own, str) and own else _find_ids(generations, depth)
    elif depth:
        holds_message = "text" in value or value.get("type") == "message_start"
        for name in (*_HOLDERS, "message") if holds_message else _HOLDERS:
            yield from _find_ids(value.get(name), depth - 1)


def _id_of_response(value: Mapping[str, object]) -> str:
    """Return the ID of a provider's response object; empty for any other object."""
    names: Sequence[str] = ("id",)
    if isinstance(value.get("candidates"), list):
        names = ("responseId", "response_id")
    elif value.get("type") == "message":
        if value.get("role") != "assistant" or _OF_ANTHROPIC.isdisjoint(value):
            return ""
    elif not isinstance(value.get("choices"), list) and value.get("object") != "response":
        return ""
    ids = (value.get(name) for name in names)
    return next((found for found in ids if isinstance(found, str)), "")


def _id_of_message(value: Mapping[str, object]) -> str:
    """Return the response ID in a message of LangChain; empty for any other object."""
    about = value.get("response_metadata")
    if not isinstance(about, Mapping):
        is_plain = value.get("type") == "ai" and "content" in value
        about = {} if is_plain else None
    if about is None:
        return ""
    own, spare = about.get("id"), value.get("id")
    if isinstance(own, str) and own:
        return own
    return spare if isinstance(spare, str) and _OF_RESPONSE.match(spare) else ""
