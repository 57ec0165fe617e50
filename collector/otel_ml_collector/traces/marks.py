"""What is marked in the waterfall of a trace: slow spans, and clocks that differ."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.traces.clocks import TOLERANCE_MS, Skew, find_skews, tell
from otel_ml_collector.traces.critical import SlowSpan
from otel_ml_collector.traces.outline import find_senders
from otel_ml_collector.web.view import duration

# How many spans outside of their parents are asked who sent them.
_SKEWS: Final = 400


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark beside the name of a span: a few words, and what they mean."""

    text: str
    why: str
    is_slow: bool = False


@dataclass(frozen=True, slots=True)
class ClockNote:
    """A sentence on the times of a span."""

    run: RunSummary
    what: str


def find_clock_notes(
    reader: Reader, runs: Sequence[RunSummary], above: Sequence[RunSummary] = ()
) -> Mapping[str, tuple[Skew, ClockNote]]:
    """Find what is to be said of the times of spans, by run id; of 400 spans at most."""
    skews = find_skews(runs, above)[:_SKEWS]
    if not skews:
        return {}
    ids = {run.run_id for skew in skews for run in (skew.run, skew.parent)}
    senders = find_senders(reader, skews[0].run.trace_id, sorted(ids))
    told = [(skew, tell(skew, senders)) for skew in skews]
    return {skew.run.run_id: (skew, ClockNote(skew.run, what)) for skew, what in told if what}


def mark(
    slow: Sequence[SlowSpan], notes: Mapping[str, tuple[Skew, ClockNote]]
) -> Mapping[str, Sequence[Mark]]:
    """Make the marks of spans, by run id."""
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    for one in slow:
        wait, share = duration(one.wait_ms), one.percent
        why = f"for {wait}, {share} of its time, the trace waited for this span itself"
        marks[one.run_id].append(Mark(f"slow {share}", why, is_slow=True))
    for run_id, (skew, note) in notes.items():
        is_early = skew.early_ms > TOLERANCE_MS
        text = f"{duration(skew.early_ms)} early" if is_early else f"{duration(skew.late_ms)} late"
        marks[run_id].append(Mark(text, note.what))
    return marks
