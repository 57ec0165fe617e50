"""Tests of MCP access: its own client over HTTP and standard input, the shell, keys, limits."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.types import TextContent
from starlette.applications import Starlette

from otel_ml import Client as Recorder
from otel_ml_collector.assistants.definitions import (
    ALL_TOOLS,
    BODY_BYTES,
    INSTRUCTIONS,
    LIMIT_S,
    TOOLS,
    WRITING_TOOLS,
)
from otel_ml_collector.assistants.protocol import OF_ALL, OF_KEY, CallLimits, TooBusy, Yielding
from otel_ml_collector.assistants.routes import make_route
from otel_ml_collector.receive.admission import Pressure
from otel_ml_collector.telemetry.service import Telemetry
from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.asgi import HOST, Answered, ask, ask_async
from tests.support.otel_ml_collector.cli.program import environment, otel_ml
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled
from tests.support.waiting import async_wait_until, elapsed

JSON: Final = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}
CALL: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "statistics", "arguments": {"project": "asked"}},
}
NOBODY: Final = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector whose project `asked` has three runs."""
    with running(tmp_path_factory.mktemp("data")) as opened:
        client = Recorder("asked", endpoint=opened.endpoint, join=False)

        @client.trace
        def answer(question: str) -> str:
            return question.upper()

        for question in ("why", "how", "who"):
            answer(question)
        assert client.flush()
        client.close()
        yield opened


@at_night
def test_nobody_asks(tmp_path: Path) -> None:
    """A collector loads the MCP package with the first MCP request, not before."""
    with running(tmp_path) as quiet:
        # The MCP package loads this one, and nothing else does.
        loaded = Path(f"/proc/{quiet.pid}/maps").read_text()
        assert "cryptography" not in loaded
        before = quiet.resident_mb
        body = json.dumps({**CALL, "method": "tools/list", "params": {}}).encode()
        assert quiet.post("/mcp", body, JSON)[0] == 200
        sys.stdout.write(f"the first question takes {quiet.resident_mb - before:.0f} MB\n")
        assert "cryptography" in Path(f"/proc/{quiet.pid}/maps").read_text()


@at_night
def test_import() -> None:
    """Neither the command nor the server's modules load the MCP package."""
    code = "import sys, otel_ml_collector.serve.server; print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    light = (
        "import sys, otel_ml_collector.cli.assistants as a\n"
        "heavy = {'mcp', 'fastapi', 'pydantic', 'chdb', 'starlette'} & {*sys.modules}\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@sampled(1)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_http_client(collector: CollectorProcess, mode: Any) -> None:
    """MCP's own client lists the tools and calls one, in the newest and in an older revision."""

    async def talk() -> tuple[list[str], Any]:
        async with Client(f"{collector.endpoint}/mcp", mode=mode) as client:
            tools = await client.list_tools()
            found = await client.call_tool("statistics", {"project": "asked"})
            return [tool.name for tool in tools.tools], found

    names, found = asyncio.run(talk())
    assert names == list(TOOLS)
    [block] = found.content
    assert isinstance(block, TextContent)
    assert json.loads(block.text) == found.structured_content
    assert found.structured_content["rows"][0][:2] == [3, 0]


def server(endpoint: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "otel_ml_collector", "mcp", "--project", "asked"],
        env=dict(environment(endpoint)),
    )


async def _over_stdio(endpoint: str) -> tuple[str | None, list[str], Any]:
    async with (
        stdio_client(server(endpoint)) as (read, write),
        ClientSession(read, write) as session,
    ):
        hello = await session.initialize()
        tools = await session.list_tools()
        found = await session.call_tool("statistics", {})
        return hello.instructions, [tool.name for tool in tools.tools], found


def test_stdio_client(collector: CollectorProcess) -> None:
    """MCP's own client works over standard input and output; the project is filled in."""
    instructions, names, found = asyncio.run(_over_stdio(collector.endpoint))
    assert (instructions, names) == (INSTRUCTIONS, list(TOOLS))
    assert found.structured_content["rows"][0][:2] == [3, 0]


def test_stdio_without_collector() -> None:
    """Without a collector the tools are listed, and a call returns how to start a collector."""
    instructions, names, found = asyncio.run(_over_stdio(NOBODY))
    assert (instructions, names) == (INSTRUCTIONS, list(TOOLS))
    assert found.is_error
    assert found.content[0].text.endswith("Start one with: otel-ml serve")


