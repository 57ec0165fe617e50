"""The settlement of runs beside their own rows: the amounts that count, and the trace's names.

A trace names a session, a user or an experiment where any of its runs does, open ones too. It holds
for each run that names none: that of the root, else of the first run that names any. A
trace that was once of an experiment stays that, also when the run that named it is deleted: its
other runs were no production.

A late record by trace key is about the roots of the traces that have the key: the calls whose
parent is none. A late record by tag is about every run that was given the tag, on its span or
later. The runs, their keys and their tags may come after the record.

The rule looks at the runs of a trace alone, so the order in which they came changes nothing. Why
so: docs/design/021-counted-once.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from operator import attrgetter
from typing import Final

from otel_ml.records import Run
from otel_ml_collector.owners import own_key, own_tag
from otel_ml_collector.same_calls import CallRun, CallShare, find_shares_of

TraceId = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class TraceNames:
    """Names that a run lacks and its trace has; empty where no run names any."""

    session: str = ""
    user: str = ""
    experiment: str = ""


NAMES: Final = tuple(field.name for field in fields(TraceNames))
NO_NAMES: Final = TraceNames()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The settled values of a run that differ from its own row.

    Attributes:
        share: The amounts that count; None where its own count.
        names: The names that its trace gives it.
        owners: The keys and tags that name it, of those with late records, in order.
    """

    share: CallShare | None = None
    names: TraceNames = NO_NAMES
    owners: Sequence[str] = ()


NOTHING: Final = Settlement()
_NO_SHARE: Final = CallShare()


@dataclass(frozen=True, slots=True)
class SettledRun:
    """The settlement of a run, as it is stored.

    Attributes:
        rank: When its trace was looked at, nanoseconds since the epoch by the store's clock; 0 for
            a settlement made before its runs were stored. The last look holds.
    """

    project: str
    trace_id: bytes
    span_id: bytes
    start_ns: int
    settlement: Settlement
    rank: int = 0

    @property
    def counts(self) -> bool:
        """Whether the amounts that count of the run are settled."""
        return self.settlement.share is not None

    @property
    def share(self) -> CallShare:
        """The amounts that count; empty where they are not settled."""
        return self.settlement.share or _NO_SHARE

    @property
    def names(self) -> TraceNames:
        """The names that its trace gives it."""
        return self.settlement.names


def form_of(run: Run | CallRun) -> tuple[bool, bool, bool]:
    """Tell which names a run has: where all have the same ones, none is lent."""
    return run.session != "", run.user != "", run.experiment != ""


def naming_run_of(run: Run) -> CallRun:
    """Take the names of a run, and its place in the trace."""
    return CallRun(
        run.span_id,
        run.parent_span_id,
        run.kind,
        run.start_ns,
        session=run.session,
        user=run.user,
        experiment=run.experiment,
    )


def lend_names(
    runs: Iterable[CallRun], settled: Mapping[bytes, Settlement] | None = None
) -> dict[bytes, TraceNames]:
    """Tell which names of a trace hold for those of its runs that have none, by span id.

    Args:
        runs: All runs of the trace, each once, in any order.
        settled: What was settled of it before.
    """
    runs = [*runs]
    experiments = (settlement.names.experiment for settlement in (settled or {}).values())
    named = {"experiment": kept} if (kept := next(filter(None, experiments), "")) else {}
    for name in NAMES:
        naming = [run for run in runs if getattr(run, name)]
        if 0 < len(naming) < len(runs):
            named[name] = getattr(min(naming, key=_precedence), name)
    lent: dict[bytes, TraceNames] = {}
    # Few runs of a trace differ in the names that they have: those alike share what they are lent.
    by_form: dict[tuple[bool, bool, bool], TraceNames] = {}
    for run in runs if named else ():
        form = form_of(run)
        if (names := by_form.get(form)) is None:
            lacking = [name for name, has in zip(NAMES, form, strict=True) if not has]
            names = TraceNames(**{name: named[name] for name in lacking if name in named})
            by_form[form] = names
        if names != NO_NAMES:
            lent[run.span_id] = names
    return lent


