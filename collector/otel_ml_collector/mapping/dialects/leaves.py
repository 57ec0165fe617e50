"""Finds the values in the attributes and events of a span whose library is unknown.

Each value becomes a leaf: the value and the words of its name. Libraries write one value as
``acme.usage.promptTokens``, as ``{"usage": {"prompt_tokens": 7}}`` in an attribute ``acme``, or as
an attribute of an event ``acme.usage``. Each of these becomes a leaf with the words ``acme usage
prompt tokens``. Messages (a role and a content) are kept whole.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, cast

from otel_ml.genai.messages import SPEAKERS
from otel_ml_collector.mapping.values import parse, read_structured
from otel_ml_collector.span import Event, Value

Words = tuple[str, ...]

_MAX_DEPTH: Final = 12
_MAX_NODES: Final = 2_000
_LONGEST_NAME: Final = 512
_PART_OF_NAME: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SEGMENTS: Final = re.compile(r"[./\[\]]+")
# Words that some libraries write without a separator, such as ``inputtokens``.
_ENDS: Final = ("tokens", "token", "messages", "count", "name", "id")
_STARTS: Final = frozenset(
    {"input", "output", "prompt", "completion", "total", "model", "response", "request", "cached"}
)
_ROLES: Final = {
    **dict.fromkeys(("user", "human", "enduser"), "user"),
    **dict.fromkeys(("assistant", "ai", "model", "bot", "agent", "chatbot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function"), "tool"),
}
_SHORT_ROLES: Final = frozenset({"user", "human", "assistant", "ai", "system"})
# Members of a message that state its speaker.
_SPEAKER: Final = ("role", "speaker", "author", "sender", "from")
_CONTENT: Final = (
    *("content", "parts", "contents", "blocks", "text", "message", "msg", "body", "utterance"),
    "value",
)
# Members of a content that hold its text or its parts.
_INNER: Final = ("parts", "text", "content", "message")
_CALLS: Final = ("tool_calls", "toolCalls", "function_call")
# Members that describe what a model may call or answer. They contain no data of this call.
_LEFT_OUT: Final = frozenset(
    {
        *("tools", "functions", "tool_definitions", "available_tools", "response_format"),
        *("json_schema", "logprobs"),
    }
)
# Attributes of events with a piece of a streamed answer.
_PIECES: Final = ("delta", "chunk", "token")
_PRINTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\b(?:None|True|False)\b|[()]")
_CONSTANTS: Final = {"None": "null", "True": "true", "False": "false", "(": "[", ")": "]"}
# Members of a message that are part of it. Others, such as the usage, are leaves of their own.
_OF_MESSAGE: Final = frozenset({*_SPEAKER, *_CONTENT, *_CALLS, "type", "name"})


@lru_cache(8_192)
def words_of(name: str) -> Words:
    """Return the words of a name in lower case: ``promptTokens.0`` is ``prompt tokens 0``."""
    words = [word.lower() for word in _PART_OF_NAME.findall(name[:_LONGEST_NAME])]
    return tuple(part for word in words for part in _split(word))


def _split(word: str) -> Iterable[str]:
    for end in _ENDS:
        if word.endswith(end) and word.removesuffix(end) in _STARTS:
            return word.removesuffix(end), end
    return (word,)


@dataclass(frozen=True, slots=True)
class NamedValue:
    """A value that was found in a span: a text, a number, or a list of texts.

    Attributes:
        words: The words of the attribute name and of the JSON keys that lead to the value.
        value: The value.
        source: Attribute or event that holds it.
    """

    words: Words
    value: Value
    source: str


@dataclass(frozen=True, slots=True)
class MessageList:
    """A list of chat messages that was found in a span, in order.

    Attributes:
        words: The words of the attribute name and JSON keys that lead to the list, without
            numbers: `llm`, `input` and `messages` for `llm.input.0.messages`.
        messages: The messages. Each has a known role, such as `user`.
        source: Attribute or event that holds them.
    """

    words: Words
    messages: list[dict[str, object]]
    source: str


@dataclass(slots=True)
class Leaves:
    """All values in the attributes and events of a span, with JSON parsed.

    Attributes:
        leaves: Texts, numbers and lists of texts.
        objects: JSON objects, for inputs and outputs that are not plain text.
        conversations: Lists of chat messages.
    """

    leaves: list[NamedValue] = field(default_factory=list)
    objects: list[NamedValue] = field(default_factory=list)
    conversations: list[MessageList] = field(default_factory=list)
    _left: int = _MAX_NODES

    def add(self, node: object, words: Words, source: str, depth: int = 0) -> None:
        """Add a value and everything inside it. Stops at a depth of 12 and at 2,000 values."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return
        if isinstance(node, str):
            opened = open_text(node)
            if isinstance(opened, Mapping | list):
                self.add(opened, words, source, depth + 1)
            elif node and node != "null":
                text = parse(node) if node[:1] == '"' else node
                self.leaves.append(
                    NamedValue(words, text if isinstance(text, str) else node, source)
                )
        elif isinstance(node, Mapping):
            self._add_object(node, words, source, depth)
        elif isinstance(node, list | tuple):
            self._add_list(node, words, source, depth)
        elif isinstance(node, int | float):
            self.leaves.append(NamedValue(words, node, source))

    def _add_object(
        self, node: Mapping[str, object], words: Words, source: str, depth: int
    ) -> None:
        if node and all(isinstance(key, str) and key.isdigit() for key in node):
            self._add_list([node[key] for key in sorted(node, key=int)], words, source, depth)
            return
        message = read_message(node)
        if message is not None:
            self._add_messages([message], words, source)
        else:
            self.objects.append(NamedValue(words, cast("Value", node), source))
        for key, item in node.items():
            if key not in _LEFT_OUT and (message is None or key not in _OF_MESSAGE):
                self.add(item, (*words, *words_of(str(key))), source, depth + 1)

    def _add_list(self, node: Sequence[object], words: Words, source: str, depth: int) -> None:
        if node and isinstance(node[0], int | float):  # a vector
            return
        messages = [message for item in node if (message := read_message(item)) is not None]
        if messages:
            self._add_messages(messages, words, source)
        elif node and all(isinstance(item, str) for item in node):
            is_json = any(str(item)[:1] in {"{", "["} for item in node)
            items = [read_structured(cast("str", item)) for item in node] if is_json else node
            if all(isinstance(item, str) for item in items):  # also if no item is valid JSON
                self.leaves.append(NamedValue(words, cast("Value", node), source))
            else:
                self._add_list(items, words, source, depth)
        else:
            for number, item in enumerate(node):
                self.add(item, (*words, str(number)), source, depth + 1)

    def _add_messages(self, messages: list[dict[str, object]], words: Words, source: str) -> None:
        """Add messages. Those under the same words, such as choices of an answer, are joined."""
        words = tuple(word for word in words if not word.isdigit())
        same = next(
            (one for one in self.conversations if (one.words, one.source) == (words, source)), None
        )
        if same is None:
            self.conversations.append(MessageList(words, messages, source))
        else:
            same.messages.extend(messages)


