"""``otel-ml mcp``: connects a coding agent to the collector, and calls the same tools in a shell.

The bridge reads one JSON-RPC request per line from standard input, sends it to the collector, and
writes the answer as one line. It needs neither the collector's packages nor an MCP library.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

import click
import orjson

from otel_ml_collector.assistants.definitions import (
    ALL_TOOLS,
    BODY_BYTES,
    INSTRUCTIONS,
    NAME,
    PATH,
    TOOLS,
)
from otel_ml_collector.cli.failure import DONE, HELP, NOTHING, USAGE, CommandFailed, failure_of
from otel_ml_collector.errors import BadInput

_TIMEOUT_S: Final = 30.0
# Protocol revision in the answer to `initialize` if no collector answers: the one that the agent
# requests, or this one if it is unknown. Newer revisions need more than that handshake.
_REVISION: Final = "2025-11-25"
_OLDER: Final = ("2024-11-05", "2025-03-26", "2025-06-18", _REVISION)
_OF_REQUEST: Final = "io.modelcontextprotocol/protocolVersion"
_ACCEPT: Final = {"accept": "application/json, text/event-stream"}
_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD = -32700, -32600, -32601

_endpoint = click.option(
    "--endpoint", metavar="URL", help="Address of the collector (default: $OTEL_ML_ENDPOINT)"
)
_project = click.option(
    "--project",
    metavar="P",
    envvar="OTEL_ML_PROJECT",
    help="Project for tool calls that do not name a project (default: $OTEL_ML_PROJECT)",
)


@click.group(
    invoke_without_command=True, epilog="The API key is read from the variable OTEL_ML_API_KEY."
)
@_endpoint
@_project
@click.pass_context
def mcp(context: click.Context, endpoint: str | None, project: str | None) -> int:
    """Connect a coding agent to the collector with the Model Context Protocol (MCP).

    Configure your agent to start `otel-ml mcp`. The command talks to the agent over standard input
    and output, and ends when the input ends. The commands below call the same tools from a shell.
    """
    context.obj = (endpoint, project)
    if context.invoked_subcommand is None:
        bridge = _Bridge(endpoint, project)
        while line := sys.stdin.buffer.readline(BODY_BYTES + 1):
            if answer := bridge.pass_on(line):
                sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
                sys.stdout.buffer.flush()
    return DONE


@mcp.command("tools", short_help="List the tools and their arguments.")
def list_tools() -> int:
    """List the tools that an agent can call, with their descriptions and arguments."""
    for tool in ALL_TOOLS.values():
        where = " Needs otel-ml serve --mcp-writes." if tool.writes else ""
        click.echo(f"{tool.name}\n  {tool.about}{where}")
        for argument in tool.arguments:
            facts = [argument.about, "required" if argument.is_needed else ""]
            facts.append(
                f"{argument.low} to {argument.high:,}" if argument.kind == "integer" else ""
            )
            facts.append(f"[{argument.default}]" if argument.default not in (None, "") else "")
            click.echo(f"    {argument.name:<9} {', '.join(filter(None, facts))}".rstrip())
    return DONE


@mcp.command("call", epilog=HELP, short_help="Call a tool and print its answer.")
@click.argument("tool", metavar="TOOL")
@click.argument("words", metavar="NAME=VALUE...", nargs=-1)
@_endpoint
@_project
@click.pass_obj
def call_tool(
    above: tuple[str | None, str | None],
    tool: str,
    words: Sequence[str],
    endpoint: str | None,
    project: str | None,
) -> int:
    """Call a tool as an agent would, such as `otel-ml mcp call compare a=answer:v3 b=answer:v4`.

    The answer is one line of JSON. If the tool refuses the call, the reason is printed to standard
    error.
    """
    from otel_ml.reader.errors import ReaderError  # takes 0.1 s

    if tool not in ALL_TOOLS:
        expected = ", ".join(ALL_TOOLS)
        raise CommandFailed(f"There is no tool {tool!r}: expected one of {expected}", USAGE)
    try:
        arguments = ALL_TOOLS[tool].read_words(words)
    except BadInput as error:
        raise CommandFailed(str(error), USAGE) from error
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    }
    bridge = _Bridge(endpoint or above[0], project or above[1])
    try:
        answer = bridge.ask(request)
    except ReaderError as error:
        raise failure_of(error) from error
    result = answer.get("result")
    if not isinstance(result, dict):
        raise CommandFailed(str(answer.get("error", {}).get("message", answer)))
    text = result["content"][0]["text"]
    if result.get("isError"):
        click.echo(text, err=True)
        return NOTHING
    click.echo(text)
    return DONE


class _Bridge:
    """Sends MCP requests to a collector, each as one HTTP POST.

    Args:
        endpoint: The collector's base address; None for the SDK's default.
        project: Project for tool calls that name none; None to add no project.
    """

    def __init__(self, endpoint: str | None, project: str | None) -> None:
        from otel_ml.reader.api import Api  # takes 0.1 s

        self._api = Api(endpoint, timeout_s=_TIMEOUT_S)
        self._project = project
        self._revision = ""

    def pass_on(self, line: bytes) -> Mapping[str, Any] | None:
        """Return the answer to one line of input; None for an empty line or a notification."""
        from otel_ml.reader.errors import ReaderError

        if len(line) > BODY_BYTES:
            while not line.endswith(b"\n") and (line := sys.stdin.buffer.readline(BODY_BYTES)):
                pass
            return _error(None, _INVALID_REQUEST, f"The line is longer than {BODY_BYTES} bytes")
        if not line.strip():
            return None
        try:
            request = orjson.loads(line)
        except ValueError:
            return _error(None, _PARSE_ERROR, "The line is not JSON")
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(
                None, _INVALID_REQUEST, "The line is not a JSON-RPC request: it has no method"
            )
        try:
            answer = self.ask(request)
        except ReaderError as error:
            answer = _answer_alone(request, str(failure_of(error)))
        return answer if "id" in request else None

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request to the collector and return its JSON-RPC answer.

        Raises:
            ReaderError: The collector does not answer, or not with JSON-RPC.
        """
        from otel_ml.reader.api import Question, error_of

        params = request.get("params")
        params = params if isinstance(params, dict) else {}
        if request["method"] == "tools/call" and self._project:
            given = params.get("arguments") or {}
            if isinstance(given, dict):
                params = {**params, "arguments": {"project": self._project, **given}}
                request = {**request, "params": params}
        headers = {**_ACCEPT, **self._headers(request["method"], params)}
        question = Question(
            (PATH.strip("/"),),
            method="POST",
            body=request,
            is_repeatable=False,
            below="/",
            headers=headers,
        )
        reply = self._api.exchange(question)
        try:
            answer = orjson.loads(reply.content) if reply.content else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or ("jsonrpc" not in answer and "id" in request):
            raise error_of(self._api.page, reply, question)
        result = answer.get("result")
        if request["method"] == "initialize" and isinstance(result, dict):
            self._revision = str(result.get("protocolVersion") or "")
        return answer

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        """Return the HTTP headers that MCP requires: protocol revision, method and tool name."""
        meta = params.get("_meta")
        version = meta.get(_OF_REQUEST) if isinstance(meta, dict) else None
        if not isinstance(version, str) or not _is_plain(version):
            is_known = self._revision and method != "initialize"
            return {"mcp-protocol-version": self._revision} if is_known else {}
        name = params.get("name")
        headers = {"mcp-protocol-version": version}
        if _is_plain(method):
            headers["mcp-method"] = method
        if isinstance(name, str) and _is_plain(name):
            headers["mcp-name"] = name
        return headers


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _answer_alone(request: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Answer a request if no collector answers.

    The handshake and the list of tools work without a collector. A tool call is refused, and the
    reason tells how to start a collector.
    """
    method, number = request["method"], request.get("id")
    params = request.get("params")
    asked = params.get("protocolVersion") if isinstance(params, dict) else ""
    results: dict[str, dict[str, Any]] = {
        "initialize": {
            "protocolVersion": asked if asked in _OLDER else _REVISION,
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": NAME, "version": version("otel-ml")},
            "instructions": INSTRUCTIONS,
        },
        "ping": {},
        "tools/list": {"tools": [tool.definition for tool in TOOLS.values()]},
        "tools/call": {
            "content": [{"type": "text", "text": f"{reason}. Start one with: otel-ml serve"}],
            "isError": True,
        },
    }
    if method not in results:
        return _error(number, _NO_METHOD, f"Method not found: {method[:80]}")
    return {"jsonrpc": "2.0", "id": number, "result": results[method]}


def _error(number: object, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}
