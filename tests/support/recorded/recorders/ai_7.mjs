// Calls of version 7 of the Vercel AI SDK, with its OpenTelemetry package.

import { OpenTelemetry } from "@ai-sdk/otel";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { embed, generateText, isStepCount, registerTelemetry, streamText, tool } from "ai-7";
import { createOpenAI } from "ai-sdk-openai-4";
import { z } from "zod";

const ASKED = "How is the weather in Ghent?";

const provider = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();
registerTelemetry(new OpenTelemetry());

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const model = openai.chat("gpt-4o-mini");
const told = (functionId) => ({ telemetry: { functionId } });

await generateText({
  model,
  instructions: "Be short.",
  prompt: ASKED,
  temperature: 0.5,
  maxOutputTokens: 64,
  ...told("ask"),
});

await streamText({ model, prompt: ASKED, ...told("stream") }).consumeStream();

const findWeather = tool({
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, sunny: true, rain: 0 }),
});
await generateText({
  model,
  prompt: ASKED,
  tools: { find_weather: findWeather },
  stopWhen: isStepCount(1),
  ...told("tool"),
});

await embed({ model: openai.embedding("text-embedding-3-small"), value: ASKED, ...told("embed") });

await generateText({ model: openai.chat("gpt-missing"), prompt: ASKED, ...told("fail") }).catch(
  (error) => {
    if (error.statusCode !== 404) throw error;
  },
);

await provider.shutdown();