def open_leaves(attributes: Mapping[str, Value], events: Sequence[Event]) -> Leaves:
    """Return the values in the attributes and events of a span."""
    leaves = Leaves()
    for name, node in sorted(_unflatten(attributes).items(), key=_size):
        leaves.add(node, words_of(name), name)
    pieces: dict[Words, list[str]] = {}
    for event in events:
        piece = next((event.attributes[name] for name in _PIECES if name in event.attributes), None)
        if isinstance(piece, str):
            pieces.setdefault(words_of(event.name), []).append(piece)
            continue
        words, inner = words_of(event.name), _unflatten(event.attributes)
        message = read_message(inner) or _role_message(words, inner)
        if message is not None:
            leaves._add_messages([message], _without_speaker(words), "event")
        for name, node in inner.items():
            if message is None or name not in _OF_MESSAGE:
                leaves.add(node, (*words, *words_of(name)), event.name)
    for words, texts in pieces.items():
        leaves.leaves.append(NamedValue((*words, "output"), "".join(texts), "event"))
    return leaves


def _size(pair: tuple[str, object]) -> int:
    """Return the sort key that puts long JSON last, so that its limit cuts nothing else off."""
    node = pair[1]
    if isinstance(node, str):
        return len(node) if node[:1] in {"{", "["} else 0
    return 1 if isinstance(node, Mapping | list | tuple) else 0


def open_text(text: str) -> object:
    """Parse a text that holds a list or object, as JSON or as Python prints it.

    Other texts are returned unchanged.
    """
    opened = read_structured(text)
    if opened is text and text[:1] in {"{", "["} and "'" in text:
        return read_structured(_PRINTED.sub(_to_json, text))
    return opened


