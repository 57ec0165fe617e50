"""Create traces, assessments, a data set and a run in MLflow, and print the stored data."""

import json
import sys
from contextlib import suppress
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource, SpanType
from mlflow.genai.datasets import create_dataset

QUESTIONS = 3


@mlflow.trace(name="assistant", span_type=SpanType.AGENT)  # type: ignore[untyped-decorator]  # not installed where types are checked
def ask(question: str) -> str:
    """Answer, as a user in a session."""
    mlflow.update_current_trace(
        metadata={"mlflow.trace.session": "s-1", "mlflow.trace.user": "u-1"},
        tags={"client": "acme"},
    )
    return str(chat(question))


@mlflow.trace(name="chat", span_type=SpanType.CHAT_MODEL)  # type: ignore[untyped-decorator]  # the same
def chat(question: str) -> str:
    """Answer with tokens, a cost and a prompt."""
    prompt = mlflow.genai.load_prompt("prompts:/greet/1")
    span = mlflow.get_current_active_span()
    span.set_attribute("mlflow.llm.model", "gpt-4o-mini")
    used = {"input_tokens": len(question), "output_tokens": 5, "total_tokens": len(question) + 5}
    span.set_attribute("mlflow.chat.tokenUsage", used)
    span.set_attribute("mlflow.llm.cost", {"total_cost": 0.25})
    return str(prompt.format(name=question))


@mlflow.trace  # type: ignore[untyped-decorator]  # the same
def fail() -> None:
    """Raise."""
    raise ValueError("no such order")


def assess(trace_id: str) -> None:
    """Log feedback and expectations of reviewers and judges for a trace."""
    person, judge = AssessmentSource("HUMAN", "ann"), AssessmentSource("LLM_JUDGE", "gpt")
    about: dict[str, Any] = {"trace_id": trace_id}
    mlflow.log_feedback(
        name="grounded", value=True, rationale="it is cited", source=person, **about
    )
    mlflow.log_feedback(name="quality", value=0.75, source=judge, **about)
    mlflow.log_feedback(name="correct", value="no", source=judge, **about)
    mlflow.log_feedback(name="broken", error=ValueError("no answer"), source=judge, **about)
    mlflow.log_expectation(name="expected_response", value="Hello!", source=person, **about)
    mlflow.log_expectation(name="facts", value=["a", "b"], source=person, **about)


def main() -> None:
    """Create everything, and print a summary."""
    experiment = mlflow.set_experiment("support").experiment_id
    mlflow.genai.register_prompt("greet", "Hello {{name}}")
    for number in range(QUESTIONS):
        ask("?" * (number + 1))
    first = mlflow.get_last_active_trace_id()
    with suppress(ValueError):
        fail()
    mlflow.flush_trace_async_logging()
    assess(first)
    record = {
        "inputs": {"question": "1+1"},
        "expectations": {"expected_response": "2"},
        "tags": {"topic": "sums"},
    }
    create_dataset(name="sums", experiment_id=experiment).merge_records([record])
    with mlflow.start_run(run_name="tuning") as run:
        mlflow.log_params({"lr": 0.1})
        for step in range(4):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    told = {
        "assessed": first,
        "run": run.info.run_id,
        "traces": {
            trace.info.trace_id: {
                "spans": len(trace.data.spans),
                "tokens": trace.info.token_usage,
                "cost": trace.info.cost,
                "start_ns": min(span.start_time_ns for span in trace.data.spans),
            }
            for trace in traces
        },
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
