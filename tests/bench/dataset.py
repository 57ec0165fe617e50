"""A synthetic month of runs as OTLP requests, encoded fast: many projects, versions, tags, words.

The texts are cut from the sources of Python's standard library, which has more than 20,000
different words.
"""

import random
import re
import struct
import sysconfig
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ml_collector.times import DAY_NS

PROJECTS: Final = 10
MODELS: Final = 2
VERSIONS: Final = 5
DAYS: Final = 30
SPANS: Final = 512
JUDGE: Final = "grounded"
# Planted words that no text has otherwise, and the number of inputs that contain each.
WORDS: Final = {"quinquereme": 100_000, "marzipan": 1_000, "heliotrope": 4}

_SHUFFLED: Final = 5_000
_AGAIN: Final = 0.05
_AGAIN_AFTER: Final = 20_000
_EVALUATED_LATER: Final = 0.1
_CLIENTS: Final = 200
_SAMPLED: Final = 1_000
_INPUT_CHARS: Final = (800, 1_500)
_OUTPUT_CHARS: Final = (200, 700)
_PREVIEW_CHARS: Final = 200
_TOKEN_COST: Final = 2**-20  # dollars
_MS: Final = 10**6

_ERRORS: Final = ("TimeoutError", "ValueError", "RateLimitError")
_JUDGED: Final = '{"grounded":{"version":"00000000000000aa"}}'


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a data set.

    Attributes:
        runs: Approximate number of runs: the last trace is completed.
        end_ns: When the month ends.
        seed: A different seed makes different runs.
        days: How long the month is.
    """

    runs: int
    end_ns: int
    seed: int = 8
    days: float = DAYS


def project_name(number: int) -> str:
    """Return the name of a project; the first project has three runs in ten."""
    return f"project {number}"


def model_name(number: int) -> str:
    """Return the name of a model; every project has both."""
    return ("answer", "retrieve")[number]


class Dataset:
    """Requests in sending order, the same ones for the same plan.

    Spans of a trace are spread over requests, children before and after their parents. One span in
    twenty is sent again much later.

    Attributes:
        made: How many runs were made.
        raw_bytes: Their size on the wire, each counted once.
        samples: Project, trace id and span id of some runs.
    """

    def __init__(self, plan: Plan) -> None:
        self.made = 0
        self.raw_bytes = 0
        self.samples: list[tuple[str, str, str]] = []
        self._plan = plan
        self._random = random.Random(plan.seed)  # noqa: S311 - guards nothing
        self._text = _corpus()
        self._defined: set[bytes] = set()
        self._usage = 0, 0  # of the newest run

    def requests(self, spans: int = SPANS) -> Iterator[tuple[bytes, int]]:
        """Yield requests, each with its number of spans."""
        batch: list[bytes] = []
        for span in self._sent():
            batch.append(span)
            if len(batch) == spans:
                yield make_request(batch), spans
                batch = []
        if batch:
            yield make_request(batch), len(batch)

    def _sent(self) -> Iterator[bytes]:
        chance, waiting = self._random, list[bytes]()
        again: deque[bytes] = deque()
        held = min(_AGAIN_AFTER, self._plan.runs // 50)
        for span in self._spans():
            waiting.append(span)
            if len(waiting) < _SHUFFLED:
                continue
            place = chance.randrange(_SHUFFLED)
            waiting[place], waiting[-1] = waiting[-1], waiting[place]
            out = waiting.pop()
            yield out
            if chance.random() < _AGAIN:
                again.append(out)
            if len(again) > held:
                yield again.popleft()
        chance.shuffle(waiting)
        yield from waiting
        yield from again

    def _spans(self) -> Iterator[bytes]:
        chance, plan = self._random, self._plan
        length_ns = int(plan.days * DAY_NS)
        while self.made < plan.runs:
            done = self.made / plan.runs
            start_ns = plan.end_ns - length_ns + int(done * length_ns)
            project = 0 if chance.random() < 0.3 else chance.randrange(1, PROJECTS)
            yield from self._trace(project, start_ns, done)

    def _trace(self, project: int, start_ns: int, done: float) -> Iterator[bytes]:
        """Make a trace of 4 to 20 runs below one root, each started within its parent."""
        chance = self._random
        trace_id = chance.randbytes(16)
        common = self._common(project)
        starts: list[tuple[bytes, int]] = []
        filed = constant("otel_ml.project", project_name(project))
        for place in range(chance.randint(4, 20)):
            parent, parent_ns = chance.choice(starts) if starts else (b"", start_ns)
            span_id = chance.randbytes(8)
            own_ns = parent_ns + chance.randrange(1, 50 * _MS)
            starts.append((span_id, own_ns))
            head = field(1, trace_id) + field(2, span_id) + (field(4, parent) if parent else b"")
            named = self._version(filed, min(place, 1), done)
            span = self._run(head, common + named, model_name(min(place, 1)), own_ns)
            self.made += 1
            self.raw_bytes += len(span)
            if self.made % _SAMPLED == 0:
                self.samples.append((project_name(project), trace_id.hex(), span_id.hex()))
            yield span
            yield from self._beside(trace_id, span_id, common, own_ns)

    def _beside(
        self, trace_id: bytes, span_id: bytes, common: bytes, start_ns: int
    ) -> Iterator[bytes]:
        """Make the records that arrive separately from a run."""
        if self._random.random() < 0.5 * _EVALUATED_LATER:
            yield self._evaluation(trace_id, span_id, common, start_ns + 10**9)

    def _common(self, project: int) -> bytes:
        """Make the attributes that all runs of a trace share: project, session, user, tags."""
        chance = self._random
        client = int(_CLIENTS * chance.random() ** 2)
        user = chance.randrange(5_000)
        return b"".join(
            (
                constant("otel_ml.project", project_name(project)),
                constant("otel_ml.tag.client", f"client-{client}"),
                constant("otel_ml.tag.region", f"region-{chance.randrange(8)}"),
                constant("otel_ml.tag.tier", ("free", "team", "large")[chance.randrange(3)]),
                constant("otel_ml.tag.experiment", f"e{chance.randrange(50)}"),
                self._name_session(),
                text("user.id", b"user-%d" % user),
            )
        )

    def _name_session(self) -> bytes:
        return text("session.id", b"session-%d" % self._random.randrange(50_000))

    def _run(self, head: bytes, common: bytes, name: str, start_ns: int) -> bytes:
        chance = self._random
        latency_ns = int(chance.lognormvariate(6.5, 0.9) * _MS)
        failed = chance.random() < 0.1
        inputs = self._words(_INPUT_CHARS, planted=True)
        outputs = self._words(_OUTPUT_CHARS)
        self._usage = len(inputs) // 4, len(outputs) // 4
        attributes = [
            common,
            text("otel_ml.inputs", b'{"question":"%b"}' % inputs),
            text("otel_ml.inputs.preview", inputs[:_PREVIEW_CHARS]),
            text("otel_ml.outputs", b'"%b"' % outputs),
            text("otel_ml.outputs.preview", outputs[:_PREVIEW_CHARS]),
            number("otel_ml.latency_ms", latency_ns / _MS),
            constant("otel_ml.outcome", "error" if failed else "ok"),
            constant("gen_ai.usage.input_tokens", self._usage[0]),
            constant("gen_ai.usage.output_tokens", self._usage[1]),
            number("gen_ai.usage.cost", sum(self._usage) * _TOKEN_COST),
        ]
        if failed:
            attributes.append(constant("error.type", _ERRORS[chance.randrange(3)]))
        if chance.random() < 0.5 * (1 - _EVALUATED_LATER):
            score = chance.random()
            attributes += (
                number(f"otel_ml.score.{JUDGE}", score),
                constant(f"otel_ml.passed.{JUDGE}", score >= 0.5),
                constant("otel_ml.judges", _JUDGED),
            )
        return field(2, head + times(name, start_ns, latency_ns) + b"".join(attributes))

    def _evaluation(self, trace_id: bytes, parent: bytes, common: bytes, at_ns: int) -> bytes:
        """Make a judge's score of a run that was sent earlier."""
        score = self._random.random()
        head = field(1, trace_id) + field(2, self._random.randbytes(8)) + field(4, parent)
        attributes = (
            common,
            constant("otel_ml.record", "evaluation"),
            constant("otel_ml.judge.name", JUDGE),
            constant("otel_ml.judge.version", "00000000000000aa"),
            number("otel_ml.score.value", score),
            constant("otel_ml.passed", score >= 0.5),
            constant("otel_ml.source", "judge"),
            constant("otel_ml.target.start_ns", at_ns - 10**9),
        )
        return field(2, head + times("evaluation", at_ns, 0) + b"".join(attributes))

    def _version(self, project: bytes, model: int, done: float) -> bytes:
        """Return the newest version or the one before; a project's first run defines it."""
        version = max(int(done * VERSIONS) - (self._random.random() < 0.2), 0)
        digest = f"{model * VERSIONS + version:016x}"
        named = constant("otel_ml.kind", "model")
        named += constant("otel_ml.model.name", model_name(model))
        named += constant("otel_ml.model.version", digest)
        named += constant("otel_ml.model.output_schema", "5ca1ab1e")
        if project + named in self._defined:
            return named
        self._defined.add(project + named)
        source = f'{{"source":"def {model_name(model)}(question):\\n    return {version}\\n"}}'
        return named + constant("otel_ml.model.definition", source)

    def _words(self, chars: tuple[int, int], *, planted: bool = False) -> bytes:
        chance = self._random
        length = chance.randint(*chars)
        at = chance.randrange(len(self._text) - length)
        found = self._text[at : at + length]
        if planted:
            for word, every in WORDS.items():
                if chance.random() * every < 1:
                    found = b"%b %b" % (found, word.encode())
        return found


