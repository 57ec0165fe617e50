"""Finds which runs record the same call of a model, and which tokens and cost count for it.

Two runs record the same call if they have the same response ID, or the same usage, model and
provider at the same time. One of them is inside the other with only wrappers (chains and plain
spans) between them, or both have the same parent. Different instrumentations (scopes) usually wrote
them. One scope writes a call twice only as a span directly inside another. Two failed calls of one
model also match if neither reports usage, or if they agree on the counts that both report.
`join_traces` joins the records of a call that are in several traces.

Three kinds of runs have rules of their own:

* Two runs that otel-ml's own decorators record are always two calls.
* A run that names a model but reports neither usage nor cost is a wrapper, if a run of the same
  model is directly inside or around it. Of two such runs the outer one counts.
* A run with usage, but without content and response ID, is an account: it repeats the usage of a
  call that was under way or had just ended. If no call has the same usage, the account counts.

An agent, a chain or a tool counts with its own tokens and cost only if no run below it reports any.
So does a model run whose tokens are exactly the sum of those of several model runs inside it, such
as a router, a fallback or a loop over tool calls.

Two tool runs of one name are one tool run if one is directly inside the other, with only wrappers
between, and both are spans of a client or a server: MCP writes the call of a tool as a span of the
client, of the SDK that sends it, and of the server. If several are inside, they are tool runs of
their own.

The functions look only at the runs they are given, so the order of arrival changes nothing.
Reasons: docs/design/021-counted-once.md.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

import orjson

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import TOKENS, Run, Tokens
from otel_ml_collector.price import is_provider, provider_of, without_interface

# Kinds of runs that call a provider's model, for the product or for a judge.
CALLS: Final = frozenset({"model", "embedding", JUDGE_KIND})
NO_USAGE: Final = Tokens()
WRAPPERS: Final = frozenset({"chain", "span"})
OWN_SCOPE: Final = "otel_ml"
# Tolerance for the times of two spans of one call: the clock is read once for each span, and some
# spans round it.
_SLACK_NS: Final = 1_000_000
# Largest share of the inner span's time that may be after the end of the outer span, for nested
# spans and for siblings. See `_is_within`.
_LATE_INSIDE: Final = 1 / 2
_LATE_SIBLING: Final = 1 / 50
# Longest gap between two records of a call that have the same response ID, or between a call and an
# account of its usage. Accounts are written right after the call, but a busy machine may delay
# them.
ACCOUNTED_NS: Final = 1_000_000_000
# Date or version at the end of a model's name, as in ``gpt-4o-2024-08-06``.
_DATED: Final = re.compile(r"(?:[-@:](?:\d{4}-\d{2}-\d{2}|\d{6,8}|\d{3,4}|latest|v\d+(?::\d+)?))+$")
# Number of following runs that each run is compared with, in order of start.
_NEIGHBOURS: Final = 64
# Maximum number of runs in a batch to compare before they are stored. Larger batches are resolved
# later.
_AT_ONCE: Final = 2_000
# Fewest model runs inside a model run that may report their sum.
_FEWEST_INSIDE: Final = 2
# Maximum number of traces with one response ID that are compared. A cache returns an answer with
# its old ID again and again.
MOST_TRACES: Final = 64
# Distance that means "same parent". Distances to runs above are smaller, because at most 100 of
# them are compared.
_SIBLING: Final = 100


@dataclass(slots=True)
class CallRun:
    """The fields of a run that show whether it records the same call as another run.

    A run without tokens, cost and other facts of a call only connects the runs above and below it.
    Do not change a `CallRun`. It is not frozen because that would double the time to make it.

    Attributes:
        parent_span_id: Empty for a root.
        scope: Name of the instrumentation that wrote it.
        response_id: The provider's ID of its answer; empty if it has none.
        model: The provider's name of its model.
        tokens, cost: The usage that it reports; None for parts that it does not report.
        failed: Whether it ended with an error.
        inputs_preview, outputs_preview: Question and answer, as lists show them.
        first_token_ms, stream_chunks: Time to the first token and number of chunks, if it streamed.
        is_client, is_server: Whether its span has the kind client, like a call that leaves the
            process, or server.
        is_whole: Whether its payload has an input and an output.
        session, user, experiment: The names that it has; `resolution` reads them.
        tool: Name of the tool, if it is a run of a tool.
    """

    span_id: bytes
    parent_span_id: bytes
    kind: str
    start_ns: int = 0
    end_ns: int = 0
    scope: str = ""
    response_id: str = ""
    provider: str = ""
    model: str = ""
    tokens: Tokens = NO_USAGE
    cost: float | None = None
    failed: bool = False
    inputs_preview: str = ""
    outputs_preview: str = ""
    first_token_ms: float | None = None
    stream_chunks: int | None = None
    is_client: bool = False
    is_whole: bool = False
    session: str = ""
    user: str = ""
    experiment: str = ""
    tool: str = ""
    is_server: bool = False

    @property
    def is_remote_tool(self) -> bool:
        """Whether it is a tool run that a client or a server recorded."""
        return self.tool != "" and (self.is_client or self.is_server)

    @property
    def has_tokens(self) -> bool:
        """Whether it reports any token count."""
        return self.tokens.input is not None or self.tokens.output is not None

    @property
    def has_content(self) -> bool:
        """Whether it has the call's input or output."""
        return bool(self.inputs_preview or self.outputs_preview)

    @property
    def is_bare(self) -> bool:
        """Whether it names a model and reports no usage, so that it may wrap a call."""
        is_call = self.kind in CALLS and self.scope != OWN_SCOPE and bool(self.model)
        return is_call and not self.has_tokens and self.cost is None

    @property
    def is_account(self) -> bool:
        """Whether it only reports usage without an answer, so that it may repeat a call's usage."""
        is_call = self.kind in CALLS and self.scope != OWN_SCOPE and not self.failed
        return is_call and self.has_tokens and not (self.has_content or self.response_id)

    @property
    def has_facts(self) -> bool:
        """Whether it has tokens, a cost, a response ID or other signs of a call."""
        is_known = (self.failed and self.kind in CALLS) or self.is_bare or self.is_remote_tool
        return bool(self.response_id) or self.has_tokens or self.cost is not None or is_known


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """Another run that records the same call.

    Attributes:
        trace_id: Its trace; empty if it is in the trace of the run that counts.
    """

    span_id: bytes
    start_ns: int
    scope: str
    trace_id: bytes = b""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The facts about a model call, combined from all runs that recorded it.

    Two instrumentations, such as those of a framework and of a provider's client, can record the
    same call as two runs. Statistics count only one of these runs, called the main record. If the
    main record lacks a fact, such as the provider, the fact comes from another of the runs. Tokens
    and cost are not here, but in `CallShare`.

    Attributes:
        latency_ns: Duration of the main record, in nanoseconds.
        is_whole: Whether the main record has both an input and an output. If not, the missing text
            can be taken from another run of the call.
    """

    provider: str = ""
    provider_model: str = ""
    response_id: str = ""
    inputs_preview: str = ""
    outputs_preview: str = ""
    first_token_ms: float | None = None
    stream_chunks: int | None = None
    latency_ns: int = 0
    is_whole: bool = False


UNKNOWN: Final = CallFacts()


@dataclass(frozen=True, slots=True)
class CallShare:
    """The tokens and cost that totals use for a run, so that nothing is counted twice.

    Without these values, totals would count some tokens twice in two cases:

    * Several runs record the same call of a model. Totals use only one of them, called the main
      record.
    * A run, such as an agent, reports the sum of the calls below it. Totals already include these
      calls.

    Attributes:
        record_of: Span ID of the main record, if this run repeats it. Otherwise empty.
        others: The runs that repeat this run, if this run is the main record.
        tokens, cost: The values that totals use for this run. The main record also gets values that
            only a run that repeats it has. A run that repeats the main record has no values here.
            An agent has only values that no call below it reports.
        facts: Provider, model, latency and the like of the call, if this run is the main record.
        trace_id: ID of the trace that contains the run `record_of`. Empty if both runs are in the
            same trace.
    """

    record_of: bytes = b""
    others: Sequence[OtherRecord] = ()
    tokens: Tokens = NO_USAGE
    cost: float | None = None
    facts: CallFacts = UNKNOWN
    trace_id: bytes = b""


_OWN_VALUES: Final = CallShare()


def call_run_of(run: Run) -> CallRun:
    """Return the fields of a run that show whether it records the same call as another run."""
    return CallRun(
        run.span_id,
        run.parent_span_id,
        run.kind,
        run.start_ns,
        run.end_ns,
        name_scope(run.scope),
        run.response_id,
        run.provider,
        run.provider_model,
        Tokens(*[getattr(run, name) for name in TOKENS]),
        run.cost,
        run.outcome == "error",
        run.inputs_preview,
        run.outputs_preview,
        run.first_token_ms,
        run.stream_chunks,
        is_client=run.span_kind == "client",
        is_whole=bool(run.inputs and run.outputs),
        session=run.session,
        user=run.user,
        experiment=run.experiment,
        tool=run.model if run.kind == "tool" else "",
        is_server=run.span_kind == "server",
    )


def find_mixed(runs: Sequence[Run]) -> set[tuple[str, bytes]] | None:
    """Find traces whose tokens may be counted twice in totals, among runs that arrived together.

    This happens if several runs record the same call of a model, or if a run, such as an agent,
    reports the sum of the calls below it. `find_shares` does not change other traces.

    Returns:
        Projects and trace IDs. None if more than 2,000 runs have to be checked. Then a background
            job checks them after they are stored.
    """
    items = [run for run in runs if has_facts(run)]
    nested = _find_nested(items)
    if (
        len({(run.project, run.scope) for run in items}) == len({run.project for run in items})
        and (CALLS.issuperset(run.kind for run in items) and not any(map(may_be_second, items)))
        and not nested
        and not _has_overlap(items)
    ):
        return set()
    if len(items) > _AT_ONCE:
        return None
    traces: defaultdict[tuple[str, bytes], list[Run]] = defaultdict(list)
    for run in items:
        traces[run.project, run.trace_id].append(run)
    mixed = {
        key
        for key, with_facts in traces.items()
        if len(with_facts) > 1
        and (
            len({run.scope for run in with_facts}) > 1
            or {run.kind for run in with_facts} - CALLS
            or any(map(may_be_second, with_facts))
            or key in nested
            or _do_overlap(run for run in with_facts if run.kind == "model")
        )
    }
    answers = {
        key: {run.response_id for run in of if run.kind in CALLS} for key, of in traces.items()
    }
    return mixed | find_alike(answers)


def find_alike(
    answers: Mapping[tuple[str, bytes], Collection[str]],
) -> set[tuple[str, bytes]]:
    """Find the traces that have a response ID in common with another one of their project.

    Args:
        answers: The response IDs of each trace. Empty ones do not count.
    """
    traces: defaultdict[tuple[str, str], set[bytes]] = defaultdict(set)
    for (project, trace_id), response_ids in answers.items():
        for response_id in response_ids:
            if response_id:
                traces[project, response_id].add(trace_id)
    return {
        (project, trace_id)
        for (project, _), ids in traces.items()
        if 1 < len(ids) <= MOST_TRACES
        for trace_id in ids
    }


def join_projects(
    traces: Mapping[tuple[str, bytes], Iterable[CallRun]],
) -> dict[tuple[str, bytes], dict[bytes, CallShare]]:
    """Do the same as `join_traces` for traces of several projects, by project and trace."""
    projects: defaultdict[str, dict[bytes, Iterable[CallRun]]] = defaultdict(dict)
    for (project, trace_id), runs in traces.items():
        projects[project][trace_id] = runs
    return {
        (project, trace_id): shares
        for project, of_project in projects.items()
        for trace_id, shares in join_traces(of_project).items()
    }


def _find_nested(with_facts: Sequence[Run]) -> set[tuple[str, bytes]]:
    """Find the traces in which a call is directly inside another, by project and trace."""
    calls = [run for run in with_facts if may_be_nested(run)]
    places = {(run.trace_id, run.span_id) for run in calls}
    return {
        (run.project, run.trace_id)
        for run in calls
        if run.parent_span_id and (run.trace_id, run.parent_span_id) in places
    }


def _has_overlap(with_facts: Sequence[Run]) -> bool:
    """Return whether model calls of a trace overlap in time: one may report the sum of others."""
    if not any(run.parent_span_id for run in with_facts):
        return False
    traces: defaultdict[tuple[str, bytes], list[Run]] = defaultdict(list)
    for run in with_facts:
        if run.kind == "model":
            traces[run.project, run.trace_id].append(run)
    return any(map(_do_overlap, traces.values()))


def may_be_nested(run: Run) -> bool:
    """Return whether a run's instrumentation may record one call as two nested spans."""
    return run.kind in CALLS and may_be_inside(run)


