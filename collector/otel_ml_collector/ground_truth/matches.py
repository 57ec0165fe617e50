"""Finds which ground truth belongs to a run, and which keys no run has.

The sender of ground truth names its run by a key: a run ID, a trace key or a tag. A wrong key is no
error, because the run may still arrive. Here such keys are counted and explained.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.owners import FIRST, KEY, TAG
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.truth_keys import (
    count_keys,
    find_known_tags,
    find_tags_with_values,
    has_trace_keys,
    read_unmatched_keys,
)
from otel_ml_collector.times import DAY_NS

# A run arrives at most this long after its ground truth, as a rule.
_WAIT_NS: Final = DAY_NS
_MOST_KEYS: Final = 10_000
_MOST_SHOWN: Final = 20
# Number of keys whose values are looked up among tags.
_VALUES_SOUGHT: Final = 1_000


class TruthMatches(AnswerBody):
    """How many values of ground truth belong to a run."""

    received: int = Field(description="Number of keys of stored runs, traces or tags")
    matched: int = Field(description="Number of these whose run is stored")
    waiting: int = Field(
        description="Number without a run, which may still come: they are less than a day old, "
        "and other runs of the project have such a key"
    )
    unmatched: int = Field(description="Number without a run, which is not expected any more")
    unmatched_keys: list[str] = Field(
        description="Up to 20 of the unmatched keys, the newest first; a tag as `name=value`"
    )
    tags: list[str] = Field(
        description="If no key is matched: up to 3 tags of the project's runs that have such values"
    )


@dataclass(frozen=True, slots=True)
class KeyOfTruth:
    """The key of one value of ground truth.

    Attributes:
        owner: The run ID, trace key or tag, as `otel_ml_collector.owners` writes it.
        time_ns: When the value became known.
    """

    owner: str
    time_ns: int

    @property
    def tag(self) -> str:
        """The name of the tag; empty for a run ID or a trace key."""
        return self.owner[len(TAG) :].partition("=")[0] if self.owner.startswith(TAG) else ""

    @property
    def text(self) -> str:
        """The key as the sender wrote it; a tag as ``name=value``."""
        return self.owner if self.owner < FIRST else self.owner.partition(":")[2]

    @property
    def sought(self) -> str:
        """The value that a run should have: of a tag, only the text after the name."""
        return self.text.partition("=")[2] if self.tag else self.text


def find_matches(reader: Reader, project: str, name: str, now_ns: int) -> TruthMatches:
    """Find which ground truth of a name belongs to a run. A key with several values counts once."""
    counts = count_keys(reader, project, name)
    received, matched = counts["received"], counts["matched"]
    if received == matched:
        return _count_matches(received, matched)
    rows = read_unmatched_keys(reader, project, name, _MOST_KEYS)
    keys = [KeyOfTruth(row["owner"], row["newest_ns"]) for row in rows]
    # If there are more keys, those that were not read are the oldest.
    return _explain(reader, project, keys, _count_matches(received, matched), now_ns)


def match_keys(
    reader: Reader,
    project: str,
    keys: Sequence[KeyOfTruth],
    matched: Collection[str],
    now_ns: int,
) -> TruthMatches:
    """Count which ground truth of a request belongs to a run.

    Args:
        reader: The store.
        project: The project.
        keys: The key of each value in the request. Two values with the same key count twice.
        matched: Owners that name a stored or open run.
        now_ns: The time now.
    """
    without = [key for key in keys if key.owner not in matched]
    counts = _count_matches(len(keys), len(keys) - len(without))
    return _explain(reader, project, without, counts, now_ns) if without else counts


def _count_matches(received: int, matched: int) -> TruthMatches:
    return TruthMatches(
        received=received,
        matched=matched,
        waiting=0,
        unmatched=received - matched,
        unmatched_keys=[],
        tags=[],
    )


def _explain(
    reader: Reader,
    project: str,
    without: Sequence[KeyOfTruth],
    counts: TruthMatches,
    now_ns: int,
) -> TruthMatches:
    """Tell the keys whose run may still come from the others."""
    is_known = _find_known(reader, project, without)
    unmatched = [
        key for key in without if key.time_ns < now_ns - _WAIT_NS or not is_known[_kind_of(key)]
    ]
    waiting = len(without) - len(unmatched)
    tags: list[str] = []
    if unmatched and not counts.matched:
        values = sorted({key.sought for key in without[:_VALUES_SOUGHT]})
        tags = find_tags_with_values(reader, project, values)
    return counts.model_copy(
        update={
            "waiting": waiting,
            "unmatched": counts.unmatched - waiting,
            "unmatched_keys": [*dict.fromkeys(key.text for key in unmatched)][:_MOST_SHOWN],
            "tags": tags,
        }
    )


def _kind_of(key: KeyOfTruth) -> str:
    """Return what kind of key this is: a tag by its name, a trace key, or empty for a run ID."""
    return key.owner.partition("=")[0] if key.tag else (KEY if key.owner.startswith(KEY) else "")


def _find_known(reader: Reader, project: str, keys: Sequence[KeyOfTruth]) -> Mapping[str, bool]:
    """Find for each kind of key whether runs of the project have such keys.

    Run IDs are made for runs that exist, so a run ID always counts as known.
    """
    kinds = {_kind_of(key): key.tag for key in keys}
    known = {kind: not kind for kind in kinds}
    found = find_known_tags(reader, project, {name for name in kinds.values() if name})
    known |= {kind: name in found for kind, name in kinds.items() if name}
    if KEY in known:
        known[KEY] = has_trace_keys(reader, project)
    return known
