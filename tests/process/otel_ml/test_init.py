"""Cases of tests/unit/otel_ml/test_init.py that start processes."""

from pathlib import Path

from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import ask_script


def test_attributes_load_nothing_else(tmp_path: Path) -> None:
    """Importing the attribute names loads no other module of otel-ml and no OpenTelemetry."""
    loaded = ask_script(
        tmp_path,
        """
        import json, sys
        import otel_ml.attributes
        print(json.dumps([m for m in sys.modules if m.startswith(("otel_ml", "opentelemetry"))]))
        """,
    )
    assert sorted(loaded) == ["otel_ml", "otel_ml.attributes"]


def test_reader_loads_no_sdk(tmp_path: Path, sink: Sink) -> None:
    """A program that only reads, as client commands do, does not load the OpenTelemetry SDK."""
    loaded = ask_script(
        tmp_path,
        """
        import json, sys
        from contextlib import suppress
        from otel_ml.reader import Reader
        from otel_ml.reader.errors import ReaderError
        with suppress(ReaderError):
            list(Reader("p").runs())
        sdk = [m for m in sys.modules if m.startswith("opentelemetry.sdk")]
        print(json.dumps([sdk, "otel_ml.export.http" in sys.modules]))
        """,
        OTEL_ML_ENDPOINT=sink.address,
    )
    assert loaded == [[], True]


def test_sdk_never_loads_the_collector(tmp_path: Path, sink: Sink) -> None:
    """Using all main functions of the SDK loads no module of the collector."""
    loaded = ask_script(
        tmp_path,
        """
        import json, sys
        import otel_ml
        from otel_ml.compat.bighummingbird import BigHummingbird
        from otel_ml.compat.bighummingbird.judge import Judge

        tag = otel_ml.add_judge(otel_ml.Judge("ok", "", lambda outputs: otel_ml.Score(1.0)))

        @otel_ml.assess(tag)
        @otel_ml.trace
        def model(a):
            otel_ml.current_run().log_metrics({"loss": 0.5})
            return a

        with otel_ml.run("training"):
            model(1)
        BigHummingbird("p", None).trace(model)(2)
        assert otel_ml.flush()
        print(json.dumps([m for m in sys.modules if m.startswith("otel_ml_collector")]))
        """,
        OTEL_ML_ENDPOINT=sink.address,
    )
    assert loaded == []
