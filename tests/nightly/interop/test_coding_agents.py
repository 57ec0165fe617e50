"""The settings of docs/how-to/coding-agents.md work with the real gemini-cli and codex.

The programs in `tests/nightly/interop/agents` send requests only to a stub provider.
"""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.decode.json import decode_json_logs
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.logs import map_logs
from tests.support.folders import ROOT
from tests.support.recorded.server import serving
from tests.support.recorded.sink import Sink

PROGRAMS: Final = Path(__file__).parent / "agents/node_modules/.bin"
PAGE: Final = (ROOT / "docs/how-to/coding-agents.md").read_text()
HERE: Final = "http://127.0.0.1:4318"
ASKED: Final = "How is the weather in Ghent?"
ANSWER: Final = "Sunny in Ghent"
# Makes codex use the stub provider; not related to telemetry.
_PROVIDER: Final = """\
model = "gpt-5.1-codex"
model_provider = "local"
[model_providers.local]
name = "local"
base_url = "{address}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""
_SIGN_IN: Final = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
COMMANDS: Final = {
    "codex": ("codex", "exec", "--skip-git-repo-check", ASKED),
    "gemini": ("gemini", "-m", "gemini-2.5-flash", "-p", ASKED),
}
# Model, input and output tokens (gemini-cli reports thoughts separately), and the answer.
CALLS: Final = {
    "codex": ("gpt-5.1-codex", 12, 5, ""),
    "gemini": ("gemini-2.5-flash", 12, 5, ANSWER),
}


def block_of(language: str) -> str:
    """Return the only block of the page in a language."""
    [block] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(block)


@pytest.mark.parametrize("program", COMMANDS)
def test_settings(program: str, tmp_path: Path) -> None:
    """With the page's settings, the question and the model call with its tokens are recorded."""
    command, *arguments = COMMANDS[program]
    if not (PROGRAMS / command).exists():
        pytest.skip("There are no programs: make tests/nightly/interop/agents/node_modules/stamp")
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".gemini").mkdir()
    work = tmp_path / "work"
    work.mkdir()
    sink = Sink()
    with serving(sink) as address:
        settings = json.loads(block_of("json").replace(HERE, address))
        (tmp_path / ".gemini/settings.json").write_text(json.dumps({**settings, **_SIGN_IN}))
        telemetry = block_of("toml").replace(HERE, address)
        provider = _PROVIDER.format(address=address)
        (tmp_path / ".codex/config.toml").write_text(provider + telemetry)
        done = subprocess.run(
            [str(PROGRAMS / command), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "OPENAI_API_KEY": "none",
                "GEMINI_API_KEY": "none",
                "GOOGLE_GEMINI_BASE_URL": address,
                "GEMINI_CLI_TRUST_WORKSPACE": "true",
            },
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert (done.returncode, ANSWER in done.stdout) == (0, True), done.stderr
    logs = decode_json_logs(json.dumps({"resourceLogs": sink.logs}).encode())
    runs = map_logs(logs, Filing("agents", time.time_ns())).runs
    assert ASKED in {run.inputs_preview for run in runs if run.model == "user_prompt"}
    told = {
        (run.provider_model, run.input_tokens, run.output_tokens, run.outputs_preview)
        for run in runs
        if run.kind == "model" and run.provider_model == CALLS[program][0]
    }
    assert told == {CALLS[program]}
