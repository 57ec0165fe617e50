"""Resolves runs: which tokens and cost totals count, and which names a run inherits.

If any run of a trace names a session, a user or an experiment, all runs without one inherit it.
The root's name wins, then the name of the earliest run. A trace stays part of its experiment even
if the run that named it is deleted, because its runs never were production.

Feedback or another late-arriving record for a trace key applies to the roots of the traces with
that key. A record for a tag applies to every run with the tag, whether the tag is on
the span or arrived later. Records may arrive before their runs, keys and tags.

The rules use only the runs of a trace, so the order of arrival does not matter. Design record:
docs/design/021-counted-once.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import Run
from otel_ml_collector.mapping.chat import text_of_part
from otel_ml_collector.owners import own_key, own_tag
from otel_ml_collector.records import UNCOUNTED
from otel_ml_collector.same_calls import (
    CALLS,
    OWN_SCOPE,
    UNKNOWN,
    WRAPPERS,
    CallRun,
    CallShare,
    call_run_of,
    gather_facts,
    has_facts,
    name_scope,
    walk_up,
)

TraceId = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class TraceNames:
    """Names that a run inherits from its trace; empty if no run of the trace has them."""

    session: str = ""
    user: str = ""
    experiment: str = ""


NAMES: Final = tuple(field.name for field in fields(TraceNames))
NO_NAMES: Final = TraceNames()


@dataclass(frozen=True, slots=True)
class Resolution:
    """Values that a run gets from other runs and records instead of from its own span.

    For example, a run without a session inherits the session of its trace.

    Attributes:
        share: The tokens and cost to use for this run in totals, if its own would be counted twice:
            another run records the same call, or this run reports the sum of the calls below it.
            None if totals use its own values.
        names: Session, user and experiment that the run inherits from other runs of its trace.
        owners: The trace keys and tags under which late-arriving records of the run (such as
            feedback) are stored, sorted.
    """

    share: CallShare | None = None
    names: TraceNames = NO_NAMES
    owners: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class InheritedContent:
    """The input and output that lists show for a run that has recorded none.

    They are copied from other runs of the trace. For example, a request without an output shows the
    last answer inside it.

    Attributes:
        inputs_preview, outputs_preview: One line of text. Empty if nothing is inherited, for
            example because the run has its own input or output.
        inputs_of: Span ID of the run from which the input is copied.
    """

    inputs_preview: str = ""
    outputs_preview: str = ""
    inputs_of: bytes = b""


NOTHING: Final = Resolution()
_NO_SHARE: Final = CallShare()
NO_CONTENT: Final = InheritedContent()


@dataclass(frozen=True, slots=True)
class LateValues:
    """What late-arriving records say that name a run: the newest score of each judge and reviewer.

    Attributes:
        scores: Numbers, of those that gave one.
        passed: Whether the run passed, of those that said so.
        failed: The judges that raised an error.
        labels: The newest label of each name by a reviewer, as JSON text.
        truths: The newest ground truth of each name, as JSON text.
        reports: The newest report of each name by a program, as JSON text.
        tags: The newest tag of each name that arrived separately: its value as JSON text, and when
            it was set.
    """

    scores: Mapping[str, float]
    passed: Mapping[str, bool]
    failed: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    truths: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)


NO_LATE_VALUES: Final = LateValues({}, {})


@dataclass(frozen=True, slots=True)
class ResolvedRun:
    """A row of the store: the values that one run gets from other runs and records.

    For example, a run without a session inherits the session of its trace. These values are called
    the run's resolution. When more records arrive, they are computed again, and a second row is
    stored for the run.

    Attributes:
        rank: Time when the values were computed, by the store's clock, in nanoseconds since 1970. 0
            if they were computed before the run was stored. If there are several rows for a run,
            the row with the highest rank is used.
        late: What late-arriving records say about the run, for its row in `runs`. The table
            `settled` has none.
    """

    project: str
    trace_id: bytes
    span_id: bytes
    start_ns: int
    resolution: Resolution
    rank: int = 0
    late: LateValues = NO_LATE_VALUES

    @property
    def counts(self) -> bool:
        """Whether totals may add other tokens and cost than those of the run's span."""
        return self.resolution.share is not None

    @property
    def share(self) -> CallShare:
        """The tokens and cost that totals add; empty if `counts` is false."""
        return self.resolution.share or _NO_SHARE

    @property
    def names(self) -> TraceNames:
        """The session, user and experiment that the run inherits from its trace."""
        return self.resolution.names


