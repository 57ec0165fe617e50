"""Emitters that are tested with single spans instead of recordings, and the fields read of each.

`tests/unit/otel_ml_collector/mapping/` has their spans, in `test_emitters.py` and `test_usage.py`.
"""

from typing import Final

FURTHER_COLUMNS: Final = ("emitter", "read", "open")
_TEXTS: Final = "calls, question, answer"
_CACHED: Final = "input tokens with cached ones"
_TWICE: Final = "one call is recorded twice"

FURTHER_EMITTERS: Final = (
    ("AgentOps", "functions, tools, calls", "a call does not contain its tool call"),
    ("Anthropic SDK inside OpenInference JS", f"{_TEXTS}, tokens", _TWICE),
    ("botocore, Bedrock", f"calls, {_CACHED}", ""),
    ("Braintrust", f"{_TEXTS}, tokens, session, tools", ""),
    ("Claude Code, logs alone", f"calls, {_CACHED}, cost, question, answer, session, tools", ""),
    ("Claude Code, traces", f"calls, {_CACHED}, question, answer, session, tools", ""),
    ("Google ADK", f"{_TEXTS}, tokens, session", "texts and user of the root are log records"),
    ("Guardrails, by OpenInference", f"{_TEXTS}, tokens", ""),
    ("LangChain.js, by OpenInference", f"{_TEXTS}, tokens", _TWICE),
    ("Langfuse, LangChain handler", f"{_TEXTS}, {_CACHED}", ""),
    ("LangSmith", f"{_TEXTS}, cached tokens, session, tool calls", ""),
    ("Langtrace", f"{_TEXTS}, cached tokens; Anthropic: {_CACHED}", ""),
    ("LiveKit", "calls, cached tokens", ""),
    ("LlamaIndex, its own OpenTelemetry", f"{_TEXTS}, tokens", ""),
    ("LlamaIndex, by Traceloop", "answer next to tool calls", ""),
    ("Logfire, OpenAI Agents", f"{_TEXTS}, tokens, session, tools, failed calls", ""),
    ("Mastra", "agent, calls, answer, tokens, session, user", "a call does not have its question"),
    ("MCP", "tools, resources, prompts", ""),
    ("Mirascope", f"functions, {_TEXTS}, cached tokens, session", ""),
    ("MLflow, Gemini and LangChain", f"{_TEXTS}, tokens", _TWICE),
    ("MLflow, OpenAI's responses", f"{_TEXTS}, tokens", ""),
    ("NeMo Guardrails", f"{_TEXTS}, tokens", ""),
    ("OpenLIT", f"{_TEXTS}, cost; Anthropic and Bedrock: {_CACHED}", ""),
    ("Strands", "input and output of tools", ""),
    ("Traceloop, Agno", "agent, question, answer", "only the agent reports tokens"),
    ("Traceloop, Bedrock", f"calls, {_CACHED}", ""),
    ("Traceloop JS, LangChain", "tools", ""),
    ("vLLM, SGLang", "calls, tokens, time to the first token", ""),
)
ABOUT_FURTHER: Final = """\
These emitters are tested with single spans. The last column names what otel-ml cannot decide from
one span, because it needs the whole trace. Emitters in no table are
recognized [by their shape](dialects.md#read-by-shape)."""
