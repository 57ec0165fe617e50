// Queries a collector as a coding agent does, with the protocol's own client: lists the tools, then
// makes each call in CALLS. Prints one JSON with the list and the response to each call.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { MCP_URL, CALLS, API_KEY } = process.env;
const headers = API_KEY ? { authorization: `Bearer ${API_KEY}` } : {};
const transport = new StreamableHTTPClientTransport(new URL(MCP_URL), { requestInit: { headers } });
const client = new Client({ name: "otel-ml-tests", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
const answers = [];
for (const [name, given] of JSON.parse(CALLS)) {
  const found = await client.callTool({ name, arguments: given });
  answers.push({ isError: found.isError ?? false, text: found.content[0].text, structured: found.structuredContent ?? null });
}
console.log(JSON.stringify({
  revision: transport.protocolVersion,
  instructions: client.getInstructions(),
  server: client.getServerVersion().name,
  tools: tools.map((tool) => ({ name: tool.name, annotations: tool.annotations })),
  answers,
}));
await client.close();
