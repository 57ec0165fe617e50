"""A local HTTP server that replaces the LLM of the demo's judge. It answers from a table."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

MODEL: Final = "gpt-4o-mini"
_HOST: Final = "127.0.0.1"
# Start of each answer of the agent, and the verdict on it.
_VERDICTS: Final[Mapping[str, tuple[str, str]]] = {
    "Return a true value": ("pass", "It says what to return, and where."),
    "No. It holds": ("pass", "It says to write a def."),
    "Declare it nonlocal": ("pass", "It says what to declare."),
    "Yes: 3j": ("pass", "It shows how they are written."),
    "Give their class": ("pass", "It names the method to write."),
    "Write raise alone": ("pass", "It says what to write."),
    "When Python runs": ("fail", "It explains, and names nothing to write."),
    "When the loop": ("fail", "It explains, and shows no code."),
    "From left to right": ("fail", "It describes the order only."),
    "None, False": ("fail", "It is a list of values, without advice."),
}
_UNKNOWN: Final = ("fail", "It is no answer.")


@contextmanager
def serve_model() -> Iterator[str]:
    """Serve an OpenAI-compatible API until the block ends and yield its base URL."""
    server = ThreadingHTTPServer((_HOST, 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Respond to a chat completion request."""
        size = int(self.headers["content-length"])
        body = json.dumps(_complete(json.loads(self.rfile.read(size)))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _complete(request: Mapping[str, Any]) -> dict[str, Any]:
    prompt = request["messages"][-1]["content"]
    found = (verdict for start, verdict in _VERDICTS.items() if start in prompt)
    score, explanation = next(found, _UNKNOWN)
    reply = json.dumps({"score": score, "explanation": explanation})
    usage = {"prompt_tokens": len(str(request)) // 4, "completion_tokens": len(reply) // 4}
    return {
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "model": f"{MODEL}-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply},
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }
