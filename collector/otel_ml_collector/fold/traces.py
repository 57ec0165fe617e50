"""Computes what runs get from the other runs of their traces: their resolutions.

`fold_traces` is the only place that combines the rules of `same_calls` and `resolution`. It is used
for a batch that is about to be stored (`resolve_together`), by the pass for traces in memory or in
the store (`store.resolutions`), and by `fold` for all facts about a trace.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from typing import Final

from otel_ml.records import Run
from otel_ml_collector.owners import RESPONSE, own_tag
from otel_ml_collector.resolution import (
    NO_NAMES,
    Resolution,
    ResolvedRun,
    TraceId,
    complete_calls,
    find_inherited_names,
    form_of,
    may_lack_words,
    naming_run_of,
)
from otel_ml_collector.same_calls import (
    CallRun,
    CallShare,
    call_run_of,
    find_alike,
    find_mixed,
    find_shares,
    gather_facts,
    has_facts,
    join_projects,
    may_share,
)

_OF_RESPONSE: Final = own_tag(RESPONSE)


@dataclass(frozen=True, slots=True)
class TraceRuns:
    """The runs of one trace, as far as the rules need them.

    Attributes:
        runs: The ended runs, each once. Those without facts of a call can be missing if `may_share`
            and `lacks_words` are false for all others.
        named: All runs with their names, including open ones, each once. Empty if all have the same
            ones.
        owners: The keys and tags with late-arriving records that mean each run, by span ID.
        known: What is stored about the runs already, by span ID.
        has_expired: Whether the payload of a call has expired. Then the stored amounts stay.
    """

    runs: Collection[CallRun] = ()
    named: Collection[CallRun] = ()
    owners: Mapping[bytes, Sequence[str]] = field(default_factory=dict)
    known: Mapping[bytes, Resolution] = field(default_factory=dict)
    has_expired: bool = False


def fold_traces(traces: Mapping[TraceId, TraceRuns]) -> dict[TraceId, dict[bytes, Resolution]]:
    """Compute the resolutions of the runs of some traces.

    Args:
        traces: The traces. Those that have a response ID of an LLM in common must be passed
            together.

    Returns:
        By trace and span ID, the resolutions of the runs that get anything from other records. They
            do not depend on the order of traces and runs.
    """
    answers = {key: {run.response_id for run in trace.runs} for key, trace in traces.items()}
    shared = find_alike(answers)
    expired = {key for key, trace in traces.items() if trace.has_expired}
    # What was known of a call stays if a payload of any of its records has expired.
    lost = {response_id for key in expired & shared for response_id in answers[key]} - {""}
    expired |= {key for key in shared if not answers[key].isdisjoint(lost)}
    joined = join_projects({key: traces[key].runs for key in shared - expired})
    folded: dict[TraceId, dict[bytes, Resolution]] = {}
    for key, trace in traces.items():
        if key in expired:
            shares = _keep_shares(trace)
        else:
            shares = joined.get(key, {})
            with_facts = [] if shares else [run for run in trace.runs if run.has_facts]
            if len(with_facts) > 1 and may_share(with_facts):
                shares = find_shares(trace.runs)
            shares = complete_calls(trace.runs, shares)
        names = find_inherited_names(trace.named, trace.known)
        folded[key] = {
            span_id: Resolution(
                shares.get(span_id),
                names.get(span_id, NO_NAMES),
                _find_owners(traces, key, span_id, shares.get(span_id)),
            )
            for span_id in shares.keys() | names.keys() | trace.owners.keys()
        }
    return folded


def _find_owners(
    traces: Mapping[TraceId, TraceRuns], key: TraceId, span_id: bytes, share: CallShare | None
) -> Sequence[str]:
    """Find the keys and tags of a run, and the response IDs of other records of its call."""
    owners = traces[key].owners.get(span_id, ())
    if share is None or not share.others:
        return owners
    project, trace_id = key
    others = chain.from_iterable(
        traces[project, other.trace_id or trace_id].owners.get(other.span_id, ())
        for other in share.others
        if (project, other.trace_id or trace_id) in traces
    )
    answers = {owner for owner in others if owner.startswith(_OF_RESPONSE)}
    return tuple(sorted(answers.union(owners))) if answers else owners


def _keep_shares(trace: TraceRuns) -> dict[bytes, CallShare]:
    """Keep the stored amounts of runs, with the current facts of their calls."""
    here = {run.span_id: run for run in trace.runs}
    shares = {
        span_id: resolution.share
        for span_id, resolution in trace.known.items()
        if resolution.share is not None
    }
    for span_id, share in shares.items():
        ids = (span_id, *(other.span_id for other in share.others))
        records = [here[other] for other in ids if other in here]
        if share.others and span_id in here:
            shares[span_id] = replace(share, facts=gather_facts(records))
    return shares


@dataclass(frozen=True, slots=True)
class ResolvedGroup:
    """The resolutions of runs that arrived together.

    Attributes:
        is_complete: Whether all traces of the batch are resolved. False if it has too many runs.
    """

    runs: Sequence[ResolvedRun]
    is_complete: bool


def resolve_together(runs: Sequence[Run], open_runs: Sequence[Run]) -> ResolvedGroup:
    """Resolve runs that arrive together, using only these runs."""
    mixed = find_mixed(runs)
    calling: set[TraceId] = set()
    if mixed is not None:
        calling |= mixed
        calling.update((run.project, run.trace_id) for run in runs if may_lack_words(run))
    naming = _find_naming(runs, open_runs)
    if not calling and not naming:
        return ResolvedGroup([], mixed is not None)
    calls: defaultdict[TraceId, dict[bytes, CallRun]] = defaultdict(dict)
    named: defaultdict[TraceId, dict[bytes, CallRun]] = defaultdict(dict)
    # The last record of a run counts: an end record, and among these the highest rank.
    by_rank = attrgetter("rank")
    for run in sorted(open_runs, key=by_rank):
        if (run.project, run.trace_id) in naming:
            named[run.project, run.trace_id][run.span_id] = naming_run_of(run)
    for run in sorted(runs, key=by_rank):
        key = (run.project, run.trace_id)
        if key in calling:
            call = call_run_of(run) if has_facts(run) else naming_run_of(run)
            calls[key][run.span_id] = call
            if key in naming:
                named[key][run.span_id] = call
        elif key in naming:
            named[key][run.span_id] = naming_run_of(run)
    empty: dict[bytes, CallRun] = {}
    traces = {
        key: TraceRuns(calls.get(key, empty).values(), named.get(key, empty).values())
        for key in calling | naming
    }
    resolved = [
        ResolvedRun(*key, span_id, (named if key in naming else calls)[key][span_id].start_ns, what)
        for key, resolutions in fold_traces(traces).items()
        for span_id, what in resolutions.items()
    ]
    return ResolvedGroup(resolved, mixed is not None)


def _find_naming(runs: Sequence[Run], open_runs: Sequence[Run]) -> Set[TraceId]:
    """Find the traces of a batch in which some runs have a name that others lack."""
    if len({form_of(run) for run in chain(runs, open_runs)}) <= 1:
        return set()
    forms: defaultdict[TraceId, set[tuple[bool, bool, bool]]] = defaultdict(set)
    for run in chain(runs, open_runs):
        forms[run.project, run.trace_id].add(form_of(run))
    return {key for key, form in forms.items() if len(form) > 1}
