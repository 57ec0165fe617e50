// Calls of the Vercel AI SDK with its telemetry on, against the provider of fixed answers.

import { createOpenAI } from "@ai-sdk/openai";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { embed, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const ASKED = "How is the weather in Ghent?";

const provider = new NodeTracerProvider({
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
});
provider.register();

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
const model = openai.chat("gpt-4o-mini");
const told = (functionId) => ({
  experimental_telemetry: {
    isEnabled: true,
    functionId,
    metadata: { sessionId: "session-1", userId: "user-1", tags: ["weather", "demo"] },
  },
});

await generateText({
  model,
  system: "Be short.",
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
  stopWhen: stepCountIs(1),
  ...told("tool"),
});

await embed({ model: openai.embedding("text-embedding-3-small"), value: ASKED, ...told("embed") });

await generateText({ model: openai.chat("gpt-missing"), prompt: ASKED, ...told("fail") }).catch(
  (error) => {
    if (error.statusCode !== 404) throw error;
  },
);

await provider.shutdown();