def may_be_inside(run: Run) -> bool:
    """Return whether a run may be a step of a call that another instrumentation than ours wrote."""
    return run.kind != "span" and name_scope(run.scope) != OWN_SCOPE


def has_facts(run: Run) -> bool:
    """Return whether a run has tokens, a cost, a response ID or other signs of a call."""
    return run.kind != "span" and (
        bool(run.response_id)
        or run.input_tokens is not None
        or run.output_tokens is not None
        or run.cost is not None
        or (run.outcome == "error" and run.kind in CALLS)
        or is_bare(run)
        or is_remote_tool(run)
    )


def is_remote_tool(run: Run) -> bool:
    """Return whether a run is a tool run that a client or a server recorded."""
    return run.kind == "tool" and run.model != "" and run.span_kind in {"client", "server"}


def is_bare(run: Run) -> bool:
    """Return whether a run names a model and reports no usage, so it may wrap a call."""
    return (
        run.input_tokens is None
        and run.output_tokens is None
        and run.provider_model != ""
        and run.kind in CALLS
        and call_run_of(run).is_bare
    )


def may_be_second(run: Run) -> bool:
    """Return whether a run may record a call that another run of its own scope also records."""
    is_account = run.input_tokens is not None or run.output_tokens is not None
    if run.kind == "tool":
        return is_remote_tool(run)
    return is_bare(run) or (
        is_account
        and not (run.inputs_preview or run.outputs_preview)
        and run.kind in CALLS
        and call_run_of(run).is_account
    )