def form_of(run: Run | CallRun) -> tuple[bool, bool, bool]:
    """Return three flags: whether a run has a session, a user, and an experiment.

    A run inherits a name that it lacks from another run of its trace. If all runs of a trace have
    the same flags, no run inherits anything.
    """
    return run.session != "", run.user != "", run.experiment != ""


def naming_run_of(run: Run) -> CallRun:
    """Return the names and previews of a run, and its place in the trace."""
    return CallRun(
        run.span_id,
        run.parent_span_id,
        run.kind,
        run.start_ns,
        scope=name_scope(run.scope),
        inputs_preview=run.inputs_preview,
        outputs_preview=run.outputs_preview,
        session=run.session,
        user=run.user,
        experiment=run.experiment,
        tool=run.model if run.kind == "tool" else "",
    )


def find_inherited_names(
    runs: Iterable[CallRun], resolved: Mapping[bytes, Resolution] | None = None
) -> dict[bytes, TraceNames]:
    """Return the session, user and experiment that runs inherit from their trace, by span ID.

    Args:
        runs: All runs of the trace, each once, in any order.
        resolved: What is stored about these runs already. An experiment that was found earlier is
            kept, even if the run that named it is deleted.
    """
    runs = [*runs]
    experiments = (resolution.names.experiment for resolution in (resolved or {}).values())
    named = {"experiment": kept} if (kept := next(filter(None, experiments), "")) else {}
    for name in NAMES:
        naming = [run for run in runs if getattr(run, name)]
        if 0 < len(naming) < len(runs):
            named[name] = getattr(min(naming, key=_precedence), name)
    inherited: dict[bytes, TraceNames] = {}
    # Runs that lack the same names inherit the same ones, so find them once per combination.
    by_form: dict[tuple[bool, bool, bool], TraceNames] = {}
    for run in runs if named else ():
        form = form_of(run)
        if (names := by_form.get(form)) is None:
            lacking = [name for name, has in zip(NAMES, form, strict=True) if not has]
            names = TraceNames(**{name: named[name] for name in lacking if name in named})
            by_form[form] = names
        if names != NO_NAMES:
            inherited[run.span_id] = names
    return inherited