def test_stdio_lines(collector: CollectorProcess) -> None:
    """Each request line gets one response, notifications none, and invalid lines an error."""
    lines = [
        b"nonsense",
        b"[]",
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        json.dumps(CALL).encode(),
        b'{"jsonrpc":"2.0","id":2,"method":"' + b"x" * BODY_BYTES + b'"}',
        b'{"jsonrpc":"2.0","id":3,"method":"ping"}',
    ]
    done = subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "mcp"],
        input=b"\n".join(lines) + b"\n",
        env=environment(collector.endpoint),
        capture_output=True,
        timeout=180,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("error", {}).get("code") for one in answers] == [
        *(-32700, -32600, None, -32600, None),
    ]
    assert [one["id"] for one in answers] == [None, None, 1, None, 3]


def test_shell(collector: CollectorProcess) -> None:
    """The shell prints the response as one line; an error goes to stderr with status 1."""
    done = otel_ml(collector.endpoint, "mcp", "call", "statistics", "project=asked", "limit=5")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["rows"][0][:2] == [3, 0]
    wrong = otel_ml(collector.endpoint, "mcp", "call", "find_runs", "project=asked", "limit=500")
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert wrong.stderr == b"limit: 500 is more than 50\n"
    assert otel_ml(NOBODY, "mcp", "call", "overview").returncode == 3
    listed = otel_ml(NOBODY, "mcp", "tools").stdout.decode()
    assert [line for line in listed.splitlines() if not line.startswith(" ")] == list(ALL_TOOLS)


def test_metrics(collector: CollectorProcess) -> None:
    """Metrics count calls by tool and outcome, and response characters by tool."""
    before = read_metrics(collector)
    body = json.dumps(CALL).encode()
    _, _, answered = collector.post("/mcp", body, JSON)
    text = json.loads(answered)["result"]["content"][0]["text"]
    after = read_metrics(collector)
    calls = 'otel_ml_mcp_calls_total{outcome="answered",tool="statistics"}'
    size = 'otel_ml_mcp_answer_characters_total{tool="statistics"}'
    assert after[calls] - before.get(calls, 0) == 1
    assert after[size] - before.get(size, 0) == len(text)


def read_metrics(collector: CollectorProcess) -> Mapping[str, float]:
    lines = collector.get_text("/metrics").splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("otel_ml_mcp"))
    return {name: float(value) for name, value in pairs}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_service(tmp_path_factory.mktemp("mcp")) as opened:
        yield opened


def post(service: Service, body: object = CALL, **headers: str) -> Answered:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(service.app, "/mcp", method="POST", headers={**JSON, **headers}, body=(raw,))


def test_one_json(service: Service) -> None:
    """A response is one JSON without a session, even if the client accepts event streams."""
    listed = post(service, {**CALL, "method": "tools/list", "params": {}})
    assert listed.headers["content-type"] == "application/json"
    assert "mcp-session-id" not in listed.headers
    assert [tool["name"] for tool in listed.json["result"]["tools"]] == list(TOOLS)
    assert all(tool["annotations"]["readOnlyHint"] for tool in listed.json["result"]["tools"])
    for name in ("drop", *WRITING_TOOLS):  # writing tools are off by default
        unknown = post(service, {**CALL, "params": {"name": name, "arguments": {}}}).json
        expected = {"code": -32602, "message": f"Unknown tool {name!r}"}
        assert unknown["error"] == expected


@sampled(1)
@pytest.mark.parametrize("project", ["", "below"])
def test_links_below_a_path(service: Service, project: str) -> None:
    """Links in a response begin with the path of the proxy."""
    service.store.take("below", make_call("answer"))
    asked = {"project": project} if project else {}
    body = {**CALL, "params": {"name": "overview", "arguments": asked}}
    answered = post(service, body, **{"x-forwarded-prefix": "/otel-ml"}).json["result"]
    link = answered["structuredContent"]["url"]
    assert link.startswith(f"http://localhost:4318/otel-ml/{'projects/below' if project else ''}")


@sampled(1)
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_post_only(service: Service, method: str) -> None:
    """Methods other than POST are answered with 405."""
    assert ask(service.app, "/mcp", method=method).status == 405