def _to_json(token: re.Match[str]) -> str:
    """Return a token of a printed Python value as JSON."""
    text = token[0]
    if text[0] not in {"'", '"'}:
        return _CONSTANTS[text]
    inner = text[1:-1].replace("\\'", "'").replace('\\"', '"').replace('"', '\\"')
    return f'"{inner}"'


def read_message(value: object) -> dict[str, object] | None:
    """Return a value as a chat message with a known role and content; None if it is no message.

    A message in the format of a known provider is returned unchanged, because
    `otel_ml.genai.messages` reads these formats later.
    """
    if isinstance(value, str):
        value = open_text(value)
    if not isinstance(value, Mapping):
        return _short_message(value)
    if len(value) == 1 and (message := _short_message(next(iter(value.items())))) is not None:
        return message
    speaker = next((value[name] for name in _SPEAKER if isinstance(value.get(name), str)), None)
    kind = value.get("type")
    if speaker is None and isinstance(kind, str) and kind in SPEAKERS:
        speaker = SPEAKERS[kind]
    role = role_of(speaker) if isinstance(speaker, str) else None
    if role is None:
        return None
    calls = {name: value[name] for name in _CALLS if value.get(name)}
    name = next((name for name in _CONTENT if name in value), None)
    if name is None and not calls:
        return None
    content = value[name] if name is not None else None
    if isinstance(content, str):
        content = read_structured(content) if content[:1] == "[" else content
    elif isinstance(content, Mapping):
        content = _plain(content)
    elif not isinstance(content, list | None):
        return None
    if name in {"parts", "content"} and value.get("role") == role:
        return {**value, name: content}
    return {"role": role, "content": _plain(content), **calls}


def _short_message(pair: object) -> dict[str, object] | None:
    """Return the message in a pair of role and text, such as ``["user", "Where?"]``."""
    if not isinstance(pair, list | tuple) or len(pair) != len(("role", "text")):
        return None
    speaker, text = pair
    if isinstance(speaker, str) and isinstance(text, str) and speaker.lower() in _SHORT_ROLES:
        return {"role": role_of(speaker), "content": text}
    return None


def role_of(text: str) -> str | None:
    """Return a known role for its spellings, such as ``MessageRole.USER``; None for others."""
    return _ROLES.get(text.rpartition(".")[2].strip().lower())


def _plain(content: object) -> object:
    """Join the blocks of a content to one text, if all blocks are texts."""
    if isinstance(content, Mapping):
        inner = next((content[name] for name in _INNER if name in content), content)
        content = read_structured(inner) if isinstance(inner, str) else inner
    if not isinstance(content, list):
        return content
    texts = [block.get("text") if isinstance(block, Mapping) else block for block in content]
    return "\n".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else content


def _role_message(words: Words, attributes: Mapping[str, object]) -> dict[str, object] | None:
    """Return the message of an event whose name states the speaker, such as ``user_message``."""
    role = next((_ROLES[word] for word in words if word in _ROLES and word != "model"), None)
    if role is None or not {"message", "msg", "content", "text"} & {*words, *attributes}:
        return None
    content = next((attributes[name] for name in _CONTENT if attributes.get(name)), None)
    return {"role": role, "content": content} if isinstance(content, str | list) else None


def _without_speaker(words: Words) -> Words:
    return tuple(word for word in words if word not in _ROLES)


class _Branch(dict[str, object]):
    """An object built from attributes with numbered names, to tell it from recorded objects."""


def _unflatten(attributes: Mapping[str, Value]) -> Mapping[str, object]:
    """Join attributes with numbered names, such as ``messages.0.role``, to objects."""
    tree, plain = _Branch(), dict[str, object]()
    for name, value in attributes.items():
        segments = [part for part in _SEGMENTS.split(name) if part]
        number = next((at for at, part in enumerate(segments) if part.isdigit()), 0)
        if number and len(segments) <= _MAX_DEPTH:
            _put(tree, [".".join(segments[:number]), *segments[number:]], value)
        else:
            plain[name] = value
    return {**plain, **tree}


def _put(tree: _Branch, path: Sequence[str], value: Value) -> None:
    for part in path[:-1]:
        inner = tree.get(part)
        if not isinstance(inner, _Branch):
            inner = tree[part] = _Branch()
        tree = inner
    if not isinstance(tree.get(path[-1]), _Branch):
        tree[path[-1]] = value
