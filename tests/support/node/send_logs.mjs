// Sends one model call, then a log record and an evaluation of it, and prints its id as JSON.
//
//   node send_logs.mjs grpc|http|json <start, seconds since the epoch>

import { SpanKind, context, trace } from "@opentelemetry/api";
import { SeverityNumber } from "@opentelemetry/api-logs";
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { at, id, logs, resource, traces } from "./exporters.mjs";

const tracers = new NodeTracerProvider({
  resource,
  spanProcessors: [new SimpleSpanProcessor(traces())],
});
const loggers = new LoggerProvider({
  resource,
  processors: [new SimpleLogRecordProcessor({ exporter: logs() })],
});
const logger = loggers.getLogger("shop.log", "3.0");

const chat = tracers.getTracer("shop.assistant", "2.0").startSpan("chat gpt-4o-mini", {
  kind: SpanKind.CLIENT,
  startTime: at(0),
  attributes: { "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini" },
});
const within = trace.setSpan(context.active(), chat);
chat.end(at(1_500));
logger.emit({
  context: within,
  timestamp: at(500),
  severityNumber: SeverityNumber.WARN,
  severityText: "WARN",
  body: "The order is late 📦",
  attributes: { "shop.order": 17, "shop.depots": ["Lyon", "Ghent"] },
});
logger.emit({
  context: within,
  timestamp: at(1_600),
  eventName: "gen_ai.evaluation.result",
  attributes: {
    "gen_ai.evaluation.name": "helpfulness",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.score.label": "pass",
    "gen_ai.evaluation.explanation": "It says when",
  },
});
await tracers.shutdown();
await loggers.shutdown();
console.log(JSON.stringify({ chat: id(chat) }));