class OtherScope(bytes):
    """An encoded span of a different instrumentation scope than most."""


def make_request(spans: list[bytes]) -> bytes:
    """Make an export request from encoded spans."""
    batches = b""
    for scope, kind in ((b"bench", False), (b"opentelemetry.instrumentation.openai", True)):
        if batch := [span for span in spans if isinstance(span, OtherScope) is kind]:
            batches += field(2, field(1, field(1, scope)) + b"".join(batch))
    return field(1, field(1, _RESOURCE) + batches)


def field(place: int, value: bytes) -> bytes:
    """Encode a field that is bytes, text or a message.

    Spec: protobuf.dev/programming-guides/encoding. Fields above 15 are not needed here.
    """
    return bytes((place << 3 | 2,)) + _varint(len(value)) + value


def text(key: str, value: bytes) -> bytes:
    """Encode a text attribute of a span."""
    return field(9, _key(key) + field(2, field(1, value)))


def number(key: str, value: float) -> bytes:
    """Encode a number attribute of a span."""
    return field(9, _key(key) + field(2, b"\x21" + struct.pack("<d", value)))


@cache
def constant(key: str, value: str | int) -> bytes:
    """Encode a span attribute with one of few values: text, bool or integer. Cached."""
    if isinstance(value, str):
        told = AnyValue(string_value=value)
    elif isinstance(value, bool):
        told = AnyValue(bool_value=value)
    else:
        told = AnyValue(int_value=value)
    return field(9, KeyValue(key=key, value=told).SerializeToString())


@cache
def _key(key: str) -> bytes:
    return field(1, key.encode())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def times(name: str, start_ns: int, latency_ns: int) -> bytes:
    """Encode name, kind and times of a span."""
    began = b"\x30\x01\x39" + struct.pack("<Q", start_ns)
    return field(5, name.encode()) + began + b"\x41" + struct.pack("<Q", start_ns + latency_ns)


@cache
def _corpus() -> bytes:
    """Read the standard library as one text of words that need no escaping in JSON."""
    root = Path(sysconfig.get_path("stdlib"))
    sources = (
        path.read_text(errors="ignore")
        for path in sorted(root.rglob("*.py"))
        if "site-packages" not in path.parts
    )
    plain = (re.sub(r"[^A-Za-z0-9.,:()_-]+", " ", source) for source in sources)
    return " ".join(plain).encode()


_RESOURCE: Final = b"".join(
    field(1, KeyValue(key=key, value=AnyValue(string_value=told)).SerializeToString())
    for key, told in (("service.name", "bench"), ("deployment.environment.name", "prod"))
)
