"""Record exports of real libraries: ``python -m tests.support.recorded``, by `make recorded`.

Each recorder runs in its library's own environment. It uses a provider with fixed responses and an
OTLP receiver, both in this process.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
RECORDERS: Final = HERE / "recorders"
FURTHER: Final = "_cases"
PEOPLE: Final = "_people"
PACKAGE: Final = "tests.support.recorded.recorders"
_SETTINGS: Final = ("OTEL_", "OPENAI_", "ANTHROPIC_", "LANGFUSE_", "LOGFIRE_", "MLFLOW_")
# The recorders that run in an environment of `requirements/`, as tests/nightly/interop does.
ENVIRONMENTS: Final[Mapping[str, str]] = {
    "haystack": "frameworks",
    "litellm": "litellm",
    "litellm_async": "litellm",
    "litellm_proxy": "litellm",
    "litellm_proxy_v2": "litellm",
    "openinference_crewai": "frameworks",
    "openinference_haystack": "frameworks",
}
_OF_RECORDER: Final[Mapping[str, Mapping[str, str]]] = {
    "litellm_proxy_v2": {
        "LITELLM_OTEL_V2": "true",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "span_only",
    },
}
# Attributes that depend on the machine: paths of programs, its name.
_MACHINE: Final = (
    "exception.stacktrace",
    "error.stack_trace",
    "litellm.provider.error.stack_trace",
    "host.",
    "os.",
    "process.",
)
# Long descriptions of programs, which no dialect reads.
_BULK: Final = (
    *("haystack.component.input_spec", "haystack.component.output_spec"),
    *("haystack.agent.state_schema", "haystack.component.fully_qualified_type"),
    *("metadata.user_api_key", "haystack.component.input_types"),
    *(
        "haystack.component.output_types",
        "hidden_params",
        "metadata.vector_store_request_metadata",
        "crew_agents",
        "crew_tasks",
    ),
)


def main() -> None:
    """Record the named libraries, or all; each recording replaces its file."""
    programs = [*RECORDERS.glob("[!_]*.py"), *RECORDERS.glob("*.mjs")]
    for name in sys.argv[1:] or sorted(path.stem for path in programs):
        recording = record(name)
        text = json.dumps(recording, separators=(",", ":"), ensure_ascii=False)
        (HERE / "recordings" / f"{name}.json").write_text(f"{text}\n")


def record(name: str) -> dict[str, Any]:
    """Run a recorder in its environment; return its recording."""
    is_node = (RECORDERS / f"{name}.mjs").exists()
    sink = Sink()
    with serving(sink) as address:
        command = _node(name) if is_node else [str(find_python(name)), "-m", f"{PACKAGE}.{name}"]
        subprocess.run(command, check=True, env=_variables(name, address), cwd=ROOT, timeout=300)
    recording: dict[str, Any] = _without_machine(
        {
            "library": name,
            "versions": _node_versions() if is_node else _versions(name),
            "command": f"make recorded RECORDED={name}",
            "request": {"resourceSpans": sink.spans},
            **({"logs": {"resourceLogs": sink.logs}} if sink.logs else {}),
            **({"scenarios": sink.scenarios} if sink.scenarios else {}),
            **({"sent": sink.words.sent, "listed": sink.words.listed} if sink.words.sent else {}),
        }
    )
    return recording


def environment_of(name: str) -> str:
    """Return a recorder's environment; recorders of further cases or labels share the library's."""
    return name.partition(FURTHER)[0].removesuffix(PEOPLE)


def find_python(name: str) -> Path:
    """Return the interpreter of a recorder's environment, which may not exist."""
    environment = ENVIRONMENTS.get(name)
    own = ROOT / ".cache" / "recorded" / environment_of(name)
    return (ROOT / f".venv-{environment}" if environment else own) / "bin" / "python"


def _node(name: str) -> list[str]:
    return ["node", str(RECORDERS / f"{name}.mjs")]


def _variables(name: str, address: str) -> dict[str, str]:
    """Return the environment variables of a recorder: no inherited settings, and only the stub."""
    kept = {key: item for key, item in os.environ.items() if not key.startswith(_SETTINGS)}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "RECORDED_ADDRESS": address,
        "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "recorded",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{address}/v1",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": address,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "HAYSTACK_CONTENT_TRACING_ENABLED": "true",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_TRACING_ENABLED": "false",
        **_OF_RECORDER.get(name, {}),
    }


def _versions(name: str) -> dict[str, str]:
    """Return the versions of the required packages in a recorder's environment."""
    environment = ENVIRONMENTS.get(name)
    own = HERE / "requirements" / f"{environment_of(name)}.txt"
    wanted = ROOT / "requirements" / f"{environment}.in" if environment else own
    lines = [line for line in wanted.read_text().splitlines() if not line.startswith("#")]
    packages = [re.split(r"[=>\[]", line)[0] for line in lines]
    ask = (
        "import sys, json, importlib.metadata as m; "
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    command = [str(find_python(name)), "-c", ask, *packages]
    told = subprocess.run(command, check=True, capture_output=True)
    versions: dict[str, str] = json.loads(told.stdout)
    return versions


def _node_versions() -> dict[str, str]:
    modules = RECORDERS / "node_modules"
    wanted = json.loads((RECORDERS / "package.json").read_text())["dependencies"]
    return {
        name: json.loads((modules / name / "package.json").read_text())["version"]
        for name in wanted
    }


def _without_machine(found: Any) -> Any:
    """Remove machine-dependent attributes, and long ones that no dialect reads."""
    if isinstance(found, list):
        return [_without_machine(item) for item in found if not _tells_machine(item)]
    if isinstance(found, dict):
        return {key: _without_machine(item) for key, item in found.items()}
    return found


def _tells_machine(item: Any) -> bool:
    return isinstance(item, dict) and str(item.get("key", "")).startswith((*_MACHINE, *_BULK))


if __name__ == "__main__":
    main()
