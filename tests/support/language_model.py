"""A provider of language models on loopback that obeys, fails, limits its rate, hangs, or lies."""

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

OBEDIENT: Final = json.dumps({"score": "pass", "explanation": "It does."})
KEY: Final = "sk-secret-0123456789"


@dataclass(frozen=True)
class ModelRequest:
    """A request as the provider received it."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def prompt(self) -> str:
        """All text that the model gets."""
        system = [self.body["system"]] if "system" in self.body else []
        return "\n".join([*system, *(message["content"] for message in self.body["messages"])])


@dataclass
class LanguageModel:
    """The provider.

    Attributes:
        url: Its base address.
        reply: Makes the reply to a prompt.
        statuses: Statuses of the next requests; then it replies normally.
        retry_after: The Retry-After header of a status other than 200.
        hangs: While it is set, the provider sends no response.
        raw: Sent as the body in place of a response.
        refuses_schemas: Whether requests for structured output get status 400.
    """

    url: str = ""
    model: str = "small-2026-01-01"
    reply: Callable[[ModelRequest], str] = lambda _: OBEDIENT
    statuses: deque[int] = field(default_factory=deque)
    retry_after: str = "0"
    hangs: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    raw: bytes | None = None
    refuses_schemas: bool = False
    location: str = ""
    requests: list[ModelRequest] = field(default_factory=list)

    @property
    def connection(self) -> dict[str, Any]:
        """A connection to the provider, for the setting ``judge_connections``."""
        return {
            "kind": "openai",
            "url": self.url,
            "projects": ["*"],
            "allow_private": True,
            "timeout_s": 2,
        }

    def count_prompts(self) -> Counter[str]:
        """Count the requests by data part of the prompt."""
        return Counter(request.body["messages"][-1]["content"] for request in self.requests)

    def answer(self, request: ModelRequest) -> tuple[int, bytes]:
        self.requests.append(request)
        if self.hangs.is_set():
            self.released.wait(30)
        if self.statuses:
            # It repeats the key and the data, as a bad provider might.
            shown = {"error": {"key": dict(request.headers), "data": request.prompt}}
            return self.statuses.popleft(), json.dumps(shown).encode()
        is_structured = "response_format" in request.body or "tools" in request.body
        if self.refuses_schemas and is_structured:
            return 400, b'{"error": {"message": "response_format is not supported"}}'
        if self.raw is not None:
            return 200, self.raw
        text = self.reply(request)
        if request.path.partition("?")[0].endswith("/messages"):
            return 200, json.dumps(self._write_messages(text, "tools" in request.body)).encode()
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        document = {
            "id": f"chatcmpl-{len(self.requests)}",
            "object": "chat.completion",
            "model": self.model,
            "choices": [choice],
            "usage": {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020},
        }
        return 200, json.dumps(document).encode()

    def _write_messages(self, text: str, has_tool: bool) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "text", "text": text}
        if has_tool:
            tool = {"id": "toolu_1", "name": "answer", "input": json.loads(text)}
            block = {"type": "tool_use", **tool}
        return {
            "id": f"msg_{len(self.requests)}",
            "type": "message",
            "model": self.model,
            "content": [block],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 900, "cache_read_input_tokens": 100, "output_tokens": 20},
        }


@contextmanager
def language_model() -> Iterator[LanguageModel]:
    """Run a provider until the block ends."""
    model = LanguageModel()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = model.answer(ModelRequest(self.path, headers, body))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            if status != 200:
                self.send_header("retry-after", model.retry_after)
            if model.location:
                self.send_header("location", model.location)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients may disconnect
    model.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
