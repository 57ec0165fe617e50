"""Make ordinary spans of services: HTTP, databases, queues, functions and custom ones.

The names are those of OpenTelemetry's conventions, older ones too. The values are random. Many
services add custom attributes, and some of these contain words that model calls have as well:
model, input, output, count, prompt, role, message, usage, token.

Spec: https://opentelemetry.io/docs/specs/semconv/
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from otel_ml_collector.span import Event, Scope, Span, Value
from tests.support.otel_ml_collector.spans import NOW_NS, make_span

_INTERNAL, _SERVER, _CLIENT, _PRODUCER, _CONSUMER = range(1, 6)
_RESOURCE: Final = {"service.name": "shop", "telemetry.sdk.name": "opentelemetry"}
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
_PATHS: Final = ("cart", "orders", "models", "chat", "prompts", "users", "v1/chat/completions")
_TABLES: Final = ("orders", "users", "llm_calls", "messages", "models", "prompts", "token_usage")
_SYSTEMS: Final = ("postgresql", "mysql", "redis", "mongodb", "elasticsearch", "dynamodb", "mssql")
_QUEUES: Final = ("kafka", "rabbitmq", "aws_sqs", "gcp_pubsub", "servicebus", "nats")
_TEXTS: Final = ("ok", "Which size?", "Large, please.", "no", "2026-11-20", "a.csv", "oslo")
_CAR_MODELS: Final = ("Golf", "Model 3", "iPhone 15", "Corolla", "T-800", "XR-2", "Order", "User")
_LLMS: Final = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash", "text-embedding-3-small")

_Attributes = dict[str, Value]
_Made = tuple[str, int, _Attributes]


def make_ordinary_spans(count: int, seed: int = 0, *, has_own: bool = True) -> Iterator[Span]:
    """Make spans that are not model calls.

    Args:
        count: How many to make.
        seed: The same seed makes the same spans.
        has_own: Whether services add custom attributes, and spans about calls elsewhere.
    """
    draw = random.Random(seed)  # noqa: S311 - the same spans for a seed
    scopes = [
        Scope(_RESOURCE, name, "1", {})
        for name in ("opentelemetry.instrumentation.asgi", "io.opentelemetry.jdbc", "shop", "")
    ]
    makers = [maker for maker in _MAKERS if has_own or maker is not _ledger]
    for number in range(count):
        name, kind, attributes = makers[number % len(makers)](draw)
        if has_own and draw.random() < 0.3:
            attributes |= _of_service(draw)
        if has_own and draw.random() < 0.02:
            attributes |= {"ai.model": draw.choice(_LLMS), "tenant": "a"}
        failed = draw.random() < 0.1
        if failed and draw.random() < 0.5:
            attributes["error.type"] = draw.choice(("500", "TimeoutError", "java.io.IOException"))
        yield make_span(
            name,
            attributes,
            kind=kind,
            status_code=2 if failed else draw.choice((0, 1)),
            events=_events(draw, failed=failed),
            scope=draw.choice(scopes),
        )


def _events(draw: random.Random, *, failed: bool) -> Sequence[Event]:
    events = []
    if failed:
        raised = {"exception.type": "TimeoutError", "exception.message": "60 s"}
        events.append(Event("exception", NOW_NS, raised))
    if draw.random() < 0.1:
        told: _Attributes = {"message.type": "SENT", "message.id": 1, "message.size": 70}
        events.append(Event("message", NOW_NS, told))
    if draw.random() < 0.05:
        flag: _Attributes = {"feature_flag.key": "model", "feature_flag.variant": "gpt-4o"}
        events.append(Event("feature_flag.evaluation", NOW_NS, flag))
    if draw.random() < 0.05:
        events.append(Event("cache.miss", NOW_NS, {"key": "prompt:7", "input": "a", "role": "b"}))
    return events


def _http_server(draw: random.Random) -> _Made:
    method, path = draw.choice(_METHODS), draw.choice(_PATHS)
    if draw.random() < 0.5:
        return (
            f"{method} /{path}",
            _SERVER,
            {
                "http.request.method": method,
                "url.path": f"/{path}",
                "url.scheme": "https",
                "http.route": f"/{path}/{{id}}",
                "http.response.status_code": draw.choice((200, 201, 404, 500)),
                "server.address": "shop.example",
                "user_agent.original": "curl/8",
                "http.request.body.size": draw.randrange(9_999),
                "http.request.header.content-type": ["application/json"],
            },
        )
    return (
        f"{method} /{path}",
        _SERVER,
        {
            "http.method": method,
            "http.target": f"/{path}?model=gpt-4o",
            "http.status_code": draw.choice((200, 500)),
            "http.user_agent": "curl/8",
            "net.host.port": 80,
            "http.flavor": "1.1",
        },
    )


def _http_client(draw: random.Random) -> _Made:
    host = draw.choice(("api.openai.com", "payments.example", "api.anthropic.com"))
    made: _Attributes = {
        "http.request.method": "POST",
        "url.full": f"https://{host}/v1/{draw.choice(_PATHS)}",
        "server.address": host,
        "server.port": 443,
        "http.response.status_code": draw.choice((200, 429)),
        "network.protocol.version": "1.1",
    }
    if draw.random() < 0.2:
        made["http.request.body"] = json.dumps({"items": [{"model": "XR-2", "count": 2}]})
        made["http.response.body"] = json.dumps({"message": "created", "id": 7})
    return "POST", _CLIENT, made


def _database(draw: random.Random) -> _Made:
    table, system = draw.choice(_TABLES), draw.choice(_SYSTEMS)
    if draw.random() < 0.5:
        return (
            f"INSERT {table}",
            _CLIENT,
            {
                "db.system.name": system,
                "db.namespace": "shop",
                "db.collection.name": table,
                "db.operation.name": "INSERT",
                "db.query.text": "INSERT INTO calls (model, prompt, completion, tokens) VALUES (?)",
                "db.query.parameter.model": draw.choice(_LLMS),
                "db.query.parameter.prompt": "Where?",
                "db.query.parameter.completion": "In Kyoto.",
                "db.query.parameter.prompt_tokens": 61,
                "db.query.parameter.completion_tokens": 18,
                "db.response.returned_rows": 1,
            },
        )
    return (
        f"SELECT {table}",
        _CLIENT,
        {
            "db.system": system,
            "db.name": "shop",
            "db.statement": "SELECT * FROM calls WHERE model = 'gpt-4o'",
            "db.user": "shop",
            "net.peer.name": "db",
            "db.redis.database_index": 0,
        },
    )


def _queue(draw: random.Random) -> _Made:
    kind = draw.choice((_PRODUCER, _CONSUMER))
    made: _Attributes = {
        "messaging.system": draw.choice(_QUEUES),
        "messaging.destination.name": draw.choice(_TABLES),
        "messaging.operation.type": "send" if kind == _PRODUCER else "process",
        "messaging.message.id": str(draw.random()),
        "messaging.message.body.size": draw.randrange(9_999),
        "messaging.batch.message_count": draw.randrange(1, 9),
        "messaging.kafka.message.offset": draw.randrange(9_999),
    }
    if draw.random() < 0.2:
        made["job.payload"] = json.dumps(
            {
                "model": draw.choice(_LLMS),
                "messages": [{"role": "user", "content": "Where?"}],
                "usage": {"input_tokens": 1, "output_tokens": 2},
            }
        )
    return "orders process", kind, made


def _rpc(draw: random.Random) -> _Made:
    return (
        "shop.Models/Predict",
        draw.choice((_SERVER, _CLIENT)),
        {
            "rpc.system": draw.choice(("grpc", "aws-api", "connect_rpc", "jsonrpc")),
            "rpc.service": "shop.Models",
            "rpc.method": draw.choice(("Predict", "Chat", "Complete", "GetUsage")),
            "rpc.grpc.status_code": draw.choice((0, 14)),
            "network.peer.address": "10.0.0.7",
            "aws.request_id": "7",
            "aws.region": "eu-north-1",
        },
    )


def _function(draw: random.Random) -> _Made:
    return (
        "handler",
        draw.choice((_SERVER, _CONSUMER)),
        {
            "faas.trigger": draw.choice(("http", "pubsub", "timer", "datasource")),
            "faas.invocation_id": str(draw.random()),
            "faas.coldstart": draw.random() < 0.1,
            "faas.document.collection": "models",
            "faas.name": "shop",
            "cloud.resource_id": "arn:aws:lambda:eu-north-1:1:function:shop",
        },
    )


def _flag(draw: random.Random) -> _Made:
    return (
        "feature_flag",
        _INTERNAL,
        {
            "feature_flag.key": draw.choice(("chat-model", "prompt-version", "checkout")),
            "feature_flag.provider.name": "flagd",
            "feature_flag.result.variant": draw.choice(_LLMS),
            "feature_flag.result.value": json.dumps({"model": "gpt-4o", "temperature": 0.2}),
            "feature_flag.context.id": "u-7",
        },
    )


def _graphql(draw: random.Random) -> _Made:
    return (
        "query models",
        _SERVER,
        {
            "graphql.operation.type": draw.choice(("query", "mutation")),
            "graphql.operation.name": draw.choice(("models", "chat", "usage")),
            "graphql.document": "query models { models { name tokens prompt } }",
        },
    )


def _code(draw: random.Random) -> _Made:
    return (
        draw.choice(("render", "price", "load_model", "send_message", "agent.heartbeat")),
        1,
        {
            "code.function.name": "shop.cart.price",
            "code.file.path": "/srv/shop/cart.py",
            "code.line.number": draw.randrange(900),
            "thread.id": draw.randrange(99),
            "thread.name": "main",
        },
    )


def _ledger(draw: random.Random) -> _Made:
    """Make a span about model calls that happen elsewhere: usage or prompts, never both."""
    if draw.random() < 0.5:
        return (
            "billing.record",
            _INTERNAL,
            {
                "billing.model": draw.choice(_LLMS),
                "billing.input_tokens": draw.randrange(9_999),
                "billing.output_tokens": draw.randrange(9_999),
                "billing.customer": "c-7",
            },
        )
    return (
        "prompts.load",
        _INTERNAL,
        {
            "prompt.name": "triage",
            "prompt.model": draw.choice(_LLMS),
            "prompt.messages": json.dumps([{"role": "system", "content": "Be brief."}]),
            "prompt.version": draw.randrange(9),
        },
    )


def _help_desk(draw: random.Random) -> _Made:
    """Make a span of a chat between people: the agent is an employee."""
    made: _Attributes = {
        "conversation.id": f"c-{draw.randrange(99)}",
        "conversation.kind": draw.choice(("chat", "call", "mail")),
        "agent.name": draw.choice(("Anna", "Bo", "gpt-4o fan club")),
        "agent.id": draw.randrange(99),
        "message.role": draw.choice(("user", "agent", "assistant")),
        "message.content": draw.choice(_TEXTS),
        "message.input_chars": draw.randrange(999),
        "queue.wait_ms": draw.randrange(9_999),
        "ticket.operation": draw.choice(("chat", "transfer", "close")),
        "first_response.seconds": draw.random(),
    }
    return draw.choice(("chat", "assign agent", "chat message")), _INTERNAL, made


def _workshop(draw: random.Random) -> _Made:
    """Make a span of a machine tool or of a build tool: it has a name, an input and an output."""
    if draw.random() < 0.5:
        return (
            "machine part",
            _INTERNAL,
            {
                "tool.diameter_mm": 5,
                "tool.wear": draw.random(),
                "spindle.tool.slot": draw.randrange(20),
                "part.number": draw.choice(_CAR_MODELS),
                "machine.operation": draw.choice(("mill", "drill", "generate", "plan")),
                "material.input_kg": draw.random(),
                "material.output_kg": draw.random(),
            },
        )
    return (
        "run task",
        _INTERNAL,
        {
            "cicd.pipeline.task.name": draw.choice(("test", "chat-model-image", "prompts")),
            "cicd.pipeline.task.type": draw.choice(("build", "test", "deploy")),
            "cicd.worker.name": "agent-7",
            "build.agent.version": "3.2",
            "build.input": "src/prompt.ts",
            "build.output": "dist/prompt.js",
            "build.cache.read_bytes": draw.randrange(9_999),
        },
    )


def _of_service(draw: random.Random) -> _Attributes:
    """Make custom attributes of a service, with words that model calls have too."""
    every: _Attributes = {
        "app.model": draw.choice(_CAR_MODELS),
        "car.model.name": draw.choice(_CAR_MODELS),
        "device.model.identifier": draw.choice(_CAR_MODELS),
        "model": draw.choice(_CAR_MODELS),
        "input.count": draw.randrange(99),
        "output.count": draw.randrange(99),
        "job.input": draw.choice(_TEXTS),
        "job.output": draw.choice(_TEXTS),
        "form.question": draw.choice(_TEXTS),
        "form.answer": draw.choice(_TEXTS),
        "prompt": draw.choice(_TEXTS),
        "user.role": "admin",
        "role": draw.choice(("admin", "user", "assistant")),
        "content": draw.choice(_TEXTS),
        "message.count": draw.randrange(99),
        "auth.token.type": "bearer",
        "csrf_token": "a1",
        "cpu.usage": draw.random(),
        "disk.usage.total": draw.randrange(99),
        "completion.percent": draw.randrange(99),
        "cart": json.dumps({"items": [{"model": draw.choice(_CAR_MODELS), "count": 2}]}),
        "chat.room": json.dumps([{"role": "member", "content": "hei"}, {"role": "user"}]),
        "request.body": json.dumps({"model": draw.choice(_CAR_MODELS), "usage": {"total": 7}}),
        "response.body": json.dumps({"output": "ok", "total": 3}),
        "search.query": draw.choice(_TEXTS),
        "engine": draw.choice(("v8", "diesel", "innodb")),
        "deployment.name": "blue",
        "temperature": 21.5,
    }
    names = draw.sample(sorted(every), draw.randrange(1, 8))
    return {name: every[name] for name in names}


_MAKERS: Final[Sequence[Callable[[random.Random], _Made]]] = (
    *(_http_server, _http_client, _database, _queue, _rpc, _http_server, _database, _queue),
    *(_function, _flag, _graphql, _code, _http_client, _database, _ledger),
    *(_help_desk, _workshop),
)
