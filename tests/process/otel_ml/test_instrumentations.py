"""Instrumentations of other libraries use the client's provider, with a warning without one.

They subclass OpenTelemetry's base class and are installed with entry points, like those on PyPI.
`tests/nightly/integrations/test_llm.py` repeats this with real ones. An instrumented library stays
instrumented in its process, so each case is a program.
"""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.otel_ml.scripts import ask_script, run_script
from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink
from tests.support.sampling import at_night, sampled

# Instruments the library `acme`.
INSTRUMENTOR: Final = """
import acme
from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

class AcmeInstrumentor(BaseInstrumentor):
    def instrumentation_dependencies(self):
        return [WANTED]

    def _instrument(self, **kwargs):
        tracer = trace.get_tracer(__name__, "1", kwargs.get("tracer_provider"))
        self._ask = ask = acme.ask

        def traced(question):
            with tracer.start_as_current_span("ask") as span:
                span.set_attribute("input.value", question)
                span.set_attribute("api_key", "sk-1")
                span.add_event("said", {"text": question})
                return ask(question)

        acme.ask = traced

    def _uninstrument(self, **kwargs):
        acme.ask = self._ask
"""
PREAMBLE: Final = """
import json, logging, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_ml import Client, testing
import acme
from acme_tracing import AcmeInstrumentor

logging.basicConfig(format="%(message)s", stream=sys.stderr)
ours = InMemorySpanExporter()
client = Client("shop", exporter=ours)

@client.trace(name="model")
def model(question):
    return acme.ask(question)

def names(exporter=ours):
    client.flush()
    return [span.name for span in exporter.get_finished_spans()]
"""
LOST: Final = (
    "The spans of AcmeInstrumentor are lost, there is no global tracer provider: "
    'call client.instrument("acme") in place of AcmeInstrumentor().instrument()\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a folder in which the library and its instrumentations are installed."""
    (tmp_path / "acme.py").write_text("def ask(question):\n    return question.upper()\n")
    install(tmp_path, "acme", version="2.0")
    for name in ("acme_tracing", "other_tracing"):
        wanted = INSTRUMENTOR.replace("WANTED", "'acme >= 1'")
        (tmp_path / f"{name}.py").write_text(wanted)
        install(
            tmp_path, name.replace("_", "-"), f"acme = {name}:AcmeInstrumentor", "acme-core >=1"
        )
    return tmp_path


def install(
    folder: Path, package: str, entry: str = "", wanted: str = "", version: str = "1.0"
) -> None:
    """Create the metadata of an installed package, as pip does."""
    about = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    lines = [f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}"]
    lines += [f"Requires-Dist: {wanted} ; extra == 'instruments'"] if wanted else []
    (about / "METADATA").write_text("\n".join(lines) + "\n")
    if entry:
        (about / "entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{entry}\n")


def ask(folder: Path, text: str, **variables: str) -> Any:
    return ask_script(folder, PREAMBLE + text, **variables)


@sampled(2)
@pytest.mark.parametrize("library", ["acme", "Acme", "acme_core", "acme-tracing"])
def test_library_is_recorded(folder: Path, library: str) -> None:
    """A library is instrumented by its name, its package's name or its instrumentation's."""
    assert ask(
        folder,
        f"""
client.instrument({library!r})
client.instrument({library!r})
model("hi")
client.flush()
[below, run] = ours.get_finished_spans()
print(json.dumps([below.name, below.instrumentation_scope.name,
                  below.parent.span_id == run.context.span_id,
                  below.resource.attributes["otel_ml.project"]]))
""",
    ) == ["ask", "acme_tracing", True, "shop"]


def test_close_undoes(folder: Path) -> None:
    """Closing the client restores the library."""
    assert ask(
        folder,
        """
before = acme.ask
client.instrument("acme")
during = acme.ask
client.close()
print(json.dumps([during is before, acme.ask is before]))
""",
    ) == [False, True]


@sampled(1)
@pytest.mark.parametrize("library", ["missing", "otel-ml"])
def test_nothing_installed(folder: Path, library: str) -> None:
    """The error for a library without an instrumentation names the packages to install."""
    assert ask(
        folder,
        f"""
try:
    client.instrument({library!r})
except ValueError as error:
    print(json.dumps(str(error)))
""",
    ) == (
        f"Invalid library {library!r}: expected one with an installed instrumentation "
        f"(acme); pip install openinference-instrumentation-{library} "
        f"or opentelemetry-instrumentation-{library}, or pass client.tracer_provider to it"
    )


def test_wrong_version(folder: Path) -> None:
    """If the library has an unsupported version, the error names the supported ones."""
    file = folder / "acme_tracing.py"
    file.write_text(file.read_text().replace("acme >= 1", "acme >= 3"))
    said = ask(
        folder,
        """
try:
    client.instrument("acme")
except ValueError as error:
    print(json.dumps(str(error)))
""",
    )
    assert said == (
        "Invalid library 'acme': acme-tracing instruments acme >= 3, which is not installed"
    )


def test_lost_spans_are_told(folder: Path) -> None:
    """An instrumentation without a provider is reported once, at the first run."""
    done = run_script(
        folder,
        PREAMBLE
        + """
AcmeInstrumentor().instrument()
model("hi")
model("hi")
client.flush()
print(names())
""",
    )
    assert (done.stdout, done.stderr) == ("['model', 'model']\n", LOST)


def test_lost_spans_are_told_at_the_end(folder: Path) -> None:
    """If the client records nothing, it is reported when the process ends."""
    text = "Client('shop')\nAcmeInstrumentor().instrument()\nacme.ask('hi')\n"
    assert run_script(folder, PREAMBLE + text).stderr == LOST


@sampled(2)
@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("client.instrument('acme')", {}),
        ("AcmeInstrumentor().instrument(tracer_provider=client.tracer_provider)", {}),
        ("AcmeInstrumentor().instrument(tracer_provider=TracerProvider())", {}),
        ("AcmeInstrumentor().instrument()\ntrace.set_tracer_provider(TracerProvider())", {}),
        ("AcmeInstrumentor()", {}),
        ("AcmeInstrumentor().instrument()", {"OTEL_SDK_DISABLED": "true"}),
    ],
    ids=["asked", "handed over", "another", "global", "idle", "disabled"],
)
def test_others_are_not(folder: Path, text: str, variables: dict[str, str]) -> None:
    """An instrumentation that has a provider, or is not active, is not reported."""
    told = PREAMBLE + text + "\nmodel('hi')\nacme.ask('hi')"
    done = run_script(folder, told, status=0, **variables)
    assert done.stderr == ""


