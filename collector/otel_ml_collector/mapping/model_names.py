"""Recognizes the names of models of known providers.

A name is known if the user or the built-in table has a price for it, or if it belongs to a family
of names. Families also cover models that are newer than the table, and deployments that are named
after their model.
"""

import re
from collections.abc import Collection
from functools import cache, lru_cache
from typing import Final

_LONGEST_NAME: Final = 256
# A display name, such as "Claude Sonnet 4.5", has few words.
_MOST_WORDS: Final = 4
# Names that only models have. Each may follow a provider, a region or a word of the user.
_FAMILIES: Final = re.compile(
    r"(?<![a-z0-9])(?:"
    # OpenAI
    r"gpt-?(?:\d|oss|image|audio|realtime)|chatgpt|codex-mini|text-embedding|text-davinci"
    r"|(?:davinci|babbage)-00\d|whisper-\d|tts-1|dall-e|sora-\d"
    # Anthropic, Google, Meta, Mistral, xAI
    r"|claude|gemini|gemma|learnlm|(?:text|chat)-bison|imagen-|veo-\d"
    r"|(?:tiny|code|meta-)?llama|mi(?:ni)?stral|mixtral|magistral|codestral|devstral|pixtral|voxtral"
    r"|grok"
    # DeepSeek, Alibaba, Zhipu, Moonshot, MiniMax, Baidu, Tencent, ByteDance and others
    r"|deepseek|qwen|qwq|qvq|(?:chat)?glm-?\d|kimi|moonshot|minimax|ernie-|hunyuan|doubao|baichuan"
    r"|internlm|internvl|mimo-v|longcat|yi-(?:\d|large|lightning|vision)"
    # Cohere, Amazon, AI21, IBM, Microsoft, NVIDIA, Perplexity, Databricks, Writer and others
    r"|command-(?:r|a|light|nightly|text)|c4ai|embed-(?:english|multilingual|v\d)|rerank-"
    r"|titan-(?:text|embed|image|tg)|nova-(?:micro|lite|pro|premier|sonic|canvas|reel|\d)"
    r"|jamba|j2-(?:mid|ultra)|granite-|phi-?\d|nemotron|sonar-|pplx-|dbrx|palmyra|reka-|inflection-"
    r"|solar-(?:pro|mini|\d)|luminous-|exaone|apertus|lfm-?\d"
    # open models
    r"|wizardlm|vicuna|zephyr-|falcon-?\d|olmo|smollm|stablelm|starcoder|hermes-|dolphin-|alpaca-"
    # embeddings
    r"|bge-|gte-|(?:multilingual-)?e5-(?:small|base|large|mistral)|nomic-embed|voyage-|jina-"
    r"|mxbai-embed|(?:all-|paraphrase-)minilm|snowflake-arctic"
    r")"
)
# Short names that are models only as a whole.
_WHOLE_NAME: Final = re.compile(
    r"(?:o[1345](?:-(?:mini|pro|preview|deep-research))?(?:-\d{4}-\d{2}-\d{2})?|sonar|command)"
)
_EMBEDDINGS: Final = re.compile(r"embed|bge-|gte-|minilm|(?<![a-z0-9])e5-|voyage-\d")


def is_known_model(name: str, own: Collection[str] = ()) -> bool:
    """Return whether a text is the name of a model that is known.

    Args:
        name: The text, with or without provider and region.
        own: Names of models for which the user has set a price.
    """
    return name in own or _is_known(name)


def is_model_alone(text: str, own: Collection[str] = ()) -> bool:
    """Return whether a text is clearly a model name, whatever the name of its attribute is.

    It must be one word that begins with the name of a model family, such as `gpt-4o-mini`. A
    provider may come first: `openai/gpt-4o-mini`.
    """
    return text in own or _is_alone(text)


def is_embedding_model(name: str) -> bool:
    """Return whether a model's name shows that it makes embeddings."""
    return _EMBEDDINGS.search(name.lower()) is not None


@lru_cache(4_096)
def _is_known(name: str) -> bool:
    lower = name.strip().lower()
    if not 1 < len(lower) <= _LONGEST_NAME or len(lower.split()) > _MOST_WORDS:
        return False
    if _FAMILIES.search(lower):
        return True
    bare = lower.rpartition("/")[2]
    return _WHOLE_NAME.fullmatch(bare) is not None or bare in _listed_models()


@lru_cache(4_096)
def _is_alone(text: str) -> bool:
    bare = text.lower().rpartition("/")[2]
    is_word = " " not in text and len(text) <= _LONGEST_NAME and any(map(str.isdigit, bare))
    return is_word and _FAMILIES.match(bare) is not None


@cache
def _listed_models() -> Collection[str]:
    """Return the models of the built-in table, without providers, that cannot be other words."""
    # Imported here because it takes 0.2 s and 30 MB, and few names get this far.
    from genai_prices.data_snapshot import get_snapshot

    names = (model.id for provider in get_snapshot().providers for model in provider.models)
    bare = (name.lower().rpartition("/")[2] for name in names)
    return frozenset(name for name in bare if re.search(r"[a-z].*\d|\d.*[a-z]", name))
