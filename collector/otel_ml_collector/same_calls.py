"""The rule for runs that record the same call of a model, and for the amounts of each.

Two runs record the same call when different instrumentations (scopes) wrote them, they carry the
same id of a response, or the same usage, model and provider with one within the other's time, and
one is inside the other, with nothing but wrappers (chains and plain spans) between, or both have
one parent. Calls of one model that both failed have used the same: nothing, or what either says
of an answer that broke off. A call has one run of a scope at most.

But a run that names a model and says neither usage, cost nor the id of a response is no call beside
one of the same model right inside it, or right around it: libraries write spans around their own
calls. It records that call, whoever wrote it; of two such runs the outer one counts. What our own
decorators record stays a run of its own.

A run that says usage and nothing else, no id of a response and no content, is an account of the
call that it stands in, around or right behind, whose usage it repeats, whoever wrote it:
frameworks write spans of their own for what was used. Alone it counts: nobody else may have
recorded the call.

The rule looks at the runs of a
trace alone, so the order in which they came changes nothing. Why so:
docs/design/021-counted-once.md.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

import orjson

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import TOKENS, Run, Tokens
from otel_ml_collector.price import is_provider, provider_of, without_interface

# The kinds of runs that are calls of a provider's model, of the product or of a judge.
CALLS: Final = frozenset({"model", "embedding", JUDGE_KIND})
UNTOLD: Final = Tokens()
_WRAPPERS: Final = frozenset({"chain", "span"})
OWN_SCOPE: Final = "otel_ml"
# Two spans around one call read the clock one after the other, and some round it.
_SLACK_NS: Final = 1_000_000
# What a call used is written down as soon as it is over; a busy machine may take its time.
ACCOUNTED_NS: Final = 1_000_000_000
# ``gpt-4o-2024-08-06`` answers for ``gpt-4o``, ``models/gemini-pro`` is ``gemini-pro``.
_DATED: Final = re.compile(r"(?:[-@:](?:\d{4}-\d{2}-\d{2}|\d{6,8}|\d{3,4}|latest|v\d+(?::\d+)?))+$")
# So many runs of a scope under one parent are compared with those of another scope.
_NEIGHBOURS: Final = 64
# Runs that come together are settled before they are stored; of more it is done behind that.
_AT_ONCE: Final = 2_000
# So far above is farther than any run that is looked at: two runs of one parent.
_BESIDE: Final = 100


@dataclass(slots=True)
class CallRun:
    """A run as far as the rule looks at it; those that say nothing of a call are links of a chain.

    Nobody changes it. It is not frozen: that would take twice as long to make.

    Attributes:
        parent_span_id: Empty for a root.
        scope: The name of the instrumentation that wrote it.
        response_id: The provider's id of its answer; empty where it does not say it.
        model: The provider's name of its model.
        tokens, cost: What it says that was used; None for what it does not say.
        failed: Whether it ended with an error.
        inputs_preview, outputs_preview: What was asked and answered, as lists show it.
        first_token_ms, stream_chunks: How the answer came, where it came in pieces.
        is_client: Whether its span is one of a client, as of a call that leaves the process.
        is_whole: Whether its payload has an input and an output.
        session, user, experiment: What it names, of which `settlement` looks.
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
    tokens: Tokens = UNTOLD
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

    @property
    def has_tokens(self) -> bool:
        """Whether it has a number of tokens."""
        return self.tokens.input is not None or self.tokens.output is not None

    @property
    def has_content(self) -> bool:
        """Whether it has the call's input or output."""
        return bool(self.inputs_preview or self.outputs_preview)

    @property
    def is_bare(self) -> bool:
        """Whether it names a model and says nothing of an answer, so that it may wrap a call."""
        is_call = self.kind in CALLS and self.scope != OWN_SCOPE and bool(self.model)
        return is_call and not (self.response_id or self.has_tokens or self.cost is not None)

    @property
    def is_account(self) -> bool:
        """Whether it says usage and nothing else of an answer, so that it may repeat a call's."""
        is_call = self.kind in CALLS and self.scope != OWN_SCOPE and not self.failed
        return is_call and self.has_tokens and not (self.has_content or self.response_id)

    @property
    def tells(self) -> bool:
        """Whether it says anything by which a call is known, or that is added up."""
        is_known = (self.failed and self.kind in CALLS) or self.is_bare
        return bool(self.response_id) or self.has_tokens or self.cost is not None or is_known


