"""Retrieved documents as ranked passages, as retrievers and tools of many libraries return them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.store.reader import JsonValue

_PASSAGES: Final = 10
_PASSAGE_CHARS: Final = 300
_TEXT_FIELDS: Final = (
    "content",
    "text",
    "page_content",
    "document",
    "snippet",
    "chunk",
    "body",
    "title",
)
_SCORE_FIELDS: Final = ("score", "relevance_score", "relevance", "similarity", "distance")
_DOCUMENT_LISTS: Final = ("documents", "results", "passages", "matches", "hits", "chunks", "data")
_INNER: Final = ("document", "node", "chunk")


@dataclass(frozen=True, slots=True)
class RetrievedPassage:
    """A retrieved document: the start of its text, and its score if it has one."""

    text: str
    score: str


def find_passages(value: JsonValue, *, is_retriever: bool) -> list[RetrievedPassage]:
    """Read retrieved documents, in their order; empty if the value has none.

    Args:
        value: The output of a retriever or tool: a list of documents, or an object with one.
        is_retriever: Whether texts without a score count as documents too.
    """
    items: Any = value
    if isinstance(items, Mapping) and len(items) == 1:
        items = next(iter(items.values()))
    if isinstance(items, dict):
        items = next(
            (items[name] for name in _DOCUMENT_LISTS if isinstance(items.get(name), list)), None
        )
    if not isinstance(items, list) or not items:
        return []
    passages = [_read_passage(item) for item in items[:_PASSAGES]]
    found = [passage for passage in passages if passage is not None]
    if len(found) < len(passages):
        return []
    return found if is_retriever or any(passage.score for passage in found) else []


def _read_passage(item: object) -> RetrievedPassage | None:
    if isinstance(item, list) and item:  # a document and its score, as LangChain returns them
        inner = _read_passage(item[0])
        return RetrievedPassage(inner.text, _write_score(item[-1])) if inner else None
    if isinstance(item, str):
        return RetrievedPassage(item[:_PASSAGE_CHARS], "")
    if not isinstance(item, dict):
        return None
    score = next((_write_score(item[name]) for name in _SCORE_FIELDS if name in item), "")
    for name in _TEXT_FIELDS:
        if isinstance(text := item.get(name), str) and text:
            return RetrievedPassage(text[:_PASSAGE_CHARS], score)
    for name in _INNER:
        if isinstance(item.get(name), dict) and (inner := _read_passage(item[name])):
            return RetrievedPassage(inner.text, score or inner.score)
    return None


def _write_score(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.2f}" if is_number else ""
