"""A conversation as the page of a run shows it: from the system prompt down to the answer.

Messages are read by `otel_ml.genai.messages`, Markdown by markdown-it, which writes no HTML of the
text's own. Nothing that a text links is loaded.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from otel_ml.genai.messages import Message, Part, find_system, read_message, read_parts, unwrap
from otel_ml_collector.mapping.chat import find_messages, line_in, line_of_error, text_of_part
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web import view
from otel_ml_collector.web.media import IMAGE_CHARS, find_picture, read_picture
from otel_ml_collector.web.payload import Raw, alone, write_raw
from otel_ml_collector.wording import visible

MESSAGES: Final = 50
# The results of the last calls can be in this many messages after a part.
_AHEAD: Final = 20
_TEXT_CHARS: Final = 4_000
_ANSWER_CHARS: Final = 20_000
# Limits of the special characters in a text that is rendered as Markdown, and on a page: the time
# of markdown-it can grow with their square, and is about 60 ms for 1,500.
_MARKS: Final = re.compile(r"[][!*_<>&~|`#]")
_TEXT_MARKS: Final = 1_500
_PAGE_MARKS: Final = 4_000
_NESTING: Final = 20
_LINKED: Final = ("https://", "http://", "mailto:")
_SYSTEM: Final = frozenset({"system", "developer"})
_TRIES: Final = 10
_SHOWN_IMAGES: Final = 20  # on the page of a session
_EMPTY: Final[tuple[object, ...]] = (None, "", {}, [])
_SENT_AS: Final = ("image_url", "input_image", "image", "source", "url", "data", "content")


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - markdown-it's own name
        """Return whether an address is a link; other addresses stay text."""
        return url.lower().startswith(_LINKED)


def _make_markdown() -> MarkdownIt:
    markdown = _Markdown("commonmark", {"html": False, "breaks": True, "maxNesting": _NESTING})
    markdown.enable(["table", "strikethrough"])
    markdown.add_render_rule("image", _render_image)
    markdown.add_render_rule("link_open", _render_link)
    markdown.add_render_rule("heading_open", lambda *_: "<p><strong>")
    markdown.add_render_rule("heading_close", lambda *_: "</strong></p>\n")
    return markdown


def _render_image(
    _: RendererHTML, tokens: Sequence[Token], at: int, _options: OptionsDict, _env: EnvType
) -> str:
    return f"[image: {escapeHtml(tokens[at].content)}]"


def _render_link(
    renderer: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    tokens[at].attrSet("rel", "noopener noreferrer nofollow")
    tokens[at].attrSet("target", "_blank")
    return renderer.renderToken(tokens, at, options, env)


_MARKDOWN: Final = _make_markdown()


def render_markdown(text: str) -> Markup:
    """Render Markdown as HTML. HTML in the text stays text."""
    html = _MARKDOWN.render(visible(text))
    return Markup(visible(html))  # noqa: S704 - an entity can be an invisible character


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image or file that was sent with a message.

    Attributes:
        caption: Its type and size.
        address: A data URL to show it; None if it is not shown.
    """

    caption: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A turn or event of a conversation.

    Attributes:
        kind: system, user, assistant, thought, tool, error or final, which is the answer.
        title: The speaker, or the kind of event.
        text: The start of the original text. For a tool call, the start of its arguments.
        chars: Number of characters of the whole text.
        html: The text rendered as HTML, for example from Markdown; None for plain text.
        name: Name of the called tool; empty for other kinds.
        given: One-line preview of the input of the tool, as in lists of runs.
        result: The output of the tool; None if unknown.
        run: The run of the tool call, if it was recorded.
        note: A short note next to the entry.
        error: Error message; empty if the entry did not fail.
        raw: The value to show as JSON: an answer that is not text, or inputs that are not messages.
    """

    kind: str
    title: str
    text: str = ""
    chars: int = 0
    html: Markup | None = None
    name: str = ""
    given: str = ""
    result: str | None = None
    result_chars: int = 0
    run: RunSummary | None = None
    is_refused: bool = False
    note: str = ""
    error: str = ""
    attachments: Sequence[Attachment] = ()
    raw: Raw | None = None

    @property
    def head(self) -> str:
        """The first line, shown when it is folded."""
        return self.text.strip().partition("\n")[0][:300]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A part of the conversation in a run: at most 50 input messages, in order.

    The last part also has the answer of the run.

    Attributes:
        entries: The turns and events of this part, in the order of the messages.
        first: Position of the first message of this part among all input messages, from 0.
        end: Position after the last message of this part.
        total: Number of input messages of the run.
        answers: Number of its output messages. An output that is not a message counts as one.
    """

    entries: Sequence[Entry]
    first: int
    end: int
    total: int
    answers: int

    @property
    def earlier(self) -> int:
        """The end of the part before this; 0 for the first."""
        return self.first

    @property
    def later(self) -> int:
        """The end of the part after this; 0 for the last."""
        return min(self.end + MESSAGES, self.total) if self.end < self.total else 0