@dataclass(frozen=True, slots=True)
class OtherRecord:
    """Another run that records the same call."""

    span_id: bytes
    start_ns: int
    scope: str


@dataclass(frozen=True, slots=True)
class CallFacts:
    """Facts of a call from all of its records, beside tokens and cost.

    Attributes:
        latency_ns: Of the record that counts.
        is_whole: Whether that has an input and an output, so that no other record lends it any.
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
    """The amounts of a run that count, where they differ from its own.

    Attributes:
        record_of: The run that counts for their call; empty for one that counts itself.
        others: The other records of its call, where it is the one that counts.
        tokens, cost: What is added up of it: for its call the number of any of its records, and
            nothing where it repeats the sum of the runs below it.
        facts: The facts that it shows of its call, where others record it, too.
    """

    record_of: bytes = b""
    others: Sequence[OtherRecord] = ()
    tokens: Tokens = UNTOLD
    cost: float | None = None
    facts: CallFacts = UNKNOWN


def call_run_of(run: Run) -> CallRun:
    """Take the fields of a run that the rule looks at."""
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
    )


def find_shares_of(runs: Sequence[Run]) -> dict[tuple[str, bytes], dict[bytes, CallShare]] | None:
    """Find the amounts that count of runs that come together, by project and trace.

    Returns:
        None where they are too many to be looked at before they are stored.
    """
    items = [run for run in runs if is_telling(run)]
    if len({(run.project, run.scope) for run in items}) == len({run.project for run in items}) and (
        CALLS.issuperset(run.kind for run in items) and not any(map(may_be_second, items))
    ):
        return {}
    if len(items) > _AT_ONCE:
        return None
    traces: defaultdict[tuple[str, bytes], list[Run]] = defaultdict(list)
    for run in items:
        traces[run.project, run.trace_id].append(run)
    mixed = {
        key
        for key, telling in traces.items()
        if len(telling) > 1
        and (
            len({run.scope for run in telling}) > 1
            or {run.kind for run in telling} - CALLS
            or any(map(may_be_second, telling))
        )
    }
    whole: defaultdict[tuple[str, bytes], dict[bytes, Run]] = defaultdict(dict)
    for run in sorted(runs, key=attrgetter("rank")) if mixed else ():  # of one span the winner
        if (run.project, run.trace_id) in mixed:
            whole[run.project, run.trace_id][run.span_id] = run
    return {key: find_shares(map(_facts_of, of_trace.values())) for key, of_trace in whole.items()}


def _facts_of(run: Run) -> CallRun:
    """Take the facts of a run that tells of a call, of any other its place in the trace."""
    if is_telling(run):
        return call_run_of(run)
    return CallRun(run.span_id, run.parent_span_id, run.kind, run.start_ns)


def is_telling(run: Run) -> bool:
    """Tell whether a run says anything by which a call is known, or that is added up."""
    return run.kind != "span" and (
        bool(run.response_id)
        or run.input_tokens is not None
        or run.output_tokens is not None
        or run.cost is not None
        or (run.outcome == "error" and run.kind in CALLS)
        or is_bare(run)
    )


def is_bare(run: Run) -> bool:
    """Tell whether a run names a model and says nothing of an answer: it may wrap a call."""
    return (
        run.input_tokens is None
        and run.output_tokens is None
        and run.provider_model != ""
        and run.kind in CALLS
        and call_run_of(run).is_bare
    )


def may_be_second(run: Run) -> bool:
    """Tell whether a run may record a call that another run of its own scope records."""
    is_account = run.input_tokens is not None or run.output_tokens is not None
    return is_bare(run) or (
        is_account
        and not (run.inputs_preview or run.outputs_preview)
        and run.kind in CALLS
        and call_run_of(run).is_account
    )


@lru_cache(1_000)
def name_scope(scope: str) -> str:
    """Read the name of an instrumentation from the JSON text of a run's scope."""
    name = orjson.loads(scope).get("name") if scope else None
    return name if isinstance(name, str) else ""


def find_shares(runs: Iterable[CallRun]) -> dict[bytes, CallShare]:
    """Find the shares of a trace's runs that count otherwise than their own values, by span id.

    Args:
        runs: All runs of the trace that are known, in any order; of a span the last holds.

    Returns:
        The shares of the runs that count otherwise than their own values.
    """
    tree = {run.span_id: run for run in sorted(runs, key=attrgetter("span_id"))}
    telling = [run for run in tree.values() if run.tells]
    calls = _join(list(_find_pairs(tree, [run for run in telling if run.kind in CALLS])), tree)
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
    shares |= _find_totals(tree, telling)
    return shares


