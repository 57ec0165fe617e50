"""Calls of Bedrock's client under OpenTelemetry's instrumentation."""

import os
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from opentelemetry.instrumentation.genai.bedrock import BedrockInstrumentor

from tests.support.recorded.recorders._exporting import make_content_provider
from tests.support.recorded.recorders._openai import ASKED, TOOL

_MODEL: Final = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def _ask(client: Any, model: str = _MODEL, **more: object) -> None:
    messages = [{"role": "user", "content": [{"text": ASKED}]}]
    client.converse(modelId=model, messages=messages, **more)


def main() -> None:
    """Make a plain call, one with a tool and one that fails."""
    provider = make_content_provider()
    BedrockInstrumentor().instrument(tracer_provider=provider)
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=os.environ["RECORDED_ADDRESS"],
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"max_attempts": 0}),
    )
    settings = {"temperature": 0.5, "maxTokens": 64}
    _ask(client, system=[{"text": "Be short."}], inferenceConfig=settings)
    function: Any = TOOL["function"]
    schema = {"json": function["parameters"]}
    tool = {"toolSpec": {"name": function["name"], "inputSchema": schema}}
    _ask(client, toolConfig={"tools": [tool]})
    try:
        _ask(client, "gpt-missing")
    except ClientError:
        provider.shutdown()


if __name__ == "__main__":
    main()
