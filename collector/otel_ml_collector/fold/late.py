"""The rules for scores, labels, ground truth and tags that arrive separately from their run.

A record names a run, a trace key or a tag: its owner. For each name, such as that of a judge, the
newest record among all owners of a run counts. Queries may leave out a record if a newer one has
the same owner and name. Design record: docs/design/074-scores-in-rows.md.
"""

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar

import orjson

from otel_ml.attributes import METRIC_SOURCES_KNOWN
from otel_ml_collector.records import LateTag, Metric
from otel_ml_collector.resolution import LateValues

# The fields that order the scores of a judge, and the tags or labels of a name; the last one is the
# newest. Two scores with the same values of all three are the same score.
SCORE_ORDER: Final = ("time_ns", "judge_version", "record_id")
NAMED_ORDER: Final = ("time_ns", "record_id")
_score_order: Final = attrgetter(*SCORE_ORDER)
_named_order: Final = attrgetter(*NAMED_ORDER)

_Order = tuple[object, ...]
_Owner = TypeVar("_Owner", bound=Hashable)
_Value = TypeVar("_Value")
# The newest value of each name, with its order.
Newest = dict[str, tuple[_Order, _Value]]


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a judge or reviewer says: a number, pass or fail, or an error. All can be missing."""

    number: float | None = None
    has_passed: bool | None = None
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class NewestRecords(Generic[_Owner]):
    """The newest late-arriving records of each name, by owner.

    Attributes:
        scores: By judge or reviewer.
        labels, truths, reports: Labels by reviewers, ground truth and reports by programs, by name,
            as JSON text.
        tags: By tag: the value as JSON text, and when it was set.
    """

    scores: dict[_Owner, Newest[ScoreResult]] = field(default_factory=dict)
    labels: dict[_Owner, Newest[str]] = field(default_factory=dict)
    truths: dict[_Owner, Newest[str]] = field(default_factory=dict)
    reports: dict[_Owner, Newest[str]] = field(default_factory=dict)
    tags: dict[_Owner, Newest[tuple[str, int]]] = field(default_factory=dict)

    def find(self, owners: Sequence[_Owner]) -> LateValues | None:
        """Find the newest values of a run; None if it has none.

        Args:
            owners: Everything that names the run.
        """
        scores = _merge(self.scores, owners)
        labels, truths = _merge(self.labels, owners), _merge(self.truths, owners)
        reports, tags = _merge(self.reports, owners), _merge(self.tags, owners)
        if not (scores or labels or truths or reports or tags):
            return None
        return LateValues(
            {name: score.number for name, score in scores.items() if score.number is not None},
            {
                name: score.has_passed
                for name, score in scores.items()
                if score.has_passed is not None
            },
            [name for name, score in scores.items() if score.has_failed],
            labels,
            truths,
            tags,
            reports,
        )


def put_newest(newest: Newest[_Value], name: str, order: _Order, value: _Value) -> None:
    """Add a record to the newest ones, unless a newer one of its name is there."""
    known = newest.get(name)
    if known is None or order > known[0] or (order == known[0] and repr(value) > repr(known[1])):
        newest[name] = order, value


def _merge(records: Mapping[_Owner, Newest[_Value]], owners: Sequence[_Owner]) -> dict[str, _Value]:
    """Find the newest value of each name among several owners. The names are sorted."""
    if not records:
        return {}
    of_owners = [found for owner in owners if (found := records.get(owner))]
    if len(of_owners) == 1:
        return {name: value for name, (_, value) in sorted(of_owners[0].items())}
    newest: Newest[_Value] = {}
    for of_owner in of_owners:
        for name, (order, value) in of_owner.items():
            put_newest(newest, name, order, value)
    return {name: value for name, (_, value) in sorted(newest.items())}


def find_newest_rows(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Find the newest row of each tag, label or ground truth, by the column with its name.

    The names are in the order of their oldest rows.
    """
    return {row[name]: row for row in sorted(rows, key=itemgetter(*NAMED_ORDER))}


def gather_late(metrics: Iterable[Metric], tags: Iterable[LateTag]) -> NewestRecords[str]:
    """Find the newest of each name among records of one project, in any order."""
    late: NewestRecords[str] = NewestRecords()
    words: dict[tuple[str, str, str, str], tuple[int, str]] = {}
    for metric in metrics:
        if metric.source in METRIC_SOURCES_KNOWN:
            continue
        if metric.source in {"human", "actual", "agent"}:
            # A later record with the same ID replaces an earlier one.
            of_record = metric.source, metric.owner, metric.name, metric.record_id
            word = write_word(metric.actual, metric.label, metric.value, metric.passed)
            given = metric.time_ns, word
            words[of_record] = max(given, words.get(of_record, given))
        if not metric.actual and metric.source != "agent":
            score = ScoreResult(metric.value, metric.passed, metric.error != "")
            of_owner = late.scores.setdefault(metric.owner, {})
            put_newest(of_owner, metric.name, _score_order(metric), score)
    for (source, owner, name, record_id), (time_ns, word) in words.items():
        if word:  # otherwise it was withdrawn
            of_source = {"actual": late.truths, "human": late.labels, "agent": late.reports}[source]
            put_newest(of_source.setdefault(owner, {}), name, (time_ns, record_id), word)
    for tag in tags:
        set_value = orjson.dumps(tag.tag.value).decode(), tag.time_ns
        of_tag = late.tags.setdefault(tag.owner, {})
        put_newest(of_tag, tag.tag.name, _named_order(tag), set_value)
    return late


def write_word(actual: str, label: str, value: float | None, passed: bool | None) -> str:
    """Return ground truth or a label as JSON text, like `store.tables.WORD`; empty if withdrawn."""
    if actual or label:
        return actual or orjson.dumps(label).decode()
    if value is not None and math.isfinite(value):
        return _write_number(value)
    return "" if passed is None else orjson.dumps(passed).decode()


def _write_number(number: float) -> str:
    """Write the shortest text of a number, with an exponent only where the engine has one."""
    text = repr(number)
    if "e" not in text or 1e-6 <= abs(number) < 1e21:  # noqa: PLR2004
        return f"{Decimal(text):f}".removesuffix(".0")
    digits, _, exponent = text.partition("e")
    return f"{digits}e{int(exponent)}"


def is_tag_newer(name: str, time_ns: int, own: Collection[str], tagged_ns: int) -> bool:
    """Return whether a late tag replaces a tag of the run's own span.

    Args:
        name: The name of the late tag.
        time_ns: When it was set.
        own: The names of the tags on the span.
        tagged_ns: When these were set: at the end of the run, or at the start of an open one.
    """
    return name not in own or time_ns >= tagged_ns


def leave_older_tags(late: LateValues, own: Collection[str], tagged_ns: int) -> LateValues:
    """Leave out each tag that is older than the same tag on the span; see `is_tag_newer`."""
    newest = {
        name: tag for name, tag in late.tags.items() if is_tag_newer(name, tag[1], own, tagged_ns)
    }
    return late if len(newest) == len(late.tags) else replace(late, tags=newest)
