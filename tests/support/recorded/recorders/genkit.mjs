// Calls of Genkit's flows with its own tracing, against the provider of fixed answers.

import { openAI } from "@genkit-ai/compat-oai/openai";
import { enableTelemetry } from "@genkit-ai/core/tracing";
import { OTLPTraceExporter } from "genkit-otlp-exporter";
import { BatchSpanProcessor } from "genkit-sdk-trace";
import { genkit, z } from "genkit";

const ASKED = "How is the weather in Ghent?";

const processor = new BatchSpanProcessor(new OTLPTraceExporter());
await enableTelemetry({ spanProcessors: [processor] });

const ai = genkit({
  plugins: [openAI({ apiKey: "none", baseURL: process.env.OPENAI_BASE_URL })],
  model: openAI.model("gpt-4o-mini"),
});
const findWeather = ai.defineTool(
  {
    name: "find_weather",
    description: "Finds the weather of a city.",
    inputSchema: z.object({ city: z.string() }),
    outputSchema: z.string(),
  },
  async ({ city }) => `${city}: sunny`,
);
const ask = ai.defineFlow({ name: "ask" }, async (question) => {
  const { text } = await ai.generate({ system: "Be short.", prompt: question });
  return text;
});

await ask(ASKED);
await ai.generate({ prompt: ASKED, tools: [findWeather] });
const { stream, response } = ai.generateStream({ prompt: ASKED });
for await (const _ of stream);
await response;
await ai.embed({ embedder: openAI.embedder("text-embedding-3-small"), content: ASKED });
await ai.generate({ model: openAI.model("gpt-missing"), prompt: ASKED }).catch((error) => {
  if (!error.message.includes("gpt-missing")) throw error;
});

await processor.forceFlush();
process.exit(0);
