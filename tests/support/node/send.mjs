// Sends one model call with a tool call in it, and prints the ids of both spans as JSON.
//
//   node send.mjs grpc|http|json <start, seconds since the epoch>

import { SpanKind, context, trace } from "@opentelemetry/api";
import { NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { at, id, resource, traces } from "./exporters.mjs";

const provider = new NodeTracerProvider({
  resource,
  spanProcessors: [new SimpleSpanProcessor(traces())],
});
const tracer = provider.getTracer("shop.assistant", "2.0");

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

console.log(JSON.stringify({ chat: id(chat), tool: id(tool) }));
