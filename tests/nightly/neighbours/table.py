"""The page docs/jaeger.md: what both programs answered, question by question."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.nightly.neighbours.questions import GROUPS, Question
from tests.support.folders import ROOT

PAGE: Final = ROOT / "docs/jaeger.md"
_CHARS: Final = 90
_BEGINNING: Final = """\
# Beside Jaeger

The same ten spans of six traces were given to Jaeger 2.13 (with its store in memory) and to the
collector, and both were asked the same. `make test-neighbours` asks again and holds this page to
the answers; `make test-neighbours TABLE=1` writes it. How the API is used:
[read traces in Grafana](how-to/grafana-jaeger.md).

Lists are compared in any order, of a search the traces that it finds (by the last digits of their
ids, or their number where a limit lets each choose), of a wrong question the status: the words
differ."""
_SPANS: Final = """\
## What a span shows

All fields of all spans of the story are the same in both versions of the API, but for these. The
order of spans and events is not compared."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what both answered."""

    question: Question
    theirs: Any
    ours: Any

    @property
    def is_same(self) -> bool:
        """Whether the answers are the same."""
        return bool(self.theirs == self.ours)


def make_page(groups: Mapping[str, Sequence[Asked]], spans: Iterable[tuple[str, str]]) -> str:
    """Write the page.

    Args:
        groups: The questions with their answers, by title.
        spans: What of spans differs, and why.
    """
    asked = [one for group in groups.values() for one in group]
    same = sum(one.is_same for one in asked)
    parts = [_BEGINNING, f"Of {len(asked)} questions {same} have the same answer."]
    for title, group in groups.items():
        rows = "\n".join(_rows(group))
        parts += [
            f"## {title}",
            f"| asked | Jaeger | here | |\n| --- | --- | --- | --- |\n{rows}",
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
    """List the questions of all groups."""
    return [question for group in GROUPS.values() for question in group]
