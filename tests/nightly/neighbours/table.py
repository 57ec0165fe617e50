"""Write docs/jaeger.md: the responses of Jaeger and the collector to the same requests."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.nightly.neighbours.questions import GROUPS, Question
from tests.support.folders import ROOT

PAGE: Final = ROOT / "docs/jaeger.md"
_CHARS: Final = 90
_BEGINNING: Final = """\
# Compared with Jaeger

Check here how the collector's Jaeger API differs from Jaeger itself. The test sends the same ten
spans of six traces to Jaeger 2.13 (with its store in memory) and to the collector. It then sends
the same requests to both. [Read traces in Grafana](how-to/grafana-jaeger.md) shows how to use the
API.

`make test-neighbours` repeats the test and compares the answers with this page.
`make test-neighbours TABLE=1` writes this page.

What is compared:

* lists: their entries, in any order
* searches: which traces are found (the tables name a trace by the last digits of its ID). If a
  search has a limit, only the number of traces
* wrong requests: the status, not the text"""
_SPANS: Final = """\
## What a span shows

These fields differ. All other fields of all spans are the same, in both versions of the API. The
order of spans and events is not compared."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the responses of both programs."""

    question: Question
    theirs: Any
    ours: Any

    @property
    def is_same(self) -> bool:
        """Whether the responses are the same."""
        return bool(self.theirs == self.ours)


def make_page(groups: Mapping[str, Sequence[Asked]], spans: Iterable[tuple[str, str]]) -> str:
    """Return the text of the page.

    Args:
        groups: The requests with their responses, by title.
        spans: The fields of spans that differ, and why.
    """
    asked = [one for group in groups.values() for one in group]
    same = sum(one.is_same for one in asked)
    parts = [_BEGINNING, f"{same} of {len(asked)} requests have the same answer."]
    for title, group in groups.items():
        rows = "\n".join(_rows(group))
        parts += [
            f"## {title}",
            f"| request | Jaeger | otel-ml | |\n| --- | --- | --- | --- |\n{rows}",
        ]
    differences = "\n".join(f"| {what} | {why} |" for what, why in spans)
    parts += [_SPANS, f"| field | why it differs |\n| --- | --- |\n{differences}"]
    return "\n\n".join(parts) + "\n"


def _rows(group: Sequence[Asked]) -> Iterator[str]:
    for one in group:
        verdict = "same" if one.is_same else f"differs: {one.question.reason}"
        cells = (_code(one.question.text), _answer(one.theirs), _answer(one.ours), verdict)
        yield f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    shown = text.replace("|", "\\|")
    return f"`{shown if len(shown) <= 2 * _CHARS else shown[: 2 * _CHARS] + '…'}`"


def _answer(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _code(text if len(text) <= _CHARS else f"{text[:_CHARS]}…")


def all_questions() -> list[Question]:
    """List the requests of all groups."""
    return [question for group in GROUPS.values() for question in group]
