"""Requests that are sent to Jaeger and the collector, and the reasons for different responses."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.nightly.neighbours.programs import Answer
from tests.support.neighbours.story import trace_id

SHOWN: Final = "Jaeger shows this tag but cannot search it; otel-ml can"
LINKS: Final = "Jaeger 2.13 cannot search attributes of links; otel-ml can"
NO_STATUS: Final = "Jaeger 2.13 always compares with the status OK"
NAMELESS: Final = "otel-ml uses OpenTelemetry's name `unknown_service` for spans without a service"
NO_TAGS: Final = "Jaeger 2.13 ignores attributes in this version of its API"
DEPTH: Final = (
    "Jaeger fails outside its limits; otel-ml refuses less than 1 and returns at most 1,000"
)
NO_LIMIT: Final = "Jaeger 2.13 fails without a number of traces; otel-ml uses 100"


@dataclass(frozen=True, slots=True)
class Question:
    """One request to both programs.

    Attributes:
        path: The path below the address of the API.
        reads: Returns the part of a response that is compared.
        asked: Its parameters; ``{start}`` and ``{end}`` in them are times of the story.
        reason: Why the responses differ; empty if they are equal.
    """

    path: str
    reads: Callable[[Answer], Any]
    asked: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def text(self) -> str:
        """The request in one line."""
        told = " ".join(f"{name}={value}" for name, value in self.asked.items())
        return f"{self.path} {told}".strip()


def status(answer: Answer) -> Any:
    """Return the status of a response."""
    return answer.status


def listed(answer: Answer) -> Any:
    """Return names of services or operations, or pairs of dependencies, sorted."""
    if answer.status != 200:
        return answer.status
    body = answer.body
    data = body.get("data", body.get("services", body.get("operations")))
    return None if data is None else sorted(map(_flat, data))


def _flat(item: Any) -> str:
    return item if isinstance(item, str) else " ".join(str(item[key]) for key in sorted(item))


def found(answer: Answer) -> Any:
    """Return the traces of a response: the last digits of their ids."""
    if answer.status != 200:
        return answer.status
    if "result" in answer.body:
        ids = {
            span["traceId"]
            for resource in answer.body["result"]["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        }
    else:
        ids = {trace["traceID"] for trace in answer.body["data"]}
    return sorted(one[-3:] for one in ids)


def counted(answer: Answer) -> Any:
    """Return the number of traces in a response."""
    traces = found(answer)
    return len(traces) if isinstance(traces, list) else traces


def missed(answer: Answer) -> Any:
    """Return the traces of a response, and its errors about missing traces."""
    return found(answer), answer.body["errors"]


def _searched(service: str, **asked: Any) -> Question:
    reason = asked.pop("reason", "")
    reads = asked.pop("reads", found)
    return Question("/api/traces", reads, {"service": service, **asked}, reason)


def _tagged(service: str, name: str, text: str, reason: str = "") -> Question:
    return _searched(service, tags=json.dumps({name: text}, ensure_ascii=False), reason=reason)


_WINDOW: Final = {
    "query.start_time_min": "2026-01-01T00:00:00Z",
    "query.start_time_max": "2100-01-01T00:00:00Z",
    "query.num_traces": "10",
}


def _newly(reason: str = "", reads: Callable[[Answer], Any] = found, **asked: Any) -> Question:
    told = {**_WINDOW, **{f"query.{name}": value for name, value in asked.items()}}
    return Question(
        "/api/v3/traces", reads, {k: v for k, v in told.items() if v is not None}, reason
    )


LISTS: Final[Sequence[Question]] = (
    Question("/api/services", listed, {}, NAMELESS),
    Question("/api/services/bank/operations", listed),
    Question("/api/services/nobody/operations", listed),
    Question("/api/operations", listed, {"service": "bank"}),
    Question("/api/operations", listed, {"service": "bank", "spanKind": "client"}),
    Question("/api/operations", listed, {"service": "bank", "spanKind": "none"}),
    Question("/api/operations", listed, {"service": "nobody"}),
    Question("/api/operations", status),
    Question("/api/dependencies", listed),
    Question("/api/dependencies", listed, {"endTs": "{now_ms}", "lookback": "3600000"}),
    Question("/api/dependencies", listed, {"endTs": "{now_ms}", "lookback": "1"}),
    Question("/api/dependencies", listed, {"endTs": "1"}),
    Question("/api/dependencies", status, {"endTs": "x"}),
    Question("/api/dependencies", status, {"lookback": "x"}),
    Question("/api/v3/services", listed, {}, NAMELESS),
    Question("/api/v3/operations", listed, {"service": "bank"}),
    Question("/api/v3/operations", listed, {"service": "bank", "span_kind": "client"}),
    Question("/api/v3/operations", listed, {"service": "nobody"}),
    Question("/api/v3/operations", listed),
)
VALUES: Final[Sequence[Question]] = (
    _tagged("shop", "a.text", "plain"),
    _tagged("shop", "a.text", "Plain"),
    _tagged("shop", "a.text", '"plain"'),
    _tagged("shop", "a.spaces", "two words: 100 % [x]"),
    _tagged("shop", "a.accents", "Grüße, 東京"),
    _tagged("shop", "a.markup", "<b>&amp;</b>"),
    _tagged("shop", "a.empty", ""),
    _tagged("shop", "a.empty", "x"),
    _tagged("shop", "a.number", "42"),
    _tagged("shop", "a.number", "42.0"),
    _tagged("shop", "a.negative", "-7"),
    _tagged("shop", "a.zero", "0"),
    _tagged("shop", "a.large", str(2**60)),
    _tagged("shop", "a.half", "0.5"),
    _tagged("shop", "a.whole", "2"),
    _tagged("shop", "a.whole", "2.0"),
    _tagged("shop", "a.tiny", "1.5e-7"),
    _tagged("shop", "a.tiny", "1.5e-07"),
    _tagged("shop", "a.huge", "2.5e+21"),
    _tagged("shop", "a.huge", "2.5e21"),
    _tagged("shop", "a.true", "true"),
    _tagged("shop", "a.true", "1"),
    _tagged("shop", "a.false", "false"),
    _tagged("shop", "a.bytes", "AP8Q"),
    _tagged("shop", "a.texts", '["a","b"]'),
    _tagged("shop", "a.texts", "a"),
    _tagged("shop", "a.numbers", "[1,2,3]"),
    _tagged("shop", "a.floats", "[0.5,1,2.5e+21]"),
    _tagged("shop", "a.bools", "[true,false]"),
    _tagged("shop", "a.nothing", "[]"),
    _tagged("shop", "a.map", '{"inner":{"deep":1},"list":[1,"x"]}'),
    _tagged("shop", "deep", "1"),
    _tagged("shop", "nobody", "x"),
    _tagged("nobody", "a.text", "plain"),
)
PLACES: Final[Sequence[Question]] = (
    _tagged("shop", "host.name", "a"),
    _tagged("shop", "service.name", "shop"),
    _tagged("shop", "replicas", "3"),
    _tagged("shop", "ratio", "0.25"),
    _tagged("shop", "zones", '["x","y"]'),
    _tagged("shop", "rack", ""),
    _tagged("shop", "scope.team", "blue"),
    _tagged("shop", "scope.level", "7"),
    _tagged("shop", "otel.scope.name", "lib.shop", SHOWN),
    _tagged("shop", "otel.scope.version", "1.2", SHOWN),
    _tagged("shop", "attempt", "2"),
    _tagged("shop", "why", "busy"),
    _tagged("shop", "event", "retry"),
    _tagged("shop", "name", "retry"),
    _tagged("shop", "link.reason", "batch", LINKS),
    _tagged("shop", "w3c.tracestate", "vendor=here,other=1", SHOWN),
    _tagged("bank", "exception.type", "NoMoney"),
    _tagged("bank", "exception.message", "the account is empty"),
    _tagged("bank", "error.type", "NoMoney"),
    _tagged("shop", "span.kind", "server", SHOWN),
    _tagged("bank", "span.kind", "producer", SHOWN),
    _tagged("shop", "span.kind", "client"),
    _tagged("shop", "otel.status_code", "OK", SHOWN),
    _tagged("bank", "otel.status_code", "ERROR", SHOWN),
    _tagged("bank", "otel.status_description", "no money", SHOWN),
    _tagged("bank", "error", "true", NO_STATUS),
    _tagged("bank", "error", "false", NO_STATUS),
    _tagged("shop", "error", "true", NO_STATUS),
    _tagged("shop", "error", "false"),
    _tagged("shop", "error", "maybe", NO_STATUS),
)
OURS: Final[Sequence[Question]] = (
    _tagged("models", "otel_ml.model.name", "answer"),
    _tagged("models", "otel_ml.model.version", "0123456789abcdef"),
    _tagged("models", "otel_ml.model.output_schema", "fedcba9876543210"),
    _tagged("models", "otel_ml.kind", "model"),
    _tagged("models", "otel_ml.project", "neighbours"),
    _tagged("models", "otel_ml.outcome", "ok"),
    _tagged("models", "otel_ml.outcome", "error"),
    _tagged("models", "error.type", "ValueError"),
    _tagged("models", "otel_ml.score.grounded", "0.75"),
    _tagged("models", "otel_ml.score.grounded", "0.7"),
    _tagged("models", "otel_ml.passed.grounded", "true"),
    _tagged("models", "otel_ml.passed.grounded", "false"),
    _tagged("models", "otel_ml.tag.client", "bigshot"),
    _tagged("models", "otel_ml.tag.tier", "2"),
    _tagged("models", "otel_ml.tag.ratio", "0.5"),
    _tagged("models", "otel_ml.tag.paid", "true"),
    _tagged("models", "client", "bigshot", "otel-ml also finds your own tags by their plain name"),
    _tagged("models", "otel_ml.latency_ms", "250"),
    _tagged("models", "otel_ml.latency_ms", "1.5"),
    _tagged("models", "otel_ml.inputs", '{"question": "how?"}'),
    _tagged(
        "models", "otel_ml.inputs", '{"question":"how?"}', "otel-ml ignores whitespace in JSON"
    ),
    _tagged("models", "otel_ml.params", '{"k": 3}'),
    _tagged("models", "otel_ml.trace_key", "order-17"),
    _tagged("models", "otel_ml.process", "0000000a"),
    _tagged("models", "otel_ml.seq", "1"),
    _tagged("models", "session.id", "s-1"),
    _tagged("models", "user.id", "u-1"),
    _tagged("models", "gen_ai.request.model", "gpt-x"),
    _tagged("models", "gen_ai.usage.input_tokens", "12"),
    _tagged("bank", "otel_ml.kind", "span", "otel-ml adds a kind to every span"),
)
SEARCHES: Final[Sequence[Question]] = (
    _searched("bank"),
    _searched("nobody"),
    _searched("unknown_service", reason=NAMELESS),
    _searched("bank", operation="take"),
    _searched("bank", operation="nobody"),
    _searched("bank", tag="peer:bank"),
    _searched("bank", tag=["peer:bank", "error.type:NoMoney"]),
    _searched("bank", tag=["peer:bank", "messaging.system:kafka"]),
    _searched("bank", tag="peer", reads=status),
    _searched("bank", tags="nope", reads=status),
    _searched("bank", tags='{"a":1}', reads=status),
    _searched("bank", tags="[]", reads=status),
    _searched("bank", minDuration="1s"),
    _searched("bank", maxDuration="1.5ms"),
    _searched("bank", minDuration="5ms", maxDuration="25ms"),
    _searched("bank", minDuration="1h"),
    _searched("bank", minDuration="2s", maxDuration="1s", reads=status),
    _searched("bank", minDuration="soon", reads=status),
    _searched("bank", minDuration="1", reads=status),
    _searched(
        "bank", minDuration="-1s", reads=status, reason="otel-ml refuses a negative duration"
    ),
    _searched("shop", start="{start}"),
    _searched("shop", start="{after}"),
    _searched("shop", end="{start}"),
    _searched("shop", end="{before}"),
    _searched("shop", start="{start}", end="{start}"),
    _searched("bank", start="{later}"),
    _searched("bank", start="x", reads=status),
    _searched("bank", end="x", reads=status),
    _searched("bank", limit=1, reads=counted),
    _searched("bank", limit=2, reads=counted),
    _searched("bank", limit=0, reads=status, reason=DEPTH),
    _searched("bank", limit=1_000_000, reads=status, reason=DEPTH),
    _searched("bank", limit="x", reads=status),
    _searched("", reads=status),
    Question(
        "/api/traces", missed, {"traceID": [trace_id(n).hex() for n in (0x101, 0x103, 0xFFF)]}
    ),
    Question("/api/traces", status, {"traceID": "zz"}),
    Question(f"/api/traces/{trace_id(0x101).hex()}", found),
    Question(f"/api/traces/{trace_id(0x101).hex().lstrip('0')}", found),
    Question(f"/api/traces/{trace_id(0xFFF).hex()}", status),
    Question("/api/traces/zz", status),
    Question(f"/api/traces/{'1' * 33}", status),
)
NEW: Final[Sequence[Question]] = (
    _newly(service_name="bank"),
    _newly(service_name="nobody"),
    _newly(),
    _newly(service_name="bank", operation_name="take"),
    _newly(service_name="bank", duration_min="1s"),
    _newly(service_name="bank", duration_max="25ms"),
    _newly(service_name="bank", duration_min="2s", duration_max="1s"),
    _newly(service_name="bank", duration_min="soon", reads=status),
    _newly(service_name="bank", start_time_min="2099-01-01T00:00:00Z"),
    _newly(service_name="bank", start_time_min="x", reads=status),
    _newly(service_name="bank", start_time_max=None, reads=status),
    _newly(service_name="bank", num_traces="1", reads=counted),
    _newly(service_name="bank", num_traces="0", reads=status, reason=DEPTH),
    _newly(service_name="bank", num_traces="x", reads=status),
    _newly(service_name="bank", num_traces=None, reads=counted, reason=NO_LIMIT),
    _newly(service_name="bank", attributes='{"peer":"bank"}', reason=NO_TAGS),
    _newly(service_name="bank", attributes='{"peer":"none"}', reason=NO_TAGS),
    _newly(service_name="bank", attributes="nope", reads=status, reason=NO_TAGS),
    Question(f"/api/v3/traces/{trace_id(0x101).hex()}", found),
    Question(f"/api/v3/traces/{trace_id(0xFFF).hex()}", status),
    Question("/api/v3/traces/zz", status),
    Question(f"/api/v3/traces/{'1' * 33}", status),
)
GROUPS: Final = {
    "Lists": LISTS,
    "Values of every type": VALUES,
    "Resource, scope, events, kind, status": PLACES,
    "Our own fields": OURS,
    "Times, durations, limits, ids, broken parameters": SEARCHES,
    "The third version": NEW,
}
