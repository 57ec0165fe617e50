"""Prediction targets in the reader, and the import of tables of ground truth."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from otel_ml.arguments import check_integer, check_one_of, check_optional_text, check_text, invalid
from otel_ml.columns import read_columns
from otel_ml.counts import write_count
from otel_ml.reader.api import Api
from otel_ml.reader.moments import Moment, check_moment
from otel_ml.records import ACTUAL_WANTED, write_actual

TargetKind = Literal["class", "number", "ranking"]
TARGET_KINDS: Final = ("class", "number", "ranking")
About = Literal["run_id", "trace_id", "trace_key", "tag"]
ABOUT: Final = ("run_id", "trace_id", "trace_key", "tag")
# Rows per request.
ACTUALS_AT_ONCE: Final = 1_000
KEYS_NAMED: Final = 20
_MOST_CHARS: Final = 65_536
_MOST_K: Final = 1_000
_LAST: Final = ("24h", "7d", "30d", "60d")
_BUCKETS: Final = (None, "hour", "day", "week")


@dataclass(frozen=True, slots=True)
class MatchedActuals:
    """How many rows of a table of ground truth belong to a run.

    As text, it is a sentence.

    Attributes:
        received: Number of rows stored. Their ground truth applies whenever a run with the key
            arrives.
        matched: Number of rows whose run is stored.
        waiting: Number of rows without a run that may still get one. The value became known less
            than a day ago, and other runs of the project have such a key.
        unmatched: Number of rows without a run, which is not expected any more.
        unmatched_keys: Up to 20 keys of these rows. A tag is written as ``name=value``.
        tags: If no row matched: tags of the project's runs that have such values.
    """

    received: int = 0
    matched: int = 0
    waiting: int = 0
    unmatched: int = 0
    unmatched_keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = (
            f"{write_count(self.received, 'row')} of ground truth: {self.matched:,} matched a run, "
            f"{self.waiting:,} waiting for one, {self.unmatched:,} unmatched"
        )
        if not self.unmatched_keys:
            return counts
        keys = f"{counts}. No run has {', '.join(map(repr, self.unmatched_keys[:3]))}"
        if not self.tags:
            return keys
        tags = " or ".join(map(repr, self.tags))
        return f"{keys}. Such values are in the tag {tags}: name the key column after it"

    def __add__(self, other: "MatchedActuals") -> "MatchedActuals":
        """Add the counts of two requests."""
        matched = self.matched + other.matched
        keys = dict.fromkeys((*self.unmatched_keys, *other.unmatched_keys))
        return MatchedActuals(
            received=self.received + other.received,
            matched=matched,
            waiting=self.waiting + other.waiting,
            unmatched=self.unmatched + other.unmatched,
            unmatched_keys=tuple(keys)[:KEYS_NAMED],
            tags=() if matched else tuple(dict.fromkeys((*self.tags, *other.tags))),
        )


def read_matches(answer: Mapping[str, Any] | None, sent: int) -> MatchedActuals:
    """Read what the collector answers about the ground truth of a request.

    Args:
        answer: The field ``ground_truth``; None if the collector did not count in time. Then all
            rows are waiting.
        sent: Number of rows in the request.
    """
    if answer is None:
        return MatchedActuals(received=sent, waiting=sent)
    return MatchedActuals(
        **{name: answer[name] for name in ("received", "matched", "waiting", "unmatched")},
        unmatched_keys=tuple(answer["unmatched_keys"]),
        tags=tuple(answer["tags"]),
    )


@dataclass(frozen=True, slots=True)
class TargetHandle:
    """A prediction target of the project. Call `quality` to see how good its predictions are."""

    name: str
    project: str
    _api: Api

    def quality(
        self,
        last: Literal["24h", "7d", "30d", "60d"] = "30d",
        *,
        where: str = "",
        start: Moment = None,
        end: Moment = None,
        bucket: Literal["hour", "day", "week"] | None = None,
    ) -> dict[str, Any]:
        """Return how good a model's predictions were: accuracy, error and more, over time.

        Predictions are compared with the ground truth that has arrived so far.

        Args:
            last: Length of the period that ends now. Not used if you pass `start`.
            where: A filter on the runs, such as ``version == 3``. Empty for all.
            start: Only runs that started at or after this time.
            end: Only runs that started before this time. Default: now.
            bucket: Length of time that each point covers. Default: chosen so that there are about
                sixty points.

        Returns:
            The result of ``GET .../targets/{target}``. `figures` has accuracy and other measures
            with confidence intervals. `points` has the same measures over time, by the time of the
            prediction. A point with a value `early` is preliminary, because much of its ground
            truth has not arrived yet. `coverage` is how many runs have ground truth. `estimate` is
            the estimated accuracy of the runs without ground truth.

        Raises:
            NotFound: There is no target and no ground truth of that name.
            BadQuery: The filter or the period is invalid.
        """
        check_text("where", where, _MOST_CHARS, may_be_empty=True)
        value: dict[str, Any] = self._api.get(
            *("projects", self.project, "targets", self.name),
            last=check_one_of("last", last, _LAST),
            where=where or None,
            start=check_moment("start", start),
            end=check_moment("end", end),
            bucket=None if bucket is None else check_one_of("bucket", bucket, _BUCKETS[1:]),
        )
        return value


def write_target(
    *,
    model: str,
    prediction: str,
    kind: TargetKind,
    positive: str,
    probability: str,
    truth: str,
    k: int,
) -> dict[str, Any]:
    """Check the arguments of `Reader.save_target` and return them as the API expects them.

    Raises:
        ValueError: An argument has a wrong type or value.
    """
    return {
        "model": check_text("model", model),
        "prediction": check_text("prediction", prediction),
        "kind": check_one_of("kind", kind, TARGET_KINDS),
        "positive": check_text("positive", positive, may_be_empty=True),
        "probability": check_text("probability", probability, may_be_empty=True),
        "truth": check_text("truth", truth, may_be_empty=True),
        "k": check_integer("k", k, 1, _MOST_K),
    }


def write_actuals(
    frame: Any, name: str, key: str, value: str, *, by: About | None, time: str | None
) -> Iterator[list[dict[str, Any]]]:
    """Convert a table of ground truth to request bodies for the API, with up to 1,000 rows each.

    Rows without a key or value are skipped.

    Args:
        frame: The table.
        name: Name of the ground truth.
        key: Column that identifies the run of each row.
        value: Column with the ground truth.
        by: What the key column contains: ``run_id``, ``trace_id``, ``trace_key``, or ``tag`` for
            values of the tag that has the same name as the column. If None, the column's name
            decides.
        time: Column with the times when the values became known. None if there is none.

    Raises:
        ValueError: A column is missing, or a value is of a type that ground truth cannot have.
    """
    check_text("name", name)
    check_text("key", key)
    check_text("value", value)
    check_optional_text("time", time)
    columns = read_columns(frame)
    for argument, column in (("key", key), ("value", value), ("time", time)):
        if column is not None and column not in columns:
            raise invalid(
                argument, column, f"one of the columns of the frame: {', '.join(columns)}"[:300]
            )
    about = (key if key in ABOUT[:3] else "tag") if by is None else by
    check_one_of("by", about, ABOUT)
    rows = zip(
        columns[key],
        columns[value],
        columns[time] if time is not None else [None] * len(columns[key]),
        strict=True,
    )
    statements = [
        _write_actual(name, (about, key), row)
        for row in rows
        if row[0] is not None and row[1] is not None
    ]
    for first in range(0, len(statements), ACTUALS_AT_ONCE):
        yield statements[first : first + ACTUALS_AT_ONCE]


def _write_actual(name: str, about: tuple[str, str], row: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Return one ground truth as an evaluation.

    The id is a hash of the content, so a second import changes nothing.
    """
    owner, reported, time = row
    kind, column = about
    text = owner if isinstance(owner, str) else orjson.dumps(owner).decode()
    target = f"{column}={text}" if kind == "tag" else text
    try:
        actual = orjson.loads(write_actual(reported))
    except ValueError as error:
        raise invalid("value", reported, ACTUAL_WANTED) from error
    at = check_moment("time", time)
    parts = orjson.dumps([name, kind, target, actual, at])
    return {
        "id": f"actual-{hashlib.sha256(parts).hexdigest()[:32]}",
        "judge": name,
        "source": "actual",
        kind: target,
        "actual": actual,
        "time": at,
    }
