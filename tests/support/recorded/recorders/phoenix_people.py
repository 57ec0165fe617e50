"""What people said of runs, sent and listed by Phoenix's own client, and on spans themselves."""

import json
import os
import urllib.request

from openinference.semconv import trace as semconv
from opentelemetry.trace import Link, format_span_id, format_trace_id
from phoenix.client import Client

from tests.support.recorded.recorders._exporting import make_provider

NAMES = semconv.SpanAttributes
ANNOTATION = semconv.AnnotationAttributes
EVALUATION = semconv.EvaluationAttributes
SESSION = "chat 7"
HUMAN = semconv.OpenInferenceAnnotatorKindValues.HUMAN.value


def main() -> None:
    """Make a call that two people annotate at once, a third later, and others by the client."""
    provider = make_provider()
    tracer = provider.get_tracer("recorded")
    with tracer.start_as_current_span("answer") as span:
        span.set_attribute(NAMES.OPENINFERENCE_SPAN_KIND, "CHAIN")
        span.set_attribute(NAMES.INPUT_VALUE, "What is it?")
        span.set_attribute(NAMES.OUTPUT_VALUE, "42")
        span.set_attribute(NAMES.SESSION_ID, SESSION)
        for place, (who, label, score) in enumerate((("ann", "Yes", 1.0), ("bob", "No", 0.0))):
            said = {
                ANNOTATION.ANNOTATION_NAME: "grounded",
                ANNOTATION.ANNOTATION_LABEL: label,
                ANNOTATION.ANNOTATION_SCORE: score,
                ANNOTATION.ANNOTATION_ANNOTATOR_KIND: HUMAN,
                ANNOTATION.ANNOTATION_IDENTIFIER: who,
            }
            for name, value in said.items():
                span.set_attribute(f"{semconv.SpanAttributes.ANNOTATIONS}.{place}.{name}", value)
    with tracer.start_as_current_span("feedback", links=[Link(span.get_span_context())]) as later:
        later.set_attribute(NAMES.OPENINFERENCE_SPAN_KIND, "EVALUATOR")
        said = {
            EVALUATION.EVALUATION_NAME: "grounded",
            EVALUATION.EVALUATION_LABEL: "Yes",
            EVALUATION.EVALUATION_ANNOTATOR_KIND: HUMAN,
            EVALUATION.EVALUATION_IDENTIFIER: "cyd",
        }
        for name, value in said.items():
            later.set_attribute(f"{semconv.SpanAttributes.EVALUATIONS}.0.{name}", value)
    provider.force_flush()
    address = os.environ["RECORDED_ADDRESS"]
    client = Client(base_url=address, api_key="none")
    span_id = format_span_id(span.get_span_context().span_id)
    word = {"span_id": span_id, "annotation_name": "grounded", "annotator_kind": "HUMAN"}
    why = "it made that up"
    client.spans.add_span_annotation(**word, label="No", explanation=why, identifier="dan")
    client.spans.add_span_annotation(**word, label="Yes", score=1.0, identifier="eve")
    trace_id = format_trace_id(span.get_span_context().trace_id)
    whole = {"annotation_name": "helpful", "annotator_kind": "HUMAN", "identifier": "dan"}
    client.traces.add_trace_annotation(trace_id=trace_id, label="No", **whole)
    client.sessions.add_session_annotation(session_id=SESSION, score=0.5, explanation=why, **whole)
    listed = client.spans.get_span_annotations(span_ids=[span_id], project_identifier="recorded")
    # The client lists none of traces and sessions: its server does.
    for kind in ("trace_annotations", "session_annotations"):
        with urllib.request.urlopen(f"{address}/v1/projects/recorded/{kind}", timeout=10) as answer:
            listed += json.load(answer)["data"]
    body = json.dumps(listed).encode()
    urllib.request.urlopen(f"{address}/listed", body, timeout=10).close()
    provider.shutdown()


if __name__ == "__main__":
    main()