@lru_cache(1_000)
def name_scope(scope: str) -> str:
    """Return the name of an instrumentation from the JSON text of a run's scope."""
    name = orjson.loads(scope).get("name") if scope else None
    return name if isinstance(name, str) else ""


def find_shares(runs: Iterable[CallRun]) -> dict[bytes, CallShare]:
    """Find the runs of a trace that would be counted twice in totals of tokens and cost.

    This happens if several runs record the same call of a model, or if a run, such as an agent,
    reports the sum of the calls below it.

    Args:
        runs: All known runs of the trace, in any order. If a span ID occurs twice, the last run
            with it is used.

    Returns:
        For each of these runs, by span ID: the tokens and cost to use in totals instead of its own.
    """
    tree = {run.span_id: run for run in sorted(runs, key=attrgetter("span_id"))}
    with_facts = [run for run in tree.values() if run.has_facts]
    calls = _join(list(_find_pairs(tree, [run for run in with_facts if run.kind in CALLS])), tree)
    calls += _join_tools(tree, [run for run in with_facts if run.is_remote_tool])
    shares: dict[bytes, CallShare] = {}
    for call in calls:
        first, *others = sorted(call, key=lambda run: _precedence(run, call, tree))
        records = [OtherRecord(run.span_id, run.start_ns, run.scope) for run in others]
        tokens, cost = _fill([first, *others])
        shares[first.span_id] = CallShare(
            others=tuple(records),
            tokens=tokens,
            cost=cost,
            facts=gather_facts([first, *others]),
        )
        shares |= {run.span_id: CallShare(record_of=first.span_id) for run in others}
    sums = _find_sums(tree, with_facts, shares)
    for span_id, (tokens, cost) in _find_totals(tree, with_facts, sums).items():
        shares[span_id] = replace(shares.get(span_id, _OWN_VALUES), tokens=tokens, cost=cost)
    return shares


