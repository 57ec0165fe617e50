// Sends one model call with a tool call in it, and prints the ids of both spans as JSON.
//
//   node send.mjs grpc|http <start, seconds since the epoch>
//
// OpenTelemetry's own variables say the rest: OTEL_EXPORTER_OTLP_ENDPOINT, _COMPRESSION and
// _HEADERS. Exits with 1 as soon as the SDK warns of anything, a partial success included.

import { DiagLogLevel, SpanKind, context, diag, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as GrpcExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as HttpExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";

const [protocol, start] = process.argv.slice(2);

const fail = (...words) => {
  console.error(...words);
  process.exitCode = 1;
};
const ignore = () => {};
diag.setLogger(
  { error: fail, warn: fail, info: ignore, debug: ignore, verbose: ignore },
  DiagLogLevel.WARN,
);

const exporter = protocol === "grpc" ? new GrpcExporter() : new HttpExporter();
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "shop-js", "service.version": "4.5.6" }),
  spanProcessors: [new SimpleSpanProcessor(exporter)],
});
const tracer = provider.getTracer("shop.assistant", "2.0");

// A time as [seconds, nanoseconds].
const at = (milliseconds) => [
  Number(start) + Math.floor(milliseconds / 1_000),
  (milliseconds % 1_000) * 1_000_000,
];

const chat = tracer.startSpan("chat gpt-4o-mini", {
  kind: SpanKind.CLIENT,
  startTime: at(0),
  attributes: {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.25,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 0,
    "gen_ai.conversation.id": "conversation 7",
    "gen_ai.input.messages": JSON.stringify([
      { role: "user", parts: [{ type: "text", content: "Où est mon colis ? 📦" }] },
    ]),
    "gen_ai.output.messages": JSON.stringify([
      { role: "assistant", parts: [{ type: "text", content: "It arrives on Friday." }] },
    ]),
    "shop.order": 9_007_199_254_740_991,
    "shop.express": false,
    "shop.weights": [0.5, 1.5],
  },
});
const tool = tracer.startSpan(
  "execute_tool search",
  {
    kind: SpanKind.INTERNAL,
    startTime: at(250),
    attributes: {
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": "search",
      "gen_ai.tool.type": "function",
      "gen_ai.tool.call.id": "call_1",
      "gen_ai.tool.call.arguments": JSON.stringify({ order: 17, open: true }),
      "gen_ai.tool.call.result": JSON.stringify([{ day: "Friday" }]),
    },
  },
  trace.setSpan(context.active(), chat),
);
tool.end(at(750));
chat.end(at(1_500));
await provider.shutdown();

const id = (span) => `${span.spanContext().traceId}-${span.spanContext().spanId}`;
console.log(JSON.stringify({ chat: id(chat), tool: id(tool) }));
