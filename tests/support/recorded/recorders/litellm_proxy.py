"""LiteLLM's proxy under its callback for OpenTelemetry, as a client of OpenAI's calls it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from openai import OpenAI
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import MESSAGES, MODEL, TOOL
from tests.support.recorded.recorders._scenarios import begin
from tests.support.recorded.recorders.litellm import RESULTS, TURNS, of_session
from tests.support.waiting import elapsed, wait_until

_CONFIG = """\
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini}
  - model_name: gpt-busy
    litellm_params: {model: openai/gpt-busy}
litellm_settings:
  callbacks: ["otel"]
  num_retries: 0
general_settings:
  dangerously_permit_weak_or_unset_master_key: true
"""
# Its callbacks run behind the answers, and nothing tells when they are done.
_BEHIND_S = 4
_READY_S = 150


def main() -> None:
    """Run the proxy and make the calls of each scenario."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG)
        program = [str(Path(sys.executable).parent / "litellm"), "--config", str(config)]
        proxy = subprocess.Popen([*program, "--port", str(port)], env=os.environ)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(
                lambda: _is_ready(f"{address}/health/liveliness"), _READY_S, about="a ready proxy"
            )
            _record(f"{address}/v1/chat/completions")
        finally:
            proxy.terminate()
            proxy.wait(60)


def _record(address: str) -> None:
    def ask(**more: Any) -> Mapping[str, Any]:
        return _post(address, {"model": MODEL, "messages": MESSAGES[1:], **more})

    def tool(name: str) -> None:
        told = ask(tools=[TOOL])["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": "call_1", "content": RESULTS[name]}
        ask(tools=[TOOL], messages=[MESSAGES[1], told, result])

    def session() -> None:
        for asked in TURNS:
            ask(messages=[{"role": "user", "content": asked}], **of_session())

    scenarios: dict[str, Callable[[], object]] = {
        "plain": ask,
        "tool": lambda: tool("tool"),
        "stream": lambda: ask(stream=True, stream_options={"include_usage": True}),
        "429": lambda: ask(model="gpt-busy"),
        "failing-tool": lambda: tool("failing-tool"),
        "session": session,
        "second": lambda: ask_instrumented(address.removesuffix("/chat/completions")),
    }
    for name, call in scenarios.items():
        begin(name)
        with suppress(urllib.error.HTTPError):  # of the one that has to fail
            call()
        wait_until(elapsed(_BEHIND_S))


def ask_instrumented(address: str) -> None:
    """Make one plain call with a client that is recorded too, and hands its trace on."""
    provider = make_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    client = OpenAI(base_url=address, api_key="none")
    with provider.get_tracer("application").start_as_current_span("answer"):
        client.chat.completions.create(model=MODEL, messages=MESSAGES[1:])
    provider.shutdown()


def _post(address: str, body: object) -> Mapping[str, Any]:
    headers = {"content-type": "application/json", "authorization": "Bearer none"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=180) as answer:
        text = answer.read().decode()
    told: Mapping[str, Any] = json.loads(text) if text.startswith("{") else {}
    return told


def _is_ready(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    main()
