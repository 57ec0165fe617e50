"""Cases of tests/unit/otel_ml/judges/test_pool.py that start processes."""

from pathlib import Path

from tests.support.otel_ml.scripts import run_script


def test_threads_that_cannot_start_cost_no_word(tmp_path: Path) -> None:
    """A judged call without a thread for its judge gets an error; the next one gets a score."""
    text = """
        import threading
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client, Judge
        from otel_ml.testing import record

        client = Client("shop", exporter=InMemorySpanExporter())
        model = client.assess(Judge("any", "", lambda: 1.0))(lambda: "answer")
        start, refused = threading.Thread.start, []

        def refuse(thread):
            refused.append(thread)
            raise RuntimeError("can't start new thread")

        with record(client) as records:
            threading.Thread.start = refuse
            assert model() == "answer"
            threading.Thread.start = start
            assert model() == "answer"
            errors = [found.error for found in records.evaluations]
            scores = [found.score for found in records.evaluations]
        assert refused
        assert errors == ["lost: the judge was not run", None], errors
        assert scores == [None, 1.0], scores
    """
    run_script(tmp_path, text)
