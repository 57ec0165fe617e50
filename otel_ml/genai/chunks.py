"""What the chunks of a stream amount to: the response that the same call gives in one piece.

Chunks may be text, chunks of OpenAI's chat completions (litellm makes the same), events of its
responses, or events of Anthropic's messages.
"""

from collections.abc import Sequence
from typing import Any, Final

from otel_ml.genai.foreign import read, read_count, read_items, read_name, read_text

# What a delta adds to a block of Anthropic's: the field of both.
_BLOCK_FIELDS: Final = ("text", "thinking")


def join_chunks(chunks: Sequence[object]) -> object:
    """Return the whole response; of chunks that are none of these, the chunks as they are."""
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(map(str, chunks))
    events = [(read_name(chunk, "type") or "", chunk) for chunk in chunks]
    if any(kind == "message_start" for kind, _ in events):
        return _join_blocks(events)
    if any(kind.startswith("response.") for kind, _ in events):
        return _join_events(events)
    if any(read_items(chunk, "choices") for chunk in chunks):
        return _join_choices(chunks)
    return chunks


def _join_choices(chunks: Sequence[object]) -> dict[str, Any]:
    choices: dict[int, _Choice] = {}
    response: dict[str, Any] = {}
    for chunk in chunks:
        for name in ("id", "model"):
            response[name] = response.get(name) or read_name(chunk, name)
        for choice in read_items(chunk, "choices"):
            at = read_count(choice, "index") or 0
            choices.setdefault(at, _Choice()).add(choice)
    return {**response, "choices": [choices[at].whole() for at in sorted(choices)]}


class _Choice:
    """One choice of a chat completion, as its deltas come."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None

    def add(self, choice: object) -> None:
        """Add what one chunk says."""
        self._reason = read_name(choice, "finish_reason") or self._reason
        delta = read(choice, "delta")
        # Chunks of plain completions have their text beside no delta.
        for name, said in (
            ("content", read_text(delta, "content") or read_text(choice, "text")),
            ("reasoning_content", read_text(delta, "reasoning_content")),
            ("refusal", read_text(delta, "refusal")),
        ):
            if said is not None:
                self._texts.setdefault(name, []).append(said)
        for call in read_items(delta, "tool_calls"):
            whole = self._calls.setdefault(read_count(call, "index") or 0, {"arguments": []})
            function = read(call, "function")
            whole["id"] = read_name(call, "id") or whole.get("id")
            whole["name"] = read_name(function, "name") or whole.get("name")
            whole["arguments"].append(read_text(function, "arguments") or "")

    def whole(self) -> dict[str, Any]:
        """Return the choice as it comes in one piece."""
        message: dict[str, Any] = {name: "".join(said) for name, said in self._texts.items()}
        message["tool_calls"] = [
            {
                "id": call["id"],
                "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
            }
            for call in self._calls.values()
        ]
        return {"message": {"role": "assistant", **message}, "finish_reason": self._reason}


def _join_blocks(events: Sequence[tuple[str, object]]) -> dict[str, Any]:
    """Join the events of one message of Anthropic's."""
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[int, dict[str, Any]] = {}
    for kind, event in events:
        at = read_count(event, "index") or 0
        if kind == "message_start":
            begun = read(event, "message")
            message |= {"id": read_name(begun, "id"), "model": read_name(begun, "model")}
        elif kind == "content_block_start":
            begun = read(event, "content_block")
            blocks[at] = {name: read(begun, name) for name in ("type", "id", "name")}
        elif kind == "content_block_delta":
            _add_delta(blocks.setdefault(at, {"type": "text"}), read(event, "delta"))
        elif kind == "message_delta":
            message["stop_reason"] = read_name(read(event, "delta"), "stop_reason")
    for block in blocks.values():
        for name in block.keys() & {*_BLOCK_FIELDS, "input"}:
            block[name] = "".join(block[name])
    return {**message, "content": [blocks[at] for at in sorted(blocks)]}


def _add_delta(block: dict[str, Any], delta: object) -> None:
    for name in _BLOCK_FIELDS:
        said = read_text(delta, name)
        if said is not None:
            block.setdefault(name, []).append(said)
    arguments = read_text(delta, "partial_json")
    if arguments is not None:
        block.setdefault("input", []).append(arguments)


def _join_events(events: Sequence[tuple[str, object]]) -> object:
    """Take the response that the last event holds, or what was said until then."""
    for _, event in reversed(events):
        response = read(event, "response")
        if read_items(response, "output"):
            return response
    said = [
        read_text(event, "delta") or ""
        for kind, event in events
        if kind == "response.output_text.delta"
    ]
    return "".join(said)