def test_bodies(service: Service) -> None:
    """A body that is too large, or whose content type is not JSON, is refused before it is read."""
    assert post(service, b"x" * (BODY_BYTES + 1)).status == 413
    assert post(service, b"{}", **{"content-type": "text/plain"}).status == 415


def test_other_sites(service: Service) -> None:
    """A foreign host name and a page of another site are refused."""
    assert post(service, host="evil.example").status == 403
    assert post(service, origin="http://evil.example").status == 403
    assert post(service, origin=f"http://{HOST}").status == 200


def test_limit(service: Service) -> None:
    """A call that takes too long returns how to narrow it, and counts as a timeout."""
    telemetry = service.app.state.services.find(Telemetry)
    route = make_route(service.store.reader, telemetry, Pressure(), limit_s=1e-4)
    hurried = Starlette(routes=[route])
    answered = ask(hurried, "/mcp", method="POST", headers=JSON, body=[json.dumps(CALL).encode()])
    result = answered.json["result"]
    expected = "The answer took longer than 0.0001 s: narrow it with since, until or where"
    assert (result["isError"], result["content"][0]["text"]) == (True, expected)
    count = 'otel_ml_mcp_calls_total{outcome="timeout",tool="statistics"} 1'
    assert count in telemetry.render().decode()
    assert LIMIT_S == 10


def test_busy_with_what_is_sent() -> None:
    """While requests that store data use all CPUs, calls run one at a time, with long pauses."""
    now_s = 0.0
    pressure = Pressure(lambda: now_s, lambda: 2 * now_s)
    yielding = Yielding(pressure, cores=2)

    async def call(limit_s: float) -> None:
        async with yielding.turn(limit_s):
            await async_wait_until(elapsed(0.05))

    async def call_all() -> None:
        nonlocal now_s
        await asyncio.gather(*(call(0.0) for _ in range(5)))  # nothing is being stored yet
        with pressure.work():
            now_s += 10
            await call(0.2)
            with pytest.raises(TooBusy, match=r"busy storing data: try again in \d+ s"):
                await call(0.2)
        now_s += 10
        await asyncio.gather(*(call(0.0) for _ in range(5)))

    asyncio.run(call_all())


def test_turn_of_a_call(service: Service) -> None:
    """MCP calls wait for their turn, and return an error if it does not come."""
    telemetry, now_s = service.app.state.services.find(Telemetry), 0.0
    pressure = Pressure(lambda: now_s, lambda: 2 * now_s)
    busy = Starlette(routes=[make_route(service.store.reader, telemetry, pressure, limit_s=0.04)])

    async def call() -> str:
        body = json.dumps(CALL).encode()
        answered = await ask_async(busy, "/mcp", method="POST", headers=JSON, body=[body])
        return str(answered.json["result"]["content"][0]["text"])

    async def call_all() -> Sequence[str]:
        nonlocal now_s
        with pressure.work():
            now_s += 10
            return [await call() for _ in range(40)]

    told = asyncio.run(call_all())
    assert any(text.startswith("the collector is busy") for text in told), told
    counted = 'otel_ml_mcp_calls_total{outcome="busy",tool="statistics"}'
    assert counted in telemetry.render().decode()


def test_no_mcp(tmp_path: Path) -> None:
    """With ``--no-mcp`` the address does not exist."""
    with running(tmp_path, "--no-mcp") as collector:
        assert collector.post("/mcp", json.dumps(CALL).encode(), JSON)[0] == 404


@sampled(1)
@pytest.mark.parametrize(("key_id", "limits"), [("k", OF_KEY), ("", OF_ALL)])
def test_pace(key_id: str, limits: tuple[int, int]) -> None:
    """A key has a limit of calls at once and per minute, and the error says when to try again."""
    now_s = [100.0]
    pace = CallLimits(lambda: now_s[0])
    at_once, a_minute = limits
    for _ in range(at_once):
        pace.enter(key_id)
    with pytest.raises(TooBusy, match=f"more than {at_once} calls at once"):
        pace.enter(key_id)
    pace.enter("another")
    for _ in range(at_once):
        pace.leave(key_id)
    for _ in range(a_minute - at_once):
        pace.enter(key_id)
        pace.leave(key_id)
    now_s[0] += 18
    with pytest.raises(TooBusy, match=f"more than {a_minute} calls a minute: try again in 42 s"):
        pace.enter(key_id)
    now_s[0] += 42
    pace.enter(key_id)