def name_owners(
    runs: Iterable[CallRun],
    tags: Mapping[bytes, Collection[str]],
    keys: Collection[str],
    annotated: Collection[str],
) -> dict[bytes, Sequence[str]]:
    """Tell which keys and tags name the runs of a trace, by span id.

    Args:
        runs: All runs of the trace, each once, in any order.
        tags: The texts of the tags of each, late ones too, by span id.
        keys: The keys of the trace, its id among them.
        annotated: The owners that have late records.
    """
    runs = [*runs]
    calls = {run.span_id for run in runs if run.kind != "span"}
    by_key = {own_key(key) for key in keys}.intersection(annotated)
    owners: dict[bytes, Sequence[str]] = {}
    for run in runs:
        named = {own_tag(text) for text in tags.get(run.span_id, ())}.intersection(annotated)
        if run.span_id in calls and run.parent_span_id not in calls:
            named |= by_key
        if named:
            owners[run.span_id] = tuple(sorted(named))
    return owners


def _precedence(run: CallRun) -> tuple[bool, int, bytes]:
    """Sort key of the runs that name any: the root first, else the earliest start."""
    return run.parent_span_id != b"", run.start_ns, run.span_id


@dataclass(frozen=True, slots=True)
class SettledGroup:
    """The settlements of runs that came together.

    Attributes:
        is_complete: Whether all of its traces were looked at: a group may be too large for that.
    """

    runs: Sequence[SettledRun]
    is_complete: bool


def settle_together(runs: Sequence[Run], open_runs: Sequence[Run]) -> SettledGroup:
    """Settle runs that come together, as far as these tell."""
    of_group = find_shares_of(runs)
    shares, is_complete = of_group or {}, of_group is not None
    names = _lend_together(runs, open_runs)
    if not shares and not names:
        return SettledGroup([], is_complete)
    starts = {
        (run.project, run.trace_id, run.span_id): run.start_ns for run in _in_order(runs, open_runs)
    }
    settled = [
        SettledRun(project, trace_id, span_id, starts[project, trace_id, span_id], settlement)
        for project, trace_id in shares.keys() | names.keys()
        for span_id, settlement in join_settlements(
            shares.get((project, trace_id), {}), names.get((project, trace_id), {})
        )
    ]
    return SettledGroup(settled, is_complete)


def _in_order(runs: Sequence[Run], open_runs: Sequence[Run]) -> Iterator[Run]:
    """Order deliveries so that of a run the last holds: the winner, and its end before all."""
    by_rank = attrgetter("rank")
    yield from sorted(open_runs, key=by_rank)
    yield from sorted(runs, key=by_rank)


def join_settlements(
    shares: Mapping[bytes, CallShare], names: Mapping[bytes, TraceNames]
) -> Iterator[tuple[bytes, Settlement]]:
    """Join the shares of a trace's runs and the names that it gives them, by span id."""
    for span_id in shares.keys() | names.keys():
        yield span_id, Settlement(shares.get(span_id), names.get(span_id, NO_NAMES))


def _lend_together(
    runs: Sequence[Run], open_runs: Sequence[Run]
) -> dict[TraceId, dict[bytes, TraceNames]]:
    """Lend names in those traces of a group of which runs have different ones."""
    if len({form_of(run) for run in chain(runs, open_runs)}) <= 1:
        return {}
    forms: defaultdict[TraceId, set[tuple[bool, bool, bool]]] = defaultdict(set)
    for run in chain(runs, open_runs):
        forms[run.project, run.trace_id].add(form_of(run))
    traces: dict[TraceId, dict[bytes, CallRun]] = {
        key: {} for key, form in forms.items() if len(form) > 1
    }
    for run in _in_order(runs, open_runs) if traces else ():
        if (of_trace := traces.get((run.project, run.trace_id))) is not None:
            of_trace[run.span_id] = naming_run_of(run)
    return {key: lend_names(of_trace.values()) for key, of_trace in traces.items()}
