"""A synthetic month of projects that use all features, so a run is more than its own row."""

from collections.abc import Iterator
from typing import Final

from tests.bench.dataset import (
    JUDGE,
    Dataset,
    OtherScope,
    Plan,
    constant,
    field,
    number,
    project_name,
    text,
    times,
)

# Share of runs with a late tag, of calls recorded twice, of traces with a score by trace key, of
# traces of an experiment, and of traces whose session is on a span other than its runs.
LATE_TAGS: Final = 0.05
RECORDED_TWICE: Final = 0.1
TOLD_BY_KEY: Final = 0.02
OF_EXPERIMENTS: Final = 0.03
SESSION_ELSEWHERE: Final = 0.2

_EXPERIMENTS: Final = 20
_ITEMS: Final = 500
_SECOND_NS: Final = 10**9
_MS: Final = 10**6


class FullDataset(Dataset):
    """The month, with late-arriving records and with records about runs elsewhere."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._filed = self._key = self._experiment = self._session = b""
        self._is_root = False

    def _common(self, project: int) -> bytes:
        """Draw the optional features of a trace."""
        chance = self._random
        self._filed = constant("otel_ml.project", project_name(project))
        self._is_root = True
        self._key = b"order-%d" % chance.getrandbits(48) if chance.random() < TOLD_BY_KEY else b""
        self._experiment = self._make_item() if chance.random() < OF_EXPERIMENTS else b""
        common = super()._common(project)
        return common + (text("otel_ml.trace_key", self._key) if self._key else b"")

    def _name_session(self) -> bytes:
        session = super()._name_session()
        is_elsewhere = self._random.random() < SESSION_ELSEWHERE
        self._session = session if is_elsewhere else b""
        return b"" if is_elsewhere else session

    def _run(self, head: bytes, common: bytes, name: str, start_ns: int) -> bytes:
        return super()._run(head, common + self._experiment * self._is_root, name, start_ns)

    def _beside(
        self, trace_id: bytes, span_id: bytes, common: bytes, start_ns: int
    ) -> Iterator[bytes]:
        """Make late scores, late tags and second records; for a root also its key and session."""
        yield from super()._beside(trace_id, span_id, common, start_ns)
        chance = self._random
        below = field(1, trace_id) + field(2, chance.randbytes(8)) + field(4, span_id)
        if self._is_root and self._session:
            named = times("request", start_ns, _MS) + self._filed + self._session
            yield field(2, below + named)
        if self._is_root and self._key:
            yield self._told_by_key(start_ns + _SECOND_NS)
        self._is_root = False
        if chance.random() < LATE_TAGS:
            yield self._late_tag(trace_id, span_id, start_ns)
        if chance.random() < RECORDED_TWICE:
            yield self._second_record(trace_id, span_id, start_ns)

    def _make_item(self) -> bytes:
        """Return the experiment and the item of a trace."""
        experiment, item = self._random.randrange(_EXPERIMENTS), self._random.randrange(_ITEMS)
        told = {
            "experiment": f"{experiment:032x}",
            "experiment.name": f"experiment {experiment}",
            "experiment.dataset": "questions",
            "item.id": f"item-{item}",
            "item.digest": f"{item:064x}",
        }
        return b"".join(constant(f"otel_ml.{key}", value) for key, value in told.items())

    def _told_by_key(self, at_ns: int) -> bytes:
        """Make a score of all runs of a trace, addressed by trace key."""
        head = field(1, self._random.randbytes(16)) + field(2, self._random.randbytes(8))
        score = self._random.random()
        attributes = (
            self._filed,
            constant("otel_ml.record", "evaluation"),
            text("otel_ml.target.trace_key", self._key),
            constant("otel_ml.judge.name", JUDGE),
            constant("otel_ml.judge.version", "00000000000000aa"),
            number("otel_ml.score.value", score),
            constant("otel_ml.passed", score >= 0.5),
            constant("otel_ml.source", "judge"),
        )
        return field(2, head + times("evaluation", at_ns, 0) + b"".join(attributes))

    def _late_tag(self, trace_id: bytes, parent: bytes, start_ns: int) -> bytes:
        head = field(1, trace_id) + field(2, self._random.randbytes(8)) + field(4, parent)
        attributes = (
            self._filed,
            constant("otel_ml.record", "update"),
            constant("otel_ml.tag.reviewed", ("yes", "no")[self._random.randrange(2)]),
            constant("otel_ml.target.start_ns", start_ns),
        )
        told = times("update", start_ns + _SECOND_NS, 0) + b"".join(attributes)
        return field(2, head + told)

    def _second_record(self, trace_id: bytes, parent: bytes, start_ns: int) -> bytes:
        """Make an instrumentation's record of the call inside a run, with the same usage."""
        head = field(1, trace_id) + field(2, self._random.randbytes(8)) + field(4, parent)
        attributes = (
            self._filed,
            constant("gen_ai.operation.name", "chat"),
            constant("gen_ai.provider.name", "openai"),
            constant("gen_ai.request.model", "gpt-4o-mini"),
            constant("gen_ai.usage.input_tokens", self._usage[0]),
            constant("gen_ai.usage.output_tokens", self._usage[1]),
        )
        told = times("chat gpt-4o-mini", start_ns + _MS, _MS) + b"".join(attributes)
        return OtherScope(field(2, head + told))