def join_traces(traces: Mapping[bytes, Iterable[CallRun]]) -> dict[bytes, dict[bytes, CallShare]]:
    """Find which runs record the same call in several traces, as `find_shares` does in one.

    Two instrumentations may write one call into two traces: LangChain.js is not the parent of
    OpenAI's span, and LangSmith has trace IDs of its own. A response ID is unique in the world. So
    two calls are one if they have the same response ID and kind, no scope recorded both, and their
    times overlap or are at most a second apart. A later time or the same scope means a cached
    answer, which is a call of its own. Usage alone joins no traces.

    Call it for all traces in which a response ID occurs, whenever one of them changes. Traces that
    share no response ID do not influence each other, so it is harmless to pass more of them.

    Args:
        traces: All known runs of each trace of a project, in any order. If a span ID occurs twice
            in a trace, the last run with it is used.

    Returns:
        For each trace, the shares of runs for which totals add other values than the run's own. If
        a call is in several traces, the share of the run that counts lists all other records, with
        `OtherRecord.trace_id` for those in other traces. Its tokens, cost and facts are those
        of the whole call. The shares of the other records have `record_of` and, in another
        trace, `trace_id`. The result does not depend on the order of traces and runs.
    """
    spans = {trace_id: {run.span_id: run for run in each} for trace_id, each in traces.items()}
    shares = {trace_id: find_shares(runs.values()) for trace_id, runs in spans.items()}
    answers: defaultdict[tuple[str, str], list[_Answer]] = defaultdict(list)
    for trace_id, runs in spans.items():
        for answer in _list_answers(trace_id, runs, shares[trace_id]):
            answers[answer.kind, answer.response_id].append(answer)
    for alike in answers.values():
        for parts in _join_answers(sorted(alike, key=attrgetter("start"))):
            _share_answer(parts, shares)
    return shares


@dataclass(frozen=True, slots=True)
class _Answer:
    """A call with a response ID in one trace: its records, the one that counts first."""

    trace_id: bytes
    response_id: str
    records: Sequence[CallRun]

    @property
    def kind(self) -> str:
        """The kind of its runs."""
        return self.records[0].kind

    @property
    def start(self) -> tuple[int, bytes, bytes]:
        """Sort key by time."""
        return self.records[0].start_ns, self.trace_id, self.records[0].span_id

    @property
    def order(self) -> tuple[bool, int, int, bytes, bytes]:
        """Sort key: otel-ml's own record first, as it has the version, then the outermost."""
        first = self.records[0]
        is_ours = first.scope == OWN_SCOPE
        return not is_ours, first.start_ns, -first.end_ns, self.trace_id, first.span_id


def _list_answers(
    trace_id: bytes, runs: Mapping[bytes, CallRun], shares: Mapping[bytes, CallShare]
) -> Iterator[_Answer]:
    """List the calls of a trace that have a response ID."""
    for run in runs.values():
        share = shares.get(run.span_id, _OWN_VALUES)
        if run.kind not in CALLS or share.record_of:
            continue
        records = [run, *(runs[other.span_id] for other in share.others)]
        if response_id := next((item.response_id for item in records if item.response_id), ""):
            yield _Answer(trace_id, response_id, records)


def _join_answers(alike: Sequence[_Answer]) -> Iterator[Sequence[_Answer]]:
    """Join calls with the same response ID, the nearest first. A scope records a call once."""
    pairs: list[tuple[int, int, int]] = []
    for place, answer in enumerate(alike):
        for at, other in enumerate(alike[place + 1 : place + 1 + _NEIGHBOURS], place + 1):
            run, joined_run = answer.records[0], other.records[0]
            if answer.trace_id != other.trace_id and _are_near(run, joined_run):
                gap_ns = abs(run.start_ns - joined_run.start_ns) + abs(
                    run.end_ns - joined_run.end_ns
                )
                pairs.append((gap_ns, place, at))
    calls = {place: [place] for place in range(len(alike))}
    for _, place, at in sorted(pairs):
        first, other_places = calls[place], calls[at]
        scopes, other_scopes = (
            {run.scope for item in places for run in alike[item].records}
            for places in (first, other_places)
        )
        if first is not other_places and scopes.isdisjoint(other_scopes):
            both = [*first, *other_places]
            calls |= dict.fromkeys(both, both)
    for place, places in calls.items():
        if len(places) > 1 and place == places[0]:
            yield [alike[item] for item in places]


