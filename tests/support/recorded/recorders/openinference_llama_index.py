"""LlamaIndex under OpenInference's instrumentation: a question to an index, and a chat."""

import os

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import ASKED, MODEL


def main() -> None:
    """Embed two documents, ask about them, and ask the model alone."""
    provider = make_provider()
    LlamaIndexInstrumentor().instrument(tracer_provider=provider)
    address = os.environ["OPENAI_BASE_URL"]
    # A tokenizer of its own would be fetched.
    splitter = SentenceSplitter(tokenizer=str.split)
    model, embedding = OpenAI(model=MODEL, api_base=address), OpenAIEmbedding(api_base=address)
    documents = [Document(text="Ghent is sunny"), Document(text="Bruges is wet")]
    index = VectorStoreIndex.from_documents(
        documents, embed_model=embedding, transformations=[splitter]
    )
    index.as_query_engine(llm=model).query(ASKED)
    model.chat([ChatMessage(role="system", content="Be short."), ChatMessage(content=ASKED)])
    provider.shutdown()


if __name__ == "__main__":
    main()
