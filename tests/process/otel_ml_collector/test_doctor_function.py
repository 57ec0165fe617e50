"""Tests of ``otel-ml doctor app.py:answer``: the parts of a version and untracked objects."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from tests.support.sampling import sampled

APP: Final = dedent("""
    import urllib3
    from otel_ml import Client, Judge

    client = Client("shop")
    pool = urllib3.PoolManager()
    CFG = {"t": 1, "api_key": "sk-1"}
    PROMPT = "Answer: "

    def shorten(text):
        return text[: CFG["t"]]

    @client.trace(params={"depth": 3}, version_on={"source", "params", "helpers", "constants"})
    def answer(question: str) -> str:
        pool.clear()
        return shorten(PROMPT + question)

    class Model:
        @client.trace
        def ask(self, question):
            return self.words + question

    def plain(a):
        return a

    @client.trace(kind="chat", provider="acme", model="acme-1")
    def chat(messages):
        return "Rain."

    judge = Judge("short", "", lambda outputs: len(outputs))
    number = 1
""")

INSTRUMENTOR: Final = dedent("""
    from opentelemetry import trace
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

    class AcmeInstrumentor(BaseInstrumentor):
        def instrumentation_dependencies(self):
            return []

        def _instrument(self, **kwargs):
            self.tracer = trace.get_tracer(__name__, "1", kwargs.get("tracer_provider"))

        def _uninstrument(self, **kwargs):
            pass
""")


def doctor(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "doctor", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("app")
    (made / "app.py").write_text(APP)
    (made / "shop").mkdir()
    (made / "shop" / "__init__.py").touch()
    (made / "shop" / "model.py").write_text("from shop.parts import help\ndef model(): help()\n")
    (made / "shop" / "parts.py").write_text("def help():\n    return 1\n")
    (made / "broken.py").write_text("1 / 0\n")
    return made


def test_parts_of_a_function_are_printed(folder: Path) -> None:
    """The doctor prints the parts of a version, who uses them, and untracked objects."""
    done = doctor(folder, "app.py:answer")
    assert (done.returncode, done.stderr) == (0, "")
    digest, *lines = done.stdout.splitlines()
    assert digest.split()[0] == "digest"
    assert len(bytes.fromhex(digest.split()[1])) == 8
    secret = lines[5].partition('"api_key": "')[2].partition('"')[0]
    assert secret.startswith("sha256:")
    assert lines == [
        "source     3 lines",
        "signature  not part of the version (version_on= leaves it out)",
        'params     {"depth": 3}',
        "helpers    shorten() 2 lines, used by answer",
        'constants  PROMPT = "Answer: ", used by answer',
        f'           CFG = {{"api_key": "{secret}", "t": 1}}, used by shorten',
        "output     not part of the version (version_on= leaves it out)",
        "untracked  attributes of `pool`",
        "           (changes there make no new version: add them with params=)",
    ]


@sampled(2)
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("app.py:plain", "structure of the return value, known after the first call"),
        ("app.py:answer", "not part of the version (version_on= leaves it out)"),
        (
            "app.py:chat",
            "not part of the version (outputs of language models have no fixed structure)",
        ),
        ("app.py:judge", "not part of the version (a judge always returns a score)"),
    ],
)
def test_why_an_output_does_not_count(folder: Path, place: str, why: str) -> None:
    """If the output is not part of the version, the doctor prints the reason."""
    done = doctor(folder, place)
    assert f"output     {why}" in done.stdout.splitlines()


@sampled(3)
@pytest.mark.parametrize(
    ("place", "helpers", "unseen"),
    [
        ("app.py:plain", [], []),
        ("app:plain", [], []),
        ("app.py:Model.ask", [], ["`self.words`, which only the object has"]),
        ("app.py:judge", [], []),
        ("shop/model.py:model", ["shop.parts.help"], []),
        ("shop.model:model", ["shop.parts.help"], []),
    ],
)
def test_places(folder: Path, place: str, helpers: list[str], unseen: list[str]) -> None:
    """Functions, methods and judges are found in files and modules, also within packages."""
    done = doctor(folder, place, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    assert (list(told["helpers"]), told["unseen"]) == (helpers, unseen)
    assert told["source"]


def test_digest_is_that_of_the_runs(folder: Path) -> None:
    """The doctor's digest equals the version digest of a run."""
    script = """
        import app, sys
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client
        exporter = InMemorySpanExporter()
        client = Client("shop", exporter=exporter, join=False)
        client.trace(app.plain)(1)
        client.flush()
        print(exporter.get_finished_spans()[0].attributes["otel_ml.model.version"])
    """
    command = [sys.executable, "-c", dedent(script)]
    ran = subprocess.check_output(command, cwd=folder, text=True, timeout=180).strip()
    assert json.loads(doctor(folder, "app.py:plain", "--json").stdout)["digest"] == ran