def _share_answer(parts: Sequence[_Answer], shares: dict[bytes, dict[bytes, CallShare]]) -> None:
    """Set the shares of the records of a call that is in several traces."""
    first, *others = sorted(parts, key=attrgetter("order"))
    counting, home = first.records[0], first.trace_id
    for part in others:
        for run in part.records:
            share = CallShare(record_of=counting.span_id, trace_id=home)
            shares[part.trace_id][run.span_id] = share
    records = [run for part in (first, *others) for run in part.records]
    tokens, cost = _fill(records)
    shares[home][counting.span_id] = CallShare(
        others=tuple(
            OtherRecord(
                run.span_id, run.start_ns, run.scope, b"" if part is first else part.trace_id
            )
            for part in (first, *others)
            for run in part.records
            if run is not counting
        ),
        tokens=tokens,
        cost=cost,
        facts=gather_facts(records),
    )


def may_share(with_facts: Sequence[CallRun]) -> bool:
    """Check quickly whether some tokens or costs of a trace might be counted twice in totals.

    This can happen if several runs record the same call, or if a run, such as an agent, reports the
    sum of the calls below it. If the result is False, `find_shares` finds no such runs, so you need
    not call it.

    Args:
        with_facts: All runs of the trace for which `has_facts` is true, such as those with tokens.
    """
    if len({run.scope for run in with_facts}) > 1 or {run.kind for run in with_facts} - CALLS:
        return len(with_facts) > 1
    places = {run.span_id for run in with_facts}
    return any(
        run.is_bare or run.is_account or (run.parent_span_id in places and run.scope != OWN_SCOPE)
        for run in with_facts
    ) or _do_overlap(run for run in with_facts if run.kind == "model")


def _do_overlap(runs: Iterable[CallRun | Run]) -> bool:
    """Return whether two of the runs overlap in time, as the runs inside a sum do with it."""
    ordered = sorted(runs, key=attrgetter("start_ns"))
    if len(ordered) <= _FEWEST_INSIDE:
        return False
    last_ns = ordered[0].end_ns
    for run in ordered[1:]:
        if run.start_ns <= last_ns + _SLACK_NS:
            return True
        last_ns = max(last_ns, run.end_ns)
    return False


# Rank of the least certain sign of a repeated call: one of the two runs only reports usage.
_ACCOUNTED: Final = 3
# Sort key of a pair, the most certain first: rank of the sign, distance, gap in time, span IDs.
_Order = tuple[int, int, int, bytes, bytes]
_Pair = tuple[_Order, CallRun, CallRun]


def _find_pairs(tree: Mapping[bytes, CallRun], calls: Sequence[CallRun]) -> Iterator[_Pair]:
    """Find the pairs of calls that may be the same call."""
    answered: defaultdict[tuple[bytes, str], list[CallRun]] = defaultdict(list)
    alike: defaultdict[tuple[bytes, tuple[int, int]], list[CallRun]] = defaultdict(list)
    for run in calls:
        if run.parent_span_id:
            alike[run.parent_span_id, _used(run)].append(run)
        if run.parent_span_id and run.response_id:
            answered[run.parent_span_id, run.response_id].append(run)
        for distance, above in enumerate(_enclosing(run, tree)):
            if order := _compare(above, run, distance):
                yield order, above, run
    for siblings in answered.values():
        yield from _pair_siblings(siblings)
    for siblings in alike.values():
        yield from _pair_siblings(siblings, at_once=True)


def _pair_siblings(siblings: list[CallRun], *, at_once: bool = False) -> Iterator[_Pair]:
    """Pair runs with the same parent that are close in time, optionally only simultaneous ones."""
    siblings.sort(key=attrgetter("start_ns", "span_id"))
    slack_ns = ACCOUNTED_NS if any(run.is_account for run in siblings) else _SLACK_NS
    for place, run in enumerate(siblings):
        for other in siblings[place + 1 : place + 1 + _NEIGHBOURS]:
            if at_once and other.start_ns > run.end_ns + slack_ns:
                break
            if order := _compare(run, other, _SIBLING):
                yield order, run, other


def _enclosing(run: CallRun, tree: Mapping[bytes, CallRun]) -> Iterator[CallRun]:
    """Yield the runs above a run, up to and including the first that is not a wrapper."""
    for above in islice(walk_up(run, tree), _SIBLING):
        yield above
        if above.kind not in WRAPPERS:
            return


