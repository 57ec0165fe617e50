"""Tests of provider names."""

import pytest

from otel_ml_collector.price import provider_of


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("openai", "openai"),
        ("OpenAI", "openai"),
        ("openai.chat", "openai"),
        ("az.ai.openai", "azure.ai.openai"),
        ("azure.ai.openai", "azure.ai.openai"),
        ("azure.ai.inference", "azure.ai.inference"),
        ("azure-openai.chat", "azure.ai.openai"),
        ("gemini", "gcp.gemini"),
        ("google.generative-ai", "gcp.gemini"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("vertex_ai", "gcp.vertex_ai"),
        ("xai", "x_ai"),
        ("MoonshotAI", "moonshot_ai"),
        ("moonshot_ai", "moonshot_ai"),
        ("azure.ai.content_safety", "azure.ai.content_safety"),
        ("Azure AI Content Safety", "azure.ai.content_safety"),
        ("MistralAI", "mistral_ai"),
        ("amazon-bedrock", "aws.bedrock"),
        ("My own.host", "My own.host"),
        ("", ""),
    ],
)
def test_provider(text: str, name: str) -> None:
    """A provider name is spelled as in the GenAI conventions. Unknown names are kept."""
    assert provider_of(text) == name