def name_owners(
    runs: Iterable[CallRun],
    tags: Mapping[bytes, Collection[str]],
    keys: Collection[str],
    annotated: Collection[str],
) -> dict[bytes, Sequence[str]]:
    """Find the trace keys and tags under which records about each run are stored.

    Records such as feedback can arrive later than the runs. They can be about one run, about a
    trace key (a text that the user gave to a trace), or about all runs with a certain tag. Records
    about a trace key apply to the runs that are not directly inside another run of the trace.

    Args:
        runs: All runs of one trace, each once, in any order.
        tags: By span ID, the tags of each run as text. Includes tags that arrived later.
        keys: The trace keys of the trace, and its trace ID.
        annotated: The trace keys and tags for which such records are stored.

    Returns:
        By span ID, the trace keys and tags of `annotated` that apply to the run, sorted. Runs to
            which none applies are left out.
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


# Kinds of runs whose result is not the answer to a request.
_FINDERS: Final = frozenset({"tool", "retriever"})
# Kinds of runs from which a request inherits no question and no answer. An experiment can provide
# them.
_SILENT: Final = frozenset(UNCOUNTED) - {"experiment"}


def find_inherited_contents(
    runs: Iterable[CallRun], shares: Mapping[bytes, CallShare]
) -> dict[bytes, InheritedContent]:
    """Find questions and answers that runs inherit from other runs of their trace.

    * A call with an answer and without a question inherits the question of the nearest wrapper
      around it, if the same scope wrote it and it contains no other call. Mastra writes the
      question on the step around its call. Our own decorators record both, unless they must not.
    * A call without answer and error gets the tools directly below it as its answer. AgentOps
      writes the tool calls of an answer as runs.
    * A request, which is a run without a recorded parent, gets the first question and the last
      answer inside it. The result of a tool or a retriever is an answer only if there is no other.
      A failed request has no answer.

    Args:
        runs: All runs of the trace, each once, in any order, with contents from log records.
        shares: The result of `find_shares`. Runs that repeat another record of their call are left
            out. The contents of all records of a call are used before those of other runs.

    Returns:
        The contents by span ID, for runs that lack some and can inherit it.
    """
    tree = {run.span_id: run for run in sorted(runs, key=_order)}
    below = _group_by_parent(tree.values())
    inherited = _find_contents_of_calls(tree, below, shares)
    for run in tree.values():
        is_request = run.parent_span_id not in tree and run.kind != JUDGE_KIND
        if is_request and run.span_id not in inherited:
            inherited[run.span_id] = _find_conversation(run, below)
    return {span_id: content for span_id, content in inherited.items() if content != NO_CONTENT}


def complete_calls(
    runs: Iterable[CallRun], shares: dict[bytes, CallShare]
) -> dict[bytes, CallShare]:
    """Add the questions and answers that calls inherit to the facts of their calls.

    Only the first two rules of `find_inherited_contents` apply. A call that several runs recorded
    and a call with a single record are treated alike. Requests are completed when they are read.

    Args:
        runs: All ended runs of the trace, each once, in any order.
        shares: The result of `find_shares`.

    Returns:
        The shares, with one more for each call that has a single record and inherits something.
            Its tokens and cost are those that the call reports.
    """
    runs = [*runs]
    if not any(map(lacks_words, runs)):
        return shares
    tree = {run.span_id: run for run in sorted(runs, key=_order)}
    contents = _find_contents_of_calls(tree, _group_by_parent(tree.values()), shares)
    complete = dict(shares)
    for span_id, content in contents.items():
        call = tree[span_id]
        share = complete.get(span_id)
        if share is None and call.has_facts:
            share = CallShare(tokens=call.tokens, cost=call.cost, facts=gather_facts([call]))
        if share is None or share.facts == UNKNOWN:  # it reports the sum of other calls
            continue
        facts = replace(
            share.facts,
            inputs_preview=share.facts.inputs_preview or content.inputs_preview,
            outputs_preview=share.facts.outputs_preview or content.outputs_preview,
        )
        complete[span_id] = replace(share, facts=facts)
    return complete


def lacks_words(run: CallRun) -> bool:
    """Return whether the record of a call has only a question or only an answer.

    If no record of a trace does, no call of the trace inherits any. What our own decorators leave
    out stays empty: it is not captured on purpose.
    """
    return (
        run.kind == "model"
        and bool(run.inputs_preview) != bool(run.outputs_preview)
        and not (run.failed and run.inputs_preview)
        and run.scope != OWN_SCOPE
    )


def _group_by_parent(runs: Iterable[CallRun]) -> Mapping[bytes, Sequence[CallRun]]:
    below: defaultdict[bytes, list[CallRun]] = defaultdict(list)
    for run in runs:
        below[run.parent_span_id].append(run)
    return below


def _find_contents_of_calls(
    tree: Mapping[bytes, CallRun],
    below: Mapping[bytes, Sequence[CallRun]],
    shares: Mapping[bytes, CallShare],
) -> dict[bytes, InheritedContent]:
    """Find the questions and answers that calls inherit; see `find_inherited_contents`.

    Args:
        tree: All runs of the trace by span ID, in the order of their starts.
        below: The same runs by the span ID of their parent.
        shares: The result of `find_shares`.
    """
    calls = [
        run
        for run in tree.values()
        if run.kind in CALLS and not (run.span_id in shares and shares[run.span_id].record_of)
    ]
    number: defaultdict[bytes, int] = defaultdict(int)
    for call in calls:
        for above in walk_up(call, tree):
            number[above.span_id] += 1
    inherited: dict[bytes, InheritedContent] = {}
    for call in calls:
        facts = shares[call.span_id].facts if call.span_id in shares else UNKNOWN
        is_asked = bool(call.inputs_preview or facts.inputs_preview)
        is_answered = bool(call.outputs_preview or facts.outputs_preview)
        if call.kind != "model" or call.scope == OWN_SCOPE or is_asked == is_answered:
            continue
        content = NO_CONTENT
        if is_answered:
            content = _find_question(call, tree, number)
        elif not call.failed:
            content = _find_tools(below.get(call.span_id, ()))
        if content != NO_CONTENT:
            inherited[call.span_id] = content
    return inherited


def _find_question(
    call: CallRun, tree: Mapping[bytes, CallRun], number: Mapping[bytes, int]
) -> InheritedContent:
    """Find the question of a call on a wrapper around it."""
    for above in walk_up(call, tree):
        if above.kind not in WRAPPERS or above.scope != call.scope or number[above.span_id] > 1:
            break
        if above.inputs_preview:
            return InheritedContent(inputs_preview=above.inputs_preview, inputs_of=above.span_id)
    return NO_CONTENT


def _find_tools(below: Iterable[CallRun]) -> InheritedContent:
    """Return the tool runs directly below a call as its answer."""
    parts = (
        {"type": "tool_call", "name": run.tool, "arguments": run.inputs_preview or None}
        for run in below
        if run.kind == "tool"
    )
    text = ", ".join(map(text_of_part, parts))
    return InheritedContent(outputs_preview=text)


def _find_conversation(
    request: CallRun, below: Mapping[bytes, Sequence[CallRun]]
) -> InheritedContent:
    """Find the first question and the last answer inside a request."""
    inside: list[CallRun] = []
    waiting = [*below.get(request.span_id, ())]
    while waiting:  # ends, because runs in a circle of parents are never below a request
        run = waiting.pop()
        waiting += below.get(run.span_id, ())
        if run.kind not in _SILENT:
            inside.append(run)
    inside.sort(key=_order)
    asked, answered = choose_words(
        inside,
        is_asked=bool(request.inputs_preview),
        is_answered=bool(request.outputs_preview) or request.failed,
    )
    return InheritedContent(
        asked.inputs_preview if asked else "",
        answered.outputs_preview if answered else "",
        asked.span_id if asked else b"",
    )


def choose_words(
    inside: Sequence[CallRun], *, is_asked: bool, is_answered: bool
) -> tuple[CallRun | None, CallRun | None]:
    """Choose the runs whose input and output a request shows as its own; None for nothing.

    Args:
        inside: The runs inside the request, in the order of their start.
        is_asked: Whether the request has an input.
        is_answered: Whether the request has an output, or failed.
    """
    asked = (run for run in inside if run.inputs_preview and not is_asked)
    answers = [run for run in inside if run.outputs_preview and not is_answered]
    # A tool may end last. Its result is an answer only if nothing else answered.
    answers = [run for run in answers if run.kind not in _FINDERS] or answers
    return next(asked, None), answers[-1] if answers else None


def _order(run: CallRun) -> tuple[int, bytes]:
    return run.start_ns, run.span_id


def _precedence(run: CallRun) -> tuple[bool, int, bytes]:
    """Sort key of the runs with names: the root first, then the earliest start."""
    return run.parent_span_id != b"", run.start_ns, run.span_id


def may_lack_words(run: Run) -> bool:
    """Do the same as `lacks_words` for a run that was not compared yet."""
    return (
        run.kind == "model"
        and (run.inputs_preview == "") != (run.outputs_preview == "")
        and has_facts(run)
        and lacks_words(call_run_of(run))
    )
