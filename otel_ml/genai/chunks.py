"""What the chunks of a stream amount to: the response that the same call gives in one piece.

Chunks may be text, chunks of OpenAI's chat completions (litellm makes the same), events of its
responses, events of Anthropic's messages, or LangChain's chunks of a message.
"""

from collections.abc import Sequence
from typing import Any, Final

from otel_ml.genai.foreign import read, read_count, read_items, read_name, read_text

# What a delta adds to a block of Anthropic's: the field of both.
_BLOCK_FIELDS: Final = ("text", "thinking")
_LANGCHAIN: Final = "AIMessageChunk"


def is_chunk(value: object) -> bool:
    """Tell what may be a chunk where nobody said that a model is called; others are not read."""
    return isinstance(value, dict) or read(type(value), "model_dump") is not None


def join_chunks(chunks: Sequence[object]) -> object:
    """Return the whole response; of chunks that are none of these, the chunks as they are."""
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(map(str, chunks))
    events = [(read_name(chunk, "type") or "", chunk) for chunk in chunks]
    if any(kind == "message_start" for kind, _ in events):
        return _join_blocks(events)
    if any(kind.startswith("response.") for kind, _ in events):
        return _join_events(events)
    if any(kind == _LANGCHAIN for kind, _ in events):
        return _join_pieces(chunks)
    if any(_is_choice(choice) for chunk in chunks for choice in read_items(chunk, "choices")):
        return _join_choices(chunks)
    return chunks


def _is_choice(choice: object) -> bool:
    """Tell a part of a completion from anything else that is called a choice."""
    return read(choice, "delta") is not None or isinstance(read(choice, "text"), str)


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
        calls = [
            {
                "id": call["id"],
                "function": {"name": call["name"], "arguments": "".join(call["arguments"])},
            }
            for call in self._calls.values()
        ]
        message |= {"tool_calls": calls} if calls else {}
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


def _join_pieces(chunks: Sequence[object]) -> dict[str, Any]:
    """Join LangChain's chunks of one message: texts, blocks by their place, calls of tools."""
    message: dict[str, Any] = {"role": "assistant"}
    blocks: dict[object, dict[str, Any]] = {}
    calls: dict[int, dict[str, Any]] = {}
    texts: list[str] = []
    for chunk in chunks:
        about = read(chunk, "response_metadata")
        for name, said in (
            ("id", read_name(chunk, "id")),
            ("model", read_name(about, "model_name", "model")),
            ("stop_reason", read_name(about, "finish_reason", "stop_reason")),
        ):
            message |= {} if said is None else {name: said}
        texts.append(read_text(chunk, "content") or "")
        for block in read_items(chunk, "content"):
            kind = read_name(block, "type") or "text"
            if kind in _BLOCK_FIELDS:
                _add_delta(blocks.setdefault((read(block, "index"), kind), {"type": kind}), block)
        for call in read_items(chunk, "tool_call_chunks"):
            whole = calls.setdefault(read_count(call, "index") or 0, {"arguments": []})
            whole["id"] = read_name(call, "id") or whole.get("id")
            whole["name"] = read_name(call, "name") or whole.get("name")
            whole["arguments"].append(read_text(call, "args") or "")
    for found in (*blocks.values(), *calls.values()):
        for name in found.keys() & {*_BLOCK_FIELDS, "arguments"}:
            found[name] = "".join(found[name])
    content = [{"type": "text", "text": "".join(texts)}] if any(texts) else []
    message["content"] = "".join(texts) if not blocks else [*blocks.values(), *content]
    return message | ({"tool_calls": [*calls.values()]} if calls else {})
