"""SDK files that a traced call runs, and files that may read OpenTelemetry's private names."""

import ast
import inspect
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Final

from opentelemetry import context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON

import otel_ml
from otel_ml import Client
from otel_ml.late import WHY
from tests.support.otel_ml.recording import Recording

PACKAGE: Final = Path(otel_ml.__file__).parent
MOST_FILES: Final = 10


def files_of_a_call(client: Client) -> list[str]:
    """List the SDK files whose functions run on the caller's thread during a traced call."""

    @client.trace
    def answer(question: str) -> dict[str, str]:
        return {"answer": question}

    answer("warm")  # the first call loads modules that later calls do not
    found: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            found.add(file.relative_to(PACKAGE).as_posix())

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        answer("why?")
    finally:
        sys.setprofile(before)
    return sorted(found)


def test_traced_call_passes_few_files(client: Client) -> None:
    """A traced call runs functions of at most ten SDK files on the caller's thread."""
    found = files_of_a_call(client)
    assert len(found) <= MOST_FILES, found
    assert {"calls.py", "spans.py", "recorder.py"} <= set(found)
    assert "runs.py" not in found, "a run is made for who asks for it"


def private_names_of_sdk() -> set[str]:
    """Collect the names with one leading underscore that OpenTelemetry objects have."""
    provider = TracerProvider(shutdown_on_exit=False)
    processors: Any = provider._active_span_processor
    tracer = provider.get_tracer("a")
    things = [context, provider, processors, tracer, tracer.start_span("a"), DEFAULT_ON, ALWAYS_ON]
    names = {name for thing in things for name in vars(thing)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_private_names_stand_in_two_files() -> None:
    """Only spans.py and export/http.py read private names of OpenTelemetry.

    export/http.py needs one key of the API. It does not import spans.py, because client commands
    load no SDK.
    """
    nodes = {path: list(ast.walk(ast.parse(path.read_text()))) for path in PACKAGE.rglob("*.py")}
    ours = {name for path in nodes for node in nodes[path] for name in read_of_self(node)}
    names = private_names_of_sdk() - ours
    assert {"_span_limits", "_active_span_processor", "_SUPPRESS_INSTRUMENTATION_KEY"} <= names
    reading = {path for path in nodes for node in nodes[path] if names & read_of_others(node)}
    assert {path.relative_to(PACKAGE).as_posix() for path in reading} == {
        "spans.py",
        "export/http.py",
    }


def read_of_self(node: ast.AST) -> set[str]:
    """Return the attribute of ``self`` that a node reads or sets."""
    is_self = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"
    return {node.attr} if isinstance(node, ast.Attribute) and is_self else set()


def read_of_others(node: ast.AST) -> set[str]:
    """Return the attribute of another object that a node reads, also with ``getattr``."""
    if isinstance(node, ast.Attribute):
        return {node.attr} - read_of_self(node)
    is_getattr = isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr"
    if isinstance(node, ast.Call) and is_getattr and isinstance(node.args[1], ast.Constant):
        return {str(node.args[1].value)}
    return set()


def test_table_of_late_modules_is_true() -> None:
    """Each module in the table of late imports exists, and some file imports it late."""
    used = {
        node.args[0].value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "late"
        and isinstance(node.args[0], ast.Constant)
    }
    assert used == set(WHY)
    for name in WHY:
        module = PACKAGE / name.replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__init__.py").is_file()


def test_signatures_name_the_options(recording: Recording) -> None:
    """The decorators' signatures show each option with its default, for `help` and notebooks."""
    options = ["name", "kind", "tags", "params", "version_on", "capture"]
    options += ["columns", "provider", "model"]
    trace = inspect.signature(recording.client.trace)
    assess = inspect.signature(recording.client.assess)
    assert list(trace.parameters) == ["function", *options]
    assert list(assess.parameters) == ["judges", "inline", "sample", *options]
    assert trace.parameters["kind"].default == "model"
