"""Splits the Python language reference, which ships with CPython, into passages."""

import re
from collections.abc import Iterator
from pydoc_data.topics import topics
from typing import Final, TypedDict

_MIN_WORDS: Final = 8
_SENTENCE_END: Final = re.compile(r'(?<=[.:!?])\s+(?=[A-Z“"*])')


class Passage(TypedDict):
    """A paragraph and the topic of the reference that contains it."""

    topic: str
    text: str


def read_passages() -> list[Passage]:
    """Return the paragraphs of all topics. A repeated paragraph belongs to the shortest topic."""
    owners: dict[str, str] = {}
    for topic in sorted(topics, key=lambda name: len(topics[name])):
        for paragraph in _paragraphs(topics[topic]):
            owners.setdefault(paragraph, topic)
    return [{"topic": topic, "text": text} for text, topic in owners.items()]


def title(topic: str) -> str:
    """Return a topic's heading, such as ``The "with" statement``."""
    return topics[topic].strip().partition("\n")[0]


def with_heading(passage: Passage) -> str:
    """Return the searchable text of a passage: its topic's heading and its own text."""
    return f"{title(passage['topic'])} {passage['text']}"


def sentences(text: str) -> list[str]:
    """Split a passage into one or more sentences."""
    return _SENTENCE_END.split(text)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a topic that are prose, without headings, grammar and code."""
    for block in text.split("\n\n"):
        paragraph = " ".join(block.split())
        is_prose = paragraph.endswith((".", ":")) and "::=" not in paragraph
        if is_prose and len(paragraph.split()) >= _MIN_WORDS:
            yield paragraph