# The least sure of what tells that two runs record one call: one of them says its usage alone.
_ACCOUNTED: Final = 3
# Two runs that may record one call, behind what says how sure that is: the least is the surest.
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
    """Pair runs of the same parent: those near each other, perhaps only those at the same time."""
    siblings.sort(key=attrgetter("start_ns", "span_id"))
    slack_ns = ACCOUNTED_NS if any(run.is_account for run in siblings) else _SLACK_NS
    for place, run in enumerate(siblings):
        for other in siblings[place + 1 : place + 1 + _NEIGHBOURS]:
            if at_once and other.start_ns > run.end_ns + slack_ns:
                break
            if order := _compare(run, other, _BESIDE):
                yield order, run, other


def _enclosing(run: CallRun, tree: Mapping[bytes, CallRun]) -> Iterator[CallRun]:
    """Walk up from a run, past wrappers only, to the first run that is none."""
    for above in islice(_ancestors(run, tree), _BESIDE):
        yield above
        if above.kind not in _WRAPPERS:
            return


def _ancestors(run: CallRun, tree: Mapping[bytes, CallRun]) -> Iterator[CallRun]:
    """Walk up from a run, past whatever is there."""
    seen = {run.span_id}
    above = tree.get(run.parent_span_id)
    while above is not None and above.span_id not in seen:
        yield above
        seen.add(above.span_id)
        above = tree.get(above.parent_span_id)


def _compare(call_run: CallRun, other: CallRun, distance: int) -> _Order | None:
    """Tell how sure it is that two runs record the same call; None when they do not.

    By the id of its response before its usage, that before one around the other, inside before
    beside, near before far.
    """
    if call_run.kind not in CALLS or call_run.kind != other.kind:
        return None
    doubt = _find_doubt(call_run, other, is_around=distance < _BESIDE)
    if doubt is None:
        return None
    if doubt == _ACCOUNTED:
        gap_ns = min(abs(call_run.start_ns - other.end_ns), abs(other.start_ns - call_run.end_ns))
    else:
        gap_ns = abs(call_run.start_ns - other.start_ns) + abs(call_run.end_ns - other.end_ns)
    first, last = sorted((call_run.span_id, other.span_id))
    return doubt, distance, gap_ns, first, last


def _find_doubt(call_run: CallRun, other: CallRun, *, is_around: bool) -> int | None:
    """Rank the sign by which two runs record the same call, the surest first; else None."""
    is_other = call_run.scope != other.scope
    if is_other and call_run.response_id and call_run.response_id == other.response_id:
        return 0
    if call_run.response_id and other.response_id:
        return None
    is_within = _is_within(call_run, other)
    if is_within and is_other and _use_the_same(call_run, other):
        return 1
    if is_within and is_around and _is_wrapping(call_run, other):
        return 2
    return _ACCOUNTED if _is_accounted(call_run, other) or _is_accounted(other, call_run) else None


def _is_accounted(call: CallRun, account: CallRun) -> bool:
    """Tell whether a run repeats the usage of a call: during it, or right after it."""
    if not account.is_account or not (
        call.has_content or (call.is_client and not account.is_client)
    ):
        return False
    is_behind = call.start_ns <= account.start_ns <= call.end_ns + ACCOUNTED_NS
    is_around = account.start_ns <= call.start_ns and call.end_ns <= account.end_ns
    return (is_behind or is_around) and _use_the_same(call, account)


def _is_wrapping(above: CallRun, below: CallRun) -> bool:
    """Tell whether a run is around the call that another records, and nothing but that.

    A failure inside a run that went well was tried again.
    """
    if not (above.is_bare or (below.is_bare and (above.failed or not below.failed))):
        return False
    model = name_model(above.model)
    return bool(model) and model == name_model(below.model)


def _is_within(call_run: CallRun, other: CallRun) -> bool:
    """Tell whether either of two runs began and ended while the other was under way."""
    starts, ends = call_run.start_ns - other.start_ns, call_run.end_ns - other.end_ns
    return (starts <= _SLACK_NS and ends >= -_SLACK_NS) or (
        starts >= -_SLACK_NS and ends <= _SLACK_NS
    )