@sampled(3)
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("app.py", "Invalid function 'app.py': expected FILE.py:NAME or MODULE:NAME"),
        ("none.py:answer", "There is no file 'none.py'"),
        ("app.py:nothing", "Module 'app' has no attribute 'nothing'"),
        ("app.py:number", "Invalid function of type int: expected a function or a judge"),
        ("app.py:Model", "Invalid function of type type: expected a function or a judge"),
        ("broken.py:f", "'broken.py:f' cannot be imported: ZeroDivisionError: division by zero"),
        ("nowhere:f", "'nowhere:f' cannot be imported: ModuleNotFoundError: No module named 'now"),
    ],
)
def test_wrong_places(folder: Path, place: str, said: str) -> None:
    """A place that is not a function exits with status 2 and an error."""
    done = doctor(folder, place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"otel-ml: {said}")


def test_lost_spans(folder: Path) -> None:
    """The doctor reports an instrumentation whose spans are lost, and the fix."""
    (folder / "acme_tracing.py").write_text(INSTRUMENTOR)
    (folder / "lost.py").write_text(
        "from acme_tracing import AcmeInstrumentor\n"
        "AcmeInstrumentor().instrument()\n"
        "def main():\n    pass\n"
    )
    done = doctor(folder, "lost.py:main")
    assert done.stdout.splitlines()[-2:] == [
        "untracked  nothing found",
        "lost       The spans of AcmeInstrumentor are lost, there is no global tracer provider -> "
        'call client.instrument("acme_tracing") in place of AcmeInstrumentor().instrument()',
    ]


@pytest.mark.parametrize("kind", ["SimpleSpanProcessor", "BatchSpanProcessor"])
def test_provider_that_waits_for_each_span(folder: Path, kind: str) -> None:
    """The doctor reports a global provider that exports each span synchronously."""
    (folder / "waiting.py").write_text(
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        f"from opentelemetry.sdk.trace.export import {kind}\n"
        "from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter\n"
        "provider = TracerProvider()\n"
        f"provider.add_span_processor({kind}(InMemorySpanExporter()))\n"
        "trace.set_tracer_provider(provider)\n"
        "def main():\n    pass\n"
    )
    line = (
        "slow       The global tracer provider has a SimpleSpanProcessor: each span waits for its "
        "export, up to 1 s with an otel-ml collector -> use BatchSpanProcessor"
    )
    is_reported = line in doctor(folder, "waiting.py:main").stdout.splitlines()
    assert is_reported is (kind == "SimpleSpanProcessor")


@pytest.mark.parametrize(("rate", "is_silent"), [(0.0, True), (0.001, False)])
def test_provider_that_samples_nothing(folder: Path, rate: float, is_silent: bool) -> None:
    """The doctor reports a global provider that samples no trace, and the fix."""
    (folder / "silent.py").write_text(
        "from opentelemetry import trace\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio\n"
        f"trace.set_tracer_provider(TracerProvider(sampler=ParentBasedTraceIdRatio({rate})))\n"
        "def main():\n    pass\n"
    )
    said = (
        "lost       The global tracer provider samples no trace: no traced call below its spans is "
        "recorded -> set another sampler"
    )
    assert (said in doctor(folder, "silent.py:main").stdout.splitlines()) is is_silent
