"""Who serves a model: the many spellings of a provider's name, as the conventions spell it.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

from typing import Final

# The conventions' name, and how else it is written, in lower case.
SPELLINGS: Final = {
    "anthropic": (),
    "aws.bedrock": ("amazon-bedrock", "aws", "aws_bedrock", "bedrock"),
    "azure.ai.inference": ("az.ai.inference", "azure_ai"),
    "azure.ai.openai": ("az.ai.openai", "azure", "azure-openai", "azure_openai"),
    "cohere": (),
    "deepseek": (),
    "gcp.gemini": ("gemini", "google.generative-ai", "google_genai"),
    "gcp.gen_ai": ("google",),
    "gcp.vertex_ai": ("google.vertex", "vertex_ai", "vertexai"),
    "groq": (),
    "ibm.watsonx.ai": ("watsonx",),
    "mistral_ai": ("mistral", "mistralai"),
    "openai": (),
    "perplexity": (),
    "x_ai": ("xai",),
}
_NAMES: Final = {
    spelling: name for name, others in SPELLINGS.items() for spelling in (name, *others)
}


def provider_of(text: str) -> str:
    """Spell a provider as the conventions do; one that they do not know is kept as it is.

    ``openai.chat`` names the provider and which of its interfaces was called.
    """
    lower = text.strip().lower()
    head = lower
    while head:
        if head in _NAMES:
            return _NAMES[head]
        head = head.rpartition(".")[0]
    return text