def walk_up(run: CallRun, tree: Mapping[bytes, CallRun]) -> Iterator[CallRun]:
    """Yield the runs above a run, the nearest first. Stop if the parents form a circle."""
    seen = {run.span_id}
    above = tree.get(run.parent_span_id)
    while above is not None and above.span_id not in seen:
        yield above
        seen.add(above.span_id)
        above = tree.get(above.parent_span_id)


def _compare(above: CallRun, run: CallRun, distance: int) -> _Order | None:
    """Return the certainty that two runs record the same call, as a sort key; None if they do not.

    The most certain pair sorts first: response ID before usage, nested before siblings, near first.

    Args:
        above: The outer run, or either one of two with the same parent.
        run: The inner run, or the other one.
        distance: The number of wrappers between them; `_SIBLING` for two with the same parent.
    """
    if above.kind not in CALLS or above.kind != run.kind:
        return None
    doubt = _find_doubt(above, run, distance)
    if doubt is None:
        return None
    if doubt == _ACCOUNTED:
        gap_ns = min(abs(above.start_ns - run.end_ns), abs(run.start_ns - above.end_ns))
    else:
        gap_ns = abs(above.start_ns - run.start_ns) + abs(above.end_ns - run.end_ns)
    first, last = sorted((above.span_id, run.span_id))
    return doubt, distance, gap_ns, first, last


def _find_doubt(above: CallRun, run: CallRun, distance: int) -> int | None:
    """Return how doubtful it is that two runs record one call; None if nothing shows it.

    0 is the most certain: both have the same response ID.
    """
    is_around = distance < _SIBLING
    is_other = above.scope != run.scope
    if above.response_id and run.response_id:
        is_same = above.response_id == run.response_id and _are_near(above, run)
        return 0 if is_same and (is_other or _is_again(above, run, distance)) else None
    is_within = _is_within(above, run, _LATE_INSIDE if is_around else _LATE_SIBLING)
    if is_within and _use_the_same(above, run) and (is_other or _is_again(above, run, distance)):
        return 1
    if is_within and is_around and _is_wrapping(above, run):
        return 2
    return _ACCOUNTED if _is_accounted(above, run) or _is_accounted(run, above) else None


def _is_again(above: CallRun, run: CallRun, distance: int) -> bool:
    """Return whether a scope may have written a call twice, as a span directly inside another.

    A library that wraps itself writes such spans, for example MLflow for LangChain over OpenAI.
    Two siblings of one scope are two calls: a retry, or the next turn of an agent.
    """
    return distance == 0 and above.scope != OWN_SCOPE and _has_model_of(above, run)


def _has_model_of(call_run: CallRun, other: CallRun) -> bool:
    """Return whether two runs name the same model."""
    model = name_model(call_run.model)
    return bool(model) and model == name_model(other.model)


def _is_accounted(call: CallRun, account: CallRun) -> bool:
    """Return whether a run repeats the usage of a call that was under way or had just ended."""
    if not account.is_account or not (
        call.has_content or (call.is_client and not account.is_client)
    ):
        return False
    is_behind = call.start_ns <= account.start_ns <= call.end_ns + ACCOUNTED_NS
    is_around = account.start_ns <= call.start_ns and call.end_ns <= account.end_ns
    return (is_behind or is_around) and _use_the_same(call, account)


def _is_wrapping(above: CallRun, below: CallRun) -> bool:
    """Return whether a run wraps only the call that another run records.

    If the inner run failed and the outer one did not, the call was repeated, so there are several.
    """
    if not (above.is_bare or (below.is_bare and (above.failed or not below.failed))):
        return False
    return _has_model_of(above, below)


def _are_near(call_run: CallRun, other: CallRun) -> bool:
    """Return whether the times of two runs overlap, or are at most a second apart.

    A response ID is unique, but a cache returns an answer with its old ID again and again.
    """
    gap_ns = max(call_run.start_ns, other.start_ns) - min(call_run.end_ns, other.end_ns)
    return gap_ns <= ACCOUNTED_NS


def _is_within(call_run: CallRun, other: CallRun, most_late: float) -> bool:
    """Return whether two runs overlap in time as two records of one call do.

    The run that started later is the inner one; if both started together, the shorter one. It may
    end a little later than the outer one: a client's span for a stream ends when the connection
    closes, after the last chunk that the caller sees. How much later depends on the answer, so no
    fixed time separates it from another call. The overlap does:

    * If it is inside the other run, most of its time must be within it. A call that the outer run
      only started, and that continues after it, is another call.
    * For siblings, all but a fiftieth of its time must be within the other. Parallel calls overlap
      too, but they end at different times.

    Clocks are read one after the other, and some are rounded, so one more millisecond is always
    allowed.

    Args:
        call_run: A run.
        other: Another run.
        most_late: The share of the inner run's time that may be after the end of the outer one.
    """
    outer, inner = call_run, other
    lag_ns = inner.start_ns - outer.start_ns
    is_longer = inner.end_ns - inner.start_ns > outer.end_ns - outer.start_ns
    if lag_ns < -_SLACK_NS or (lag_ns <= _SLACK_NS and is_longer):
        outer, inner = inner, outer
    late_ns = inner.end_ns - outer.end_ns
    return late_ns <= _SLACK_NS or late_ns < most_late * (inner.end_ns - inner.start_ns)


