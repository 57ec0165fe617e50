"""LangChain under OpenInference's instrumentation: prompt, model, parser, tool, retriever."""

from uuid import UUID

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openinference.instrumentation.langchain import LangChainInstrumentor

from tests.support.recorded.recorders._exporting import make_provider
from tests.support.recorded.recorders._openai import MODEL


@tool  # type: ignore[untyped-decorator]  # not installed where types are checked
def find_weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sunny"


class Shelf(BaseRetriever):  # type: ignore[misc]  # not installed where types are checked
    """A retriever of one document."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return [Document(page_content="Ghent is sunny", metadata={"source": "almanac"})]


def main() -> None:
    """Run the chain once and its other kinds of part alone."""
    provider = make_provider()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    prompt = ChatPromptTemplate.from_messages([("user", "How is the weather in {city}?")])
    model = ChatOpenAI(model=MODEL, temperature=0.5)
    # Its answer carries the id, which would be another one each time.
    chain = prompt | model.with_config(run_id=UUID(int=1)) | StrOutputParser()
    chain.invoke({"city": "Ghent"})
    find_weather.invoke({"city": "Ghent"})
    Shelf().invoke("weather in Ghent")
    provider.shutdown()


if __name__ == "__main__":
    main()