@at_night
def test_lost_one_is_taken_over(folder: Path) -> None:
    """An instrumentation without a provider gets the client's provider."""
    text = "AcmeInstrumentor().instrument()\nclient.instrument('acme')\nacme.ask('hi')\n"
    assert ask(folder, text + "print(json.dumps(names()))") == ["ask"]


@at_night
def test_one_that_writes_elsewhere_stays(folder: Path) -> None:
    """An instrumentation with a provider keeps it, also after the client is closed."""
    done = run_script(
        folder,
        PREAMBLE
        + """
service, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(service))
AcmeInstrumentor().instrument(tracer_provider=provider)
client.instrument("acme")
acme.ask("hi")
print(names(), names(service))
client.close()
acme.ask("hi")
print(names(service))
""",
    )
    assert (done.stdout, done.stderr) == (
        "[] ['ask']\n['ask', 'ask']\n",
        "acme is already instrumented: its spans go to another tracer provider\n",
    )


def test_what_is_hidden_is_hidden(folder: Path) -> None:
    """The client's redaction also applies to spans of other libraries."""
    assert ask(
        folder,
        """
client = Client("shop", exporter=ours, redact=lambda text: text.replace("Ann", "X"))
client.instrument("acme")
acme.ask('{"name": "Ann", "password": "p"}')
acme.ask("Ann says password=p")
client.flush()
print(json.dumps([[dict(one.attributes), dict(one.events[0].attributes)]
                  for one in ours.get_finished_spans()]))
""",
    ) == [
        [
            {"input.value": '{"name":"X","password":"[redacted]"}', "api_key": "[redacted]"},
            {"text": '{"name":"X","password":"[redacted]"}'},
        ],
        [
            {"input.value": "X says password=[redacted]", "api_key": "[redacted]"},
            {"text": "X says password=[redacted]"},
        ],
    ]


def test_nothing_where_nothing_is_recorded(folder: Path) -> None:
    """While the client is disabled, or a test records its calls, no spans are sent."""
    assert (
        ask(
            folder,
            """
client.instrument("acme")
with client.disabled():
    acme.ask("hi")
with testing.record(client):
    acme.ask("hi")
print(json.dumps(names()))
""",
        )
        == []
    )


@at_night
def test_joined_provider(folder: Path) -> None:
    """With a global provider, spans are sent to the service's exporter and the client's."""
    assert ask(
        folder,
        """
service, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(service))
trace.set_tracer_provider(provider)
client.instrument("acme")
model("hi")
joined = Client("shop")
print(json.dumps([names(), names(service), joined.tracer_provider is provider,
                  client.tracer_provider is client.tracer_provider]))
""",
    ) == [["ask", "model"], ["ask", "model"], True, True]


def test_spool(folder: Path) -> None:
    """With a spool, spans of other libraries keep their own scope."""
    sink = Sink()
    with serving(sink) as address:
        text = """
client = Client("shop", spool="spool")
client.instrument("acme")
client.trace(name="model")(acme.ask)("hi")
client.flush()
print("{}")
"""
        ask(folder, text, OTEL_ML_ENDPOINT=address)
    scopes = [scope for resource in sink.spans for scope in resource["scopeSpans"]]
    found = {one["scope"]["name"]: [span["name"] for span in one["spans"]] for one in scopes}
    assert found == {"acme_tracing": ["ask"], "otel_ml": ["model"]}