def _use_the_same(call_run: CallRun, other: CallRun) -> bool:
    """Return whether two runs report the same usage and no different provider or model."""
    have_failed = call_run.failed and other.failed
    if _used(call_run) != _used(other) and not (have_failed and _do_not_differ(call_run, other)):
        return False
    is_used = any(_used(call_run)) and any(_used(other))
    if not is_used and not (have_failed and call_run.model and other.model):
        return False
    models = {name_model(call_run.model), name_model(other.model)} - {""}
    provider, other_provider = (_words_of(run.provider) for run in (call_run, other))
    is_other = bool(provider and other_provider) and not provider & other_provider
    # Some frameworks report themselves as the provider, so compare only names of providers.
    is_other = is_other and is_provider(call_run.provider) and is_provider(other.provider)
    return not is_other and len(models) <= 1


def _do_not_differ(call_run: CallRun, other: CallRun) -> bool:
    """Return whether two runs agree on the usage that both report.

    If an answer is interrupted, one library may count the part that was received, and another may
    count nothing.
    """
    pairs = (
        (call_run.tokens.input, other.tokens.input),
        (call_run.tokens.output, other.tokens.output),
    )
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _used(run: CallRun) -> tuple[int, int]:
    return run.tokens.input or 0, run.tokens.output or 0


@lru_cache(1_000)
def _words_of(provider: str) -> frozenset[str]:
    """Return the words of a provider's name: ``azure.ai.openai`` is also called ``openai``."""
    return frozenset(provider_of(provider).lower().split(".")) - {"", "ai"}


@lru_cache(1_000)
def name_model(name: str) -> str:
    """Return a model's name without its folder and date, because other libraries may omit them."""
    return _DATED.sub("", without_interface(name.strip().lower().rpartition("/")[2]))


def _join(pairs: Sequence[_Pair], tree: Mapping[bytes, CallRun]) -> list[list[CallRun]]:
    """Join pairs to calls, the most certain first. A call has one response ID.

    A call has one run of each scope, or several that are inside each other.
    """
    calls: dict[bytes, list[CallRun]] = {}
    for _, *pair in sorted(pairs, key=itemgetter(0)):
        first, other = (calls.setdefault(run.span_id, [run]) for run in pair)
        both = [*first, *other]
        responses = {run.response_id for run in both} - {""}
        if len(responses) <= 1 and all(
            _may_join(run, joined_run, tree) for run in first for joined_run in other
        ):
            calls |= dict.fromkeys((run.span_id for run in both), both)
    return [call for span_id, call in calls.items() if span_id == call[0].span_id and call[1:]]


def _join_tools(tree: Mapping[bytes, CallRun], tools: Sequence[CallRun]) -> list[list[CallRun]]:
    """Join the spans of clients and servers that record one run of a tool."""
    inside: defaultdict[bytes, list[CallRun]] = defaultdict(list)
    for run in tools:
        for above in _enclosing(run, tree):
            is_same = above.is_remote_tool and above.tool == run.tool
            if is_same and _is_within(above, run, _LATE_INSIDE):
                inside[above.span_id].append(run)
    below = {span_id: runs[0] for span_id, runs in inside.items() if len(runs) == 1}
    inner = {run.span_id for run in below.values()}
    joined: list[list[CallRun]] = []
    for run in tools:
        if run.span_id in below and run.span_id not in inner:
            records = [run]
            while (other := below.get(records[-1].span_id)) is not None:
                records.append(other)
            joined.append(records)
    return joined


def _may_join(call_run: CallRun, other: CallRun, tree: Mapping[bytes, CallRun]) -> bool:
    """Return whether a call may have both runs: one run of each scope, or several nested ones."""
    if call_run.span_id == other.span_id or call_run.scope != other.scope:
        return call_run.span_id != other.span_id
    if _is_accounted(call_run, other) or _is_accounted(other, call_run):
        return True
    is_wrapped = call_run.is_bare or other.is_bare
    is_again = call_run.scope != OWN_SCOPE and _has_model_of(call_run, other)
    return (is_wrapped or is_again) and (
        call_run in walk_up(other, tree) or other in walk_up(call_run, tree)
    )


def _precedence(
    run: CallRun, call: Sequence[CallRun], tree: Mapping[bytes, CallRun]
) -> tuple[bool, bool, bool, int, int, int, str, bytes]:
    """Sort key of the records of a call: otel-ml's first, as it has the version, then outer ones.

    Records that only report usage come later. Those without usage and without a response ID come
    last.
    """
    ids = {item.span_id for item in call}
    depth = sum(above.span_id in ids for above in walk_up(run, tree))
    is_ours = run.scope == OWN_SCOPE
    is_account = any(item.scope == run.scope and _is_accounted(item, run) for item in call)
    order = depth, run.start_ns, -run.end_ns, run.scope, run.span_id
    return run.is_bare and not run.response_id, is_account, not is_ours, *order


