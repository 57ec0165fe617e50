"""The columns of the runs table: which there are, and which are chosen in the address."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.runs import RunSummary

_MOST: Final = 24
_OFFERED: Final = 40
_JUDGES: Final = 3
_TAGS: Final = 2
_ON_PHONES: Final = ("ago", "outcome", "model", "input", "latency_ms")


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: As it stands in the address; ``score:`` and ``tag:`` go before a judge's and a
            tag's name.
        label: Its head, with the unit.
        style: Classes of its head.
    """

    key: str
    label: str
    style: str = "w3"

    @property
    def is_optional(self) -> bool:
        """Return whether phones leave it out unless it was chosen."""
        return self.key not in _ON_PHONES

    @property
    def kind(self) -> str:
        """Return ``score``, ``tag`` or the key of a field."""
        return self.key.partition(":")[0]

    @property
    def name(self) -> str:
        """Return the judge's or the tag's name."""
        return self.key.partition(":")[2]


FIELDS: Final = (
    Column("ago", "Ago", "w1"),
    Column("outcome", "Outcome", "mark"),
    Column("model", "Model", "model"),
    Column("input", "Input", ""),
    Column("output", "Output", ""),
    Column("latency_ms", "ms", "n w2"),
    Column("kind", "Kind"),
    Column("name", "Span"),
    Column("session", "Session"),
    Column("user", "User"),
    Column("environment", "Environment"),
    Column("release", "Release"),
    Column("provider", "Provider"),
    Column("provider_model", "Provider's model", "w4"),
    Column("input_tokens", "Tokens in", "n w2"),
    Column("output_tokens", "Tokens out", "n w2"),
    Column("cost", "Cost", "n w4"),
)
_BY_KEY: Final = {column.key: column for column in FIELDS}
_DEFAULT: Final = FIELDS[:6]


def choose(keys: Sequence[str], runs: Sequence[RunSummary]) -> list[Column]:
    """Choose columns by the address, else the usual ones with what these runs have most of.

    Unknown keys are left out: an address may be older than this program.
    """
    if keys:
        found = [column for key in dict.fromkeys(keys) if (column := _column(key)) is not None]
        return found[:_MOST] or list(_DEFAULT)
    judges = _most_common(_judges_of(runs), _JUDGES)
    tags = _most_common(_tags_of(runs), _TAGS)
    return [*_DEFAULT, *map(_score, judges), *map(_tag, tags)]


def offer(chosen: Sequence[Column], runs: Sequence[RunSummary]) -> list[Column]:
    """List the columns that may be chosen: all fields, and the judges and tags of these runs."""
    judges = _most_common(_judges_of(runs), _OFFERED)
    tags = _most_common(_tags_of(runs), _OFFERED)
    known = [*FIELDS, *map(_score, judges), *map(_tag, tags)]
    return [*known, *(column for column in chosen if column not in known)]


def _column(key: str) -> Column | None:
    kind, _, name = key.partition(":")
    if name and kind == "score":
        return _score(name)
    if name and kind == "tag":
        return _tag(name)
    return _BY_KEY.get(key)


def _score(judge: str) -> Column:
    return Column(f"score:{judge}", judge, "n w3")


def _tag(name: str) -> Column:
    return Column(f"tag:{name}", name, "tag-value")


def _judges_of(runs: Iterable[RunSummary]) -> list[str]:
    return [judge for run in runs for judge in {*run.scores, *run.passed, *run.failed_judges}]


def _tags_of(runs: Iterable[RunSummary]) -> list[str]:
    return [name for run in runs for name in run.tags]


def _most_common(names: Sequence[str], limit: int) -> list[str]:
    ranked = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    return [name for name, _ in ranked[:limit]]
