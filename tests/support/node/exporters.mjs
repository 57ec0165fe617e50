// The exporters of each protocol, and an SDK that fails on any warning.
//
// OpenTelemetry's own variables configure the rest: OTEL_EXPORTER_OTLP_ENDPOINT, _COMPRESSION and
// _HEADERS. A process exits with 1 at the SDK's first warning, including a partial success.

import { DiagLogLevel, diag } from "@opentelemetry/api";
import { OTLPLogExporter as GrpcLogs } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPLogExporter as JsonLogs } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPLogExporter as HttpLogs } from "@opentelemetry/exporter-logs-otlp-proto";
import { OTLPTraceExporter as GrpcTraces } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as JsonTraces } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as HttpTraces } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";

const TRACES = { grpc: GrpcTraces, http: HttpTraces, json: JsonTraces };
const LOGS = { grpc: GrpcLogs, http: HttpLogs, json: JsonLogs };

const fail = (...words) => {
  console.error(...words);
  process.exitCode = 1;
};
const ignore = () => {};
diag.setLogger(
  { error: fail, warn: fail, info: ignore, debug: ignore, verbose: ignore },
  DiagLogLevel.WARN,
);

const [protocol, start] = process.argv.slice(2);
export const traces = () => new TRACES[protocol]();
export const logs = () => new LOGS[protocol]();
export const resource = resourceFromAttributes({
  "service.name": "shop-js",
  "service.version": "4.5.6",
});

// A time as [seconds, nanoseconds].
export const at = (milliseconds) => [
  Number(start) + Math.floor(milliseconds / 1_000),
  (milliseconds % 1_000) * 1_000_000,
];

export const id = (span) => `${span.spanContext().traceId}-${span.spanContext().spanId}`;