def _use_the_same(call_run: CallRun, other: CallRun) -> bool:
    """Tell whether two runs say the same usage, and no different provider or model."""
    have_failed = call_run.failed and other.failed
    if _used(call_run) != _used(other) and not (have_failed and _do_not_differ(call_run, other)):
        return False
    is_used = any(_used(call_run)) and any(_used(other))
    if not is_used and not (have_failed and call_run.model and other.model):
        return False
    models = {name_model(call_run.model), name_model(other.model)} - {""}
    provider, other_provider = (_words_of(run.provider) for run in (call_run, other))
    is_other = bool(provider and other_provider) and not provider & other_provider
    # A framework names itself where its provider should stand.
    is_other = is_other and is_provider(call_run.provider) and is_provider(other.provider)
    return not is_other and len(models) <= 1


def _do_not_differ(call_run: CallRun, other: CallRun) -> bool:
    """Tell whether two runs say the same usage where both say any.

    Of an answer that broke off a library may count the part that came, and another may not.
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
    """Name a provider by its words: ``azure.ai.openai`` is also called ``openai``."""
    return frozenset(provider_of(provider).lower().split(".")) - {"", "ai"}


@lru_cache(1_000)
def name_model(name: str) -> str:
    """Name a provider's model without its folder and date, as another library may write it."""
    return _DATED.sub("", without_interface(name.strip().lower().rpartition("/")[2]))


def _join(pairs: Sequence[_Pair], tree: Mapping[bytes, CallRun]) -> list[list[CallRun]]:
    """Join pairs to calls, the surest first: of a scope a call has one run, and one response.

    Runs of a scope that are around each other count as a single run, as far as either has any
    values.
    """
    calls: dict[bytes, list[CallRun]] = {}
    for _, *pair in sorted(pairs, key=itemgetter(0)):
        first, other = (calls.setdefault(run.span_id, [run]) for run in pair)
        both = [*first, *other]
        responses = {run.response_id for run in both} - {""}
        if len(responses) <= 1 and all(
            _may_join(run, beside, tree) for run in first for beside in other
        ):
            calls |= dict.fromkeys((run.span_id for run in both), both)
    return [call for span_id, call in calls.items() if span_id == call[0].span_id and call[1:]]


def _may_join(call_run: CallRun, other: CallRun, tree: Mapping[bytes, CallRun]) -> bool:
    """Tell whether a call may have both runs."""
    if call_run.span_id == other.span_id or call_run.scope != other.scope:
        return call_run.span_id != other.span_id
    if _is_accounted(call_run, other) or _is_accounted(other, call_run):
        return True
    return (call_run.is_bare or other.is_bare) and (
        call_run in _ancestors(other, tree) or other in _ancestors(call_run, tree)
    )


def _precedence(
    run: CallRun, call: Sequence[CallRun], tree: Mapping[bytes, CallRun]
) -> tuple[bool, bool, bool, int, int, int, str, bytes]:
    """Order the records of a call: our own first, as it has the version, then the outermost.

    What says nothing of the answer comes last, and before it what says its usage alone.
    """
    ids = {item.span_id for item in call}
    depth = sum(above.span_id in ids for above in _ancestors(run, tree))
    is_ours = run.scope == OWN_SCOPE
    is_account = any(item.scope == run.scope and _is_accounted(item, run) for item in call)
    order = depth, run.start_ns, -run.end_ns, run.scope, run.span_id
    return run.is_bare, is_account, not is_ours, *order


def _fill(records: Sequence[CallRun]) -> tuple[Tokens, float | None]:
    """Take each number of a call from the first of its records that has it.

    The cost is that of our own SDK's record, else of the record with the most counts of tokens: a
    record without cached tokens has another price.
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
    """Take each fact of a call from the first of its records that says it."""

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


def _find_totals(
    tree: Mapping[bytes, CallRun], telling: Sequence[CallRun]
) -> dict[bytes, CallShare]:
    """Find the amounts of agents, chains and other runs that are sums of the runs below them."""
    used: set[bytes] = set()
    paid: set[bytes] = set()
    for run in telling:
        for covered, says in ((used, run.has_tokens), (paid, run.cost is not None)):
            for above in _ancestors(run, tree) if says else ():
                is_judged = run.kind == JUDGE_KIND and above.kind != JUDGE_KIND
                if is_judged or above.span_id in covered:  # what judges use is no part of it
                    break
                covered.add(above.span_id)
    return {
        run.span_id: CallShare(
            tokens=Tokens() if run.span_id in used else run.tokens,
            cost=None if run.span_id in paid else run.cost,
        )
        for run in telling
        if run.kind not in CALLS
        and (
            (run.has_tokens and run.span_id in used)
            or (run.cost is not None and run.span_id in paid)
        )
    }