@dataclass(frozen=True, slots=True)
class InheritedWords:
    """The question and answer of a call that other runs of its trace recorded.

    Attributes:
        question: One line of text; empty if the call has its own question.
        asked_in: The run around the call that recorded the question.
        tools: The tool runs directly inside the call, if it answered with these tool calls.
    """

    question: str = ""
    asked_in: RunSummary | None = None
    tools: Sequence[RunSummary] = ()


def find_inherited_words(run: Run, trace: Sequence[RunSummary]) -> InheritedWords:
    """Find the runs whose question or tool calls a call shows as its own.

    Args:
        run: A run with its inputs and outputs.
        trace: The runs of its trace, with the previews that lists show.
    """
    trace = [item for item in trace if item.project == run.project]
    spans = {item.run_id: item for item in trace}
    shown = spans.get(run.run_id)
    # Without a scope, the payload has expired, and the previews are those of the run itself.
    if shown is None or run.kind != "model" or run.record_of or not run.scope:
        return InheritedWords()
    above = spans.get(run.parent_run_id or "")
    for _ in spans:  # ends, even if the parents form a circle
        if above is None or above.inputs == shown.inputs:
            break
        above = spans.get(above.parent_run_id or "")
    is_asked = run.inputs in _EMPTY and above is not None and shown.inputs != ""
    is_answered = run.outputs not in _EMPTY or run.outcome != "ok" or not shown.outputs
    below = (item for item in trace if item.parent_run_id == run.run_id and item.kind == "tool")
    return InheritedWords(
        shown.inputs if is_asked else "",
        above if is_asked else None,
        () if is_answered else [*below],
    )


def find_conversation(run: Run, trace: Sequence[RunSummary], until: int = 0) -> Conversation | None:
    """Read the input and output of a run as a conversation, and return a part of it.

    A part has at most 50 input messages. If the run is not a conversation, the result is None.

    Args:
        run: A model call, or a run that calls models.
        trace: The runs of its trace, oldest first.
        until: The part ends with this input message, counted from 1. If 0, it ends with the last
            input message.
    """
    asked, answered = find_messages(run.inputs), find_messages(run.outputs)
    is_conversation = run.attributes.get("gen_ai.operation.name") in (
        "chat",
        "text_completion",
        "generate_content",
        "invoke_agent",
    )
    if not asked and not answered and not (is_conversation and _is_text(run.inputs)):
        return None
    if not asked and isinstance(text := alone(run.inputs), str) and text:
        asked = [{"role": "user", "content": text}]
    answered = _leave_out(asked, answered)
    end = min(until or len(asked), len(asked))
    first = max(end - MESSAGES, 0)
    reader = _Entries(asked[end : end + _AHEAD])
    if first == 0 and isinstance(run.inputs, dict):
        for part in find_system(run.inputs):
            reader.add(_of_text("system", "system", text_of_part(part)))
    words = find_inherited_words(run, trace)
    if words.question:
        entry = _of_text("user", "user", words.question)
        reader.add(replace(entry, run=words.asked_in))
    elif not asked and run.inputs not in _EMPTY:
        reader.add(Entry("other", "input", raw=write_raw(run.inputs)))
    elif not asked and run.params not in _EMPTY:
        reader.add(Entry("other", "parameters", raw=write_raw(run.params)))
    for item in asked[first:end]:
        reader.read(item)
    if end == len(asked):
        for run_before in _find_tries(run, trace):
            reader.add(_of_try(run_before))
        reader.answer(run, answered)
        for tool in words.tools:
            reader.add(_of_tool(tool))
    entries = _render(_link(reader.entries, run, trace))
    answers = len(answered) or int(run.outputs not in _EMPTY or bool(words.tools))
    return Conversation(entries, first, end, len(asked), answers)


