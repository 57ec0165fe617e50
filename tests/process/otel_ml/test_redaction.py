"""Cases of tests/unit/otel_ml/test_redaction.py that start processes."""

import json

import pytest

from otel_ml import Client, Judge
from tests.support.otel_ml.otlp_sink import Sink
from tests.unit.otel_ml.test_redaction import SECRET, hide


def everything(client: Client) -> None:
    """Put the secret into every part of a run."""

    def rubric(outputs: object) -> tuple[int, str]:
        return 1, f"saw {SECRET}"

    @client.assess(Judge("leaky", "", rubric), params={"note": SECRET})
    def model(text: str, items: list[dict[str, str]]) -> dict[str, str]:
        """The source holds hunter2-s3cr3t as well."""
        return {SECRET: text}

    with client.run("training", params={"note": SECRET}, tags={"note": SECRET}) as run:
        model(SECRET, [{"a": f"x {SECRET} y"}, {"b": "z" * 70_000 + SECRET}])
        run.tag(note2=SECRET)
        run.info(f"line {SECRET}")
        run.set_output([SECRET])
        run.feedback("helpful", 1, explanation=f"because {SECRET}")
    client.about(run_id=run.id).tag(late=SECRET)
    client.about(run_id=run.id).info(SECRET)
    with pytest.raises(ValueError, match=SECRET):
        client.trace(fails)()


def fails() -> None:
    raise ValueError(f"refused {SECRET}")


def test_user_s_function_sees_every_text(sink: Sink) -> None:
    """Text masked by the user's function appears in nothing that leaves the process."""
    client = Client("shop", endpoint=sink.address, redact=hide)
    everything(client)
    assert client.flush()
    client.close()
    assert len(sink.runs) == 3
    assert SECRET not in json.dumps(sink.spans)
    assert "***" in json.dumps(sink.spans)
