"""Record calls with Phoenix's own OpenTelemetry registration, annotate them, and store a data set.

Arguments: the address of a Phoenix server. It prints what Phoenix says that it has then.
"""

import json
import sys
import time
from urllib.request import urlopen

from openinference.instrumentation import (
    using_metadata,
    using_prompt_template,
    using_session,
    using_tags,
    using_user,
)
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context
from phoenix.client import Client
from phoenix.otel import register

BASE = sys.argv[1]
PROJECT = "support"
SECOND_NS = 10**9
START_NS = 1_705_312_800 * SECOND_NS  # January 2024
DEADLINE_S = 60.0


class Recorder:
    """Records the spans of three requests."""

    def __init__(self) -> None:
        self._provider = register(
            endpoint=f"{BASE}/v1/traces",
            project_name=PROJECT,
            batch=False,
            verbose=False,
            protocol="http/protobuf",
        )
        self._tracer = self._provider.get_tracer("support.chat")

    def start(
        self, name: str, kind: str, at_ms: int, parent: Span | None = None, **more: str | float
    ) -> Span:
        """Start a span; a name of an attribute is written with ``__`` for each dot."""
        attributes = {key.replace("__", "."): value for key, value in more.items()}
        span: Span = self._tracer.start_span(
            name,
            context=None if parent is None else set_span_in_context(parent),
            start_time=START_NS + at_ms * 10**6 + 123_000,
            attributes={"openinference.span.kind": kind, **attributes},
        )
        return span

    def answer(self, number: int) -> tuple[Span, Span]:
        """Record a request with a search and a call of a model; return the request and the call."""
        at_ms = 60_000 * number
        question = f"Where is order {number}?"
        root = self.start(
            *("answer", "CHAIN", at_ms),
            input__value=question,
            output__value="It ships today.",
            prompt__id="answer-orders",
        )
        documents = {
            f"retrieval.documents.{place}.document.{key}": value
            for place in range(2)
            for key, value in (("content", "a page"), ("score", 0.5), ("metadata", '{"page": 3}'))
        }
        search = self.start("retrieve", "RETRIEVER", at_ms + 10, root, **documents)
        search.end(START_NS + (at_ms + 60) * 10**6)
        call = self.start(
            *("ChatCompletion", "LLM", at_ms + 100, root),
            llm__model_name="gpt-4o-mini",
            llm__provider="openai",
            llm__invocation_parameters='{"temperature": 0.2}',
            llm__token_count__prompt=100 + number,
            llm__token_count__completion=20 + number,
            llm__token_count__total=120 + 2 * number,
            llm__token_count__prompt_details__cache_read=10,
            llm__cost__total=0.25 * (number + 1),
            llm__input_messages__0__message__role="user",
            llm__input_messages__0__message__content=question,
            llm__output_messages__0__message__role="assistant",
            llm__output_messages__0__message__content="It ships today.",
        )
        if number == 2:
            call.add_event("exception", {"exception.type": "ValueError"})
            call.set_status(Status(StatusCode.ERROR, "no such order"))
        call.end(START_NS + (at_ms + 800) * 10**6)
        root.end(START_NS + (at_ms + 900) * 10**6)
        return root, call

    def record(self) -> list[tuple[Span, Span]]:
        """Record all requests, in two sessions."""
        spans = []
        for number in range(3):
            with (
                using_session(f"s-{number // 2}"),
                using_user(f"u-{number}"),
                using_metadata({"region": "EU", "order": number}),
                using_tags(["web"]),
                using_prompt_template(template="Answer {q}", variables={"q": "x"}, version="v2"),
            ):
                spans.append(self.answer(number))
        self._provider.force_flush()
        return spans


def annotate(client: Client, spans: list[tuple[Span, Span]]) -> None:
    """Annotate the spans as judges and as reviewers."""
    ids = [[format(span.get_span_context().span_id, "016x") for span in pair] for pair in spans]
    add = client.spans.add_span_annotation
    for number, (_, call) in enumerate(ids):
        label = "yes" if number else "no"
        about = {"annotation_name": "correct", "annotator_kind": "LLM", "explanation": "because"}
        add(span_id=call, label=label, score=float(number > 0), sync=True, **about)
    for name, score in (("ada", 1.0), ("bob", 0.0)):
        about = {"annotation_name": "helpful", "annotator_kind": "HUMAN", "identifier": name}
        add(span_id=ids[0][1], score=score, sync=True, **about)
    add(span_id=ids[1][0], annotation_name="length", annotator_kind="CODE", score=15.0, sync=True)
    client.spans.add_span_note(span_id=ids[1][0], note="look at this")


def wait_for_spans(client: Client, count: int) -> None:
    """Wait until Phoenix, which stores spans after its answer, has them."""
    deadline = time.monotonic() + DEADLINE_S
    while len(client.spans.get_spans_dataframe(project_identifier=PROJECT)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"Phoenix does not have {count} spans")


def main() -> None:
    """Record, annotate, and print the sums that Phoenix computes."""
    client = Client(base_url=BASE)
    spans = Recorder().record()
    wait_for_spans(client, 3 * len(spans))
    annotate(client, spans)
    client.datasets.create_dataset(
        name="orders",
        dataset_description="Orders",
        examples=[
            {"input": {"q": "Where?"}, "output": {"a": "Here"}, "metadata": {"lang": "en"}},
            {"input": {"q": "When?"}, "output": {"a": "Now"}, "metadata": {}},
        ],
    )
    with urlopen(f"{BASE}/v1/projects/{PROJECT}/traces") as answer:
        traces = json.load(answer)["data"]
    with urlopen(f"{BASE}/v1/projects/{PROJECT}/sessions") as answer:
        sessions = json.load(answer)["data"]
    sums = {
        "spans": len(client.spans.get_spans(project_identifier=PROJECT)),
        "traces": sorted(trace["trace_id"] for trace in traces),
        "input_tokens": sum(trace["token_count_prompt"] for trace in traces),
        "output_tokens": sum(trace["token_count_completion"] for trace in traces),
        "sessions": {each["session_id"]: len(each["traces"]) for each in sessions},
    }
    sys.stdout.write(json.dumps(sums))


if __name__ == "__main__":
    main()