def find_answers(runs: Iterable[Run]) -> dict[str, Entry]:
    """Read the answers of some runs as text, by run ID. The last ones are rendered as Markdown."""
    entries: dict[str, Entry] = {}
    for run in runs:
        reader = _Entries(())
        reader.answer(run, _leave_out(find_messages(run.inputs), find_messages(run.outputs)))
        for entry in reader.entries:
            if entry.kind == "final" and (entry.text or entry.attachments):
                entries[run.run_id] = entry
    return dict(zip(entries, _render([*entries.values()]), strict=True))


def find_sent(runs: Iterable[Run]) -> dict[str, Sequence[Attachment]]:
    """Find the images and files in the last message of the user, by run ID.

    Of a run without messages, they are the images among its inputs. At most 20 images are shown. Of
    the others, only the captions are returned.
    """
    sent: dict[str, Sequence[Attachment]] = {}
    left = _SHOWN_IMAGES
    for run in runs:
        reader = _Entries(())
        for item in reversed(find_messages(run.inputs)):
            message = read_message(item)
            if message is not None and message["role"] == "user":
                reader.read(item)
                break
        attachments = [item for entry in reader.entries for item in entry.attachments]
        attachments = attachments or _list_images(run.inputs)
        if attachments:
            sent[run.run_id] = [
                item if place < left else replace(item, address=None)
                for place, item in enumerate(attachments)
            ]
            left -= len(attachments)
    return sent


def _list_images(value: JsonValue) -> list[Attachment]:
    """List the images among the first values of an object, or the only one."""
    values = [*value.values()] if isinstance(value, Mapping) else [value]
    pictures = map(find_picture, [value, *values][: _SHOWN_IMAGES + 1])
    return [Attachment(item.about, item.address) for item in pictures if item and item.address]


def _is_text(value: JsonValue) -> bool:
    return isinstance(alone(value), str)


def _leave_out(asked: Sequence[object], answered: Sequence[object]) -> Sequence[object]:
    """Leave the input's messages out of the output, because a graph returns all its messages."""
    if not 0 < len(asked) < len(answered):
        return answered
    pairs = zip(asked, answered, strict=False)
    return answered[len(asked) :] if all(_is_same(*pair) for pair in pairs) else answered


def _is_same(value: object, other: object) -> bool:
    if value == other:
        return True
    first, second = read_message(value), read_message(other)
    return first is not None and second is not None and _key(first) == _key(second)


def _key(message: Message) -> tuple[str, list[str]]:
    return message["role"], list(map(text_of_part, message["parts"]))


