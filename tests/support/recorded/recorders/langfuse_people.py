"""What people said of runs, sent and listed by Langfuse's own client."""

import json
import os
import urllib.request

import langfuse  # type: ignore[import-not-found]  # not installed where types are checked

FIELDS = "details,subject,annotation"
SESSION = "chat 7"


@langfuse.observe(name="answer", as_type="generation")  # type: ignore[untyped-decorator]  # the same
def answer(question: str) -> str:
    """Answer, and say what people think of it and of the session, with all types and calls."""
    client = langfuse.get_client()
    place = {
        "trace_id": client.get_current_trace_id(),
        "observation_id": client.get_current_observation_id(),
    }
    comment = "it made that up"
    client.create_score(name="grounded", value=0, data_type="BOOLEAN", comment=comment, **place)
    client.create_score(name="tone", value="friendly", data_type="CATEGORICAL", **place)
    client.create_score(name="stars", value=4, data_type="NUMERIC", trace_id=place["trace_id"])
    client.score_current_span(name="brief", value=1, data_type="BOOLEAN")
    client.score_current_trace(name="sources", value="it names none", data_type="TEXT")
    client.create_score(name="output", value="It is 42.", data_type="CORRECTION", **place)
    client.create_score(name="helpful", value=1, data_type="BOOLEAN", session_id=SESSION)
    client.create_score(name="mood", value="calm", data_type="CATEGORICAL", session_id=SESSION)
    return f"{question} 42"


def main() -> None:
    """Make the call, let people speak, and list what they said."""
    address = os.environ["RECORDED_ADDRESS"]
    os.environ["LANGFUSE_BASE_URL"] = address
    os.environ["LANGFUSE_PUBLIC_KEY"] = os.environ["LANGFUSE_SECRET_KEY"] = "none"
    with langfuse.propagate_attributes(session_id=SESSION):
        answer("What is it?")
    client = langfuse.get_client()
    client.flush()
    scores = client.api.scores.get_many(source="ANNOTATION", fields=FIELDS).data
    listed = [json.loads(score.json(by_alias=True)) for score in scores]
    body = json.dumps(listed).encode()
    urllib.request.urlopen(f"{address}/listed", body, timeout=10).close()
    client.shutdown()


if __name__ == "__main__":
    main()