def _fill(records: Sequence[CallRun]) -> tuple[Tokens, float | None]:
    """Take each number of a call from its first record that has it.

    The cost is that of our own SDK's record, otherwise that of the record with the most kinds of
    tokens. A record without cached tokens has a wrong price.
    """
    counts = [
        next(
            (count for run in records if (count := getattr(run.tokens, field.name)) is not None),
            None,
        )
        for field in fields(Tokens)
    ]
    priced = [run for run in records if run.cost is not None]
    best = max(priced, key=_price_rank, default=None)
    return Tokens(*counts), None if best is None else best.cost


def gather_facts(records: Sequence[CallRun]) -> CallFacts:
    """Take each fact of a call from its first record that has it."""

    def find(name: str) -> Any:
        own: Any = getattr(records[0], name)
        entries = (getattr(run, name) for run in records)
        return next((fact for fact in entries if fact not in {"", None}), own)

    return CallFacts(
        provider=find("provider"),
        provider_model=find("model"),
        response_id=find("response_id"),
        inputs_preview=find("inputs_preview"),
        outputs_preview=find("outputs_preview"),
        first_token_ms=find("first_token_ms"),
        stream_chunks=find("stream_chunks"),
        latency_ns=records[0].end_ns - records[0].start_ns,
        is_whole=records[0].is_whole,
    )


def _price_rank(run: CallRun) -> tuple[bool, int]:
    entries = (getattr(run.tokens, field.name) is not None for field in fields(Tokens))
    return run.scope == OWN_SCOPE, sum(entries)


def _find_sums(
    tree: Mapping[bytes, CallRun], with_facts: Sequence[CallRun], shares: Mapping[bytes, CallShare]
) -> set[bytes]:
    """Find model runs whose tokens are exactly the sum of those of the model runs inside them.

    Input and output are taken together, because a wrapper may divide them differently. At least two
    model runs must be inside. With a single one, only its model, provider and times show whether it
    is the same call; see `_compare`.

    Args:
        tree: All runs of the trace.
        with_facts: Its runs with facts of a call.
        shares: The calls that several runs record. Only the main record of a call is looked at.
    """
    models = {
        run.span_id: run
        for run in with_facts
        if run.kind == "model" and not shares.get(run.span_id, _OWN_VALUES).record_of
    }
    if not _do_overlap(models.values()):
        return set()
    inside: defaultdict[bytes, list[CallRun]] = defaultdict(list)
    above: dict[bytes, bytes] = {}
    for run in models.values():
        for wrapper in islice(walk_up(run, tree), _SIBLING):
            if wrapper.kind == JUDGE_KIND:
                break
            if wrapper.span_id in models:
                inside[wrapper.span_id].append(run)
                above[run.span_id] = wrapper.span_id
                break
    sums: set[bytes] = set()
    used = {span_id: sum(_used(run)) for span_id, run in models.items()}  # with everything inside
    left = {span_id: len(inside[span_id]) for span_id in models}
    waiting = [span_id for span_id, number in left.items() if not number]
    while waiting:  # the innermost first; runs in a circle of parents are never reached
        span_id = waiting.pop()
        run, below = models[span_id], inside[span_id]
        total = sum(used[other.span_id] for other in below)
        is_sum = len(below) >= _FEWEST_INSIDE and 0 < total == used[span_id]
        if is_sum and all(_is_during(other, run) for other in below):
            sums.add(span_id)
        else:
            used[span_id] += total
        if (outer := above.get(span_id)) is not None:
            left[outer] -= 1
            if not left[outer]:
                waiting.append(outer)
    return sums


def _is_during(run: CallRun, wrapper: CallRun) -> bool:
    """Return whether a run starts and ends within the time of another one."""
    is_started = wrapper.start_ns - _SLACK_NS <= run.start_ns
    return is_started and run.end_ns <= wrapper.end_ns + _SLACK_NS


def _find_totals(
    tree: Mapping[bytes, CallRun], with_facts: Sequence[CallRun], sums: Set[bytes]
) -> dict[bytes, tuple[Tokens, float | None]]:
    """Find agents, chains and other runs that report the sums of the runs below them.

    Args:
        tree: All runs of the trace.
        with_facts: Its runs with facts of a call.
        sums: The model runs that report such sums.

    Returns:
        The tokens and cost that totals use for each of them.
    """
    used: set[bytes] = set()
    paid: set[bytes] = set()
    for run in with_facts:
        for covered, says in ((used, run.has_tokens), (paid, run.cost is not None)):
            for above in walk_up(run, tree) if says else ():
                is_judged = run.kind == JUDGE_KIND and above.kind != JUDGE_KIND
                if is_judged or above.span_id in covered:  # usage of judges is separate
                    break
                covered.add(above.span_id)
    return {
        run.span_id: (
            Tokens() if run.span_id in used else run.tokens,
            None if run.span_id in paid else run.cost,
        )
        for run in with_facts
        if (run.kind not in CALLS or run.span_id in sums)
        and (
            (run.has_tokens and run.span_id in used)
            or (run.cost is not None and run.span_id in paid)
        )
    }