@dataclass(slots=True)
class _Entries:
    """Reads messages into entries, each call with its result.

    Attributes:
        behind: Messages after the last one shown, for the results of calls.
    """

    behind: Sequence[object]
    entries: list[Entry] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Add an entry that is not part of a message."""
        self.entries.append(entry)

    def read(self, item: object, *, is_answer: bool = False) -> None:
        """Add the entries of a message."""
        message = read_message(item)
        if message is None:
            return
        role = message["role"]
        texts: list[str] = []
        attachments: list[Attachment] = []
        sent = iter(_find_media(item))
        has_calls = any(part.get("type") == "tool_call" for part in message["parts"])
        for part in message["parts"]:
            kind = part.get("type")
            if kind == "reasoning":
                self.add(_of_text("thought", "reasoning of the model", text_of_part(part)))
            elif kind == "tool_call_response" or role == "tool":
                self._add_result(part)
            elif _is_media(part):
                attachments.append(_attach(part, next(sent, part)))
            elif kind != "tool_call" and ((text := text_of_part(part)) or not has_calls):
                texts.append(text)
        if texts or attachments or not message["parts"]:
            entry = _of_text(_kind_of(role, is_answer=is_answer), role, "\n".join(texts))
            is_refused = _is_refused(item)
            self.add(replace(entry, attachments=attachments, is_refused=is_refused))
        for part in message["parts"]:
            if part.get("type") == "tool_call" and role != "tool":
                self._add_call(part)

    def answer(self, run: Run, answered: Sequence[object]) -> None:
        """Add the output of a run, or its error."""
        before = len(self.entries)
        has_failed = run.outcome == "error"
        lasting = len(answered)
        while lasting and _is_answer(answered[lasting - 1]):
            lasting -= 1
        for place, item in enumerate(answered[-MESSAGES:], max(len(answered) - MESSAGES, 0)):
            self.read(item, is_answer=not has_failed and place >= lasting)
        answer = alone(run.outputs)
        if not answered and answer not in _EMPTY:
            images = _list_images(answer)
            text = answer if isinstance(answer, str) and not images else ""
            raw = None if images or isinstance(answer, str) else write_raw(run.outputs)
            kind = "error" if has_failed else "final"
            self.add(replace(_of_text(kind, "answer", text), raw=raw, attachments=images))
        if has_failed:
            error = line_of_error(run.error_type, run.error_message[:_TEXT_CHARS]) or "error"
            if answered or len(self.entries) == before:
                self.add(Entry("error", "answer"))
            self.entries[-1] = replace(self.entries[-1], error=error)
        elif run.outcome == "running":
            self.add(Entry("assistant", "not yet", note="running"))
        elif len(self.entries) > before and (reason := finish_reason(run, answered)):
            self.entries[-1] = replace(self.entries[-1], note=f"finish reason {reason}")

    def _add_call(self, part: Part) -> None:
        call = str(part.get("id") or "")
        if call:
            self.calls[call] = len(self.entries)
        written = text_of_part(part)
        name = str(part.get("name") or "")
        text = written.removeprefix(name).removeprefix("(").removesuffix(")")
        given = line_in(part.get("arguments"), "tool")
        cut = text[:_TEXT_CHARS]
        self.add(Entry("tool", "tool call", cut, len(text), name=name, given=given))
        for item in self.behind if call else ():
            message = read_message(item)
            for result in message["parts"] if message else ():
                if result.get("type") == "tool_call_response" and result.get("id") == call:
                    self._add_result(result)

    def _add_result(self, part: Part) -> None:
        """Put a result under its call; a result without a call is an entry of its own."""
        text = text_of_part(part)
        place = self.calls.get(str(part.get("id") or ""))
        if place is None:
            self.add(Entry("tool", "result of a tool"))
            place = len(self.entries) - 1
        cut = text[:_TEXT_CHARS]
        self.entries[place] = replace(self.entries[place], result=cut, result_chars=len(text))


def _kind_of(role: str, *, is_answer: bool) -> str:
    if is_answer:
        return "final"
    if role in _SYSTEM:
        return "system"
    return role if role in {"user", "assistant"} else "other"


def _is_answer(item: object) -> bool:
    """Return whether a message is an answer: not a call, and not of user, tool or system."""
    message = read_message(item)
    if message is None or message["role"] in {"user", "tool", *_SYSTEM}:
        return False
    return all(part.get("type") != "tool_call" for part in message["parts"])


def _of_text(kind: str, title: str, text: str) -> Entry:
    most = _ANSWER_CHARS if kind == "final" else _TEXT_CHARS
    title = "answer" if kind == "final" else title
    return Entry(kind, title, text[:most], len(text))


def _of_tool(run: RunSummary) -> Entry:
    name = run.model or run.name
    return Entry("tool", "tool call", run.inputs, len(run.inputs), name=name, run=run)


def _of_try(run: RunSummary) -> Entry:
    error = line_of_error(run.error_type, run.error_message[:_TEXT_CHARS]) or "error"
    text = run.outputs or ""
    if text.endswith(error):  # the preview; in older stores it has the class of the error
        text = ""
    return Entry("error", "earlier attempt", text, len(text), run=run, error=error)


def _find_tries(run: Run, trace: Sequence[RunSummary]) -> list[RunSummary]:
    """Find the failed attempts: earlier runs with the same parent, name and input."""
    if run.parent_run_id is None:
        return []
    this = next((item for item in trace if item.run_id == run.run_id), None)
    return [
        item
        for item in trace
        if this is not None
        and item.outcome == "error"
        and item.start_ns < run.start_ns
        and (item.parent_run_id, item.name, item.inputs)
        == (this.parent_run_id, this.name, this.inputs)
    ][-_TRIES:]


def finish_reason(run: Run, answered: Sequence[object] = ()) -> str:
    """Return why a model stopped; empty if unknown."""
    if run.finish_reason:
        return run.finish_reason[:80]
    last = answered[-1] if answered else None
    reason = last.get("finish_reason") or last.get("stop_reason") if isinstance(last, dict) else ""
    return str(reason or "")[:80]


def _is_refused(item: object) -> bool:
    item = unwrap(item)
    if not isinstance(item, dict):
        return False
    if item.get("refusal") or item.get("finish_reason") in ("refusal", "content_filter"):
        return True
    content = item.get("content") or item.get("parts")
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


def _attach(part: Part, sent: Mapping[str, Any]) -> Attachment:
    """Describe an attachment of a message, with its data if it is recorded."""
    address = _find_data(sent)
    what = str(part.get("mime_type") or part.get("modality") or "file")[:80]
    if not address:
        uri, size = part.get("uri") or part.get("file_id"), part.get("byte_size")
        caption = str(uri)[:300] if uri else view.size(size) if isinstance(size, int) else ""
        return Attachment(", ".join(filter(None, [what, caption, "not stored"])))
    picture, size = read_picture(address), len(address.partition(",")[2]) * 3 // 4
    if picture is None or picture.address is None:
        why = f"not shown: {picture.why}" if picture else ""
        return Attachment(", ".join(filter(None, [what, view.size(size), why])))
    sides = f"{picture.width:,} \u00d7 {picture.height:,}"
    return Attachment(f"{what}, {sides}, {view.size(size)}", picture.address)


def _find_media(item: object) -> list[Mapping[str, Any]]:
    """Return the parts of a message that are neither text nor calls, as they were sent."""
    item = unwrap(item)
    content = (item.get("content") or item.get("parts")) if isinstance(item, dict) else None
    return [
        item
        for item in (content if isinstance(content, list) else ())
        if isinstance(item, dict) and any(map(_is_media, read_parts([item])))
    ]


def _is_media(part: Part) -> bool:
    return part.get("type") in ("blob", "uri", "file")


def _find_data(part: Mapping[str, Any]) -> str:
    """Return the data of a part as a data URL; empty if it has none."""
    held: Any = part
    for _ in range(3):
        kind = held.get("mime_type") or held.get("media_type")
        held = next((held[name] for name in _SENT_AS if held.get(name)), None)
        if isinstance(held, str):
            if held.startswith("data:"):
                return held
            is_bytes = isinstance(kind, str) and not held.startswith(_LINKED)
            return f"data:{kind};base64,{held}" if is_bytes else ""
        if not isinstance(held, dict):
            return ""
    return ""


def _link(entries: Sequence[Entry], run: Run, trace: Sequence[RunSummary]) -> list[Entry]:
    """Link calls to the runs of their tools: by input, else by order."""
    linked = list(entries)
    runs: defaultdict[str, list[RunSummary]] = defaultdict(list)
    for item in trace:
        if item.kind in {"tool", "retriever"} and item.run_id != run.run_id:
            runs[item.model or item.name].append(item)
    for name, left in runs.items():
        calls = [at for at, item in enumerate(linked) if item.kind == "tool" and item.name == name]
        for at in calls:
            same = next((item for item in left if item.inputs == linked[at].given), None)
            if same is not None:
                left.remove(same)
                linked[at] = replace(linked[at], run=same)
        others = [at for at in calls if linked[at].run is None]
        if len(others) == len(left):
            for at, item in zip(others, left, strict=True):
                linked[at] = replace(linked[at], run=item)
    return list(map(_fill_result, linked))


def _fill_result(entry: Entry) -> Entry:
    """Take the result of a call from the run of its tool if no message has it."""
    if entry.kind != "tool" or entry.run is None or entry.result is not None:
        return entry
    result = entry.run.outputs
    return replace(entry, result=result, result_chars=len(result)) if result else entry


def _render(entries: Sequence[Entry]) -> list[Entry]:
    """Render Markdown and images, the last entries first: a long page has a limit."""
    marks_left, pixels_left = _PAGE_MARKS, IMAGE_CHARS
    items: list[Entry] = []
    for entry in reversed(entries):
        attachments: list[Attachment] = []
        for attachment in entry.attachments:
            pixels_left -= len(attachment.address or "")
            is_drawn = pixels_left >= 0
            attachments.append(
                attachment if is_drawn else Attachment(f"{attachment.caption}, not shown")
            )
        html = None
        if entry.kind in {"user", "assistant", "final"} and entry.text:
            marks = sum(1 for _ in _MARKS.finditer(entry.text))
            if marks <= min(marks_left, _TEXT_MARKS):
                marks_left -= marks
                html = render_markdown(entry.text)
        items.append(replace(entry, html=html, attachments=attachments))
    return items[::-1]
