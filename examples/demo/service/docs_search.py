"""Answers questions from the Python language reference in three steps: retrieve, rank, answer."""

import re
from typing import Final

from sklearn.feature_extraction.text import (
    ENGLISH_STOP_WORDS,
    CountVectorizer,
    TfidfVectorizer,
)
from sklearn.metrics.pairwise import linear_kernel
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from otel_ml import Client, Judge, current_run

from .caller import CALLER  # noqa: TID252 - see the package
from .reference import Passage, read_passages, sentences, with_heading  # noqa: TID252

WORDS = 40
CANDIDATES = 12
SOURCES = 5
WEAK_COSINE = 0.2

docs = Client("docs-search")

_WORD: Final = re.compile("[a-z_]{2,}")
_PASSAGES: Final = read_passages()
_VECTORIZER: Final = TfidfVectorizer(stop_words="english", ngram_range=(1, 2), sublinear_tf=True)
_INDEX: Final = _VECTORIZER.fit_transform([with_heading(passage) for passage in _PASSAGES])


class Answer(TypedDict):
    """An answer and the topic of the reference that it comes from."""

    answer: str
    topic: str


def words(text: str) -> set[str]:
    """Return the words that are not stop words."""
    return {word for word in _WORD.findall(text.lower()) if word not in ENGLISH_STOP_WORDS}


def is_expected(outputs: Answer, expected: list[str]) -> bool:
    """Return whether the answer comes from an expected topic."""
    return outputs["topic"] in expected


def share_supported(outputs: Answer, question: str, passages: list[Passage]) -> tuple[float, str]:
    """Return the share of the answer's words that the question or another passage also has."""
    others = [passage["text"] for passage in passages if outputs["answer"] not in passage["text"]]
    used = words(outputs["answer"])
    alone = used - words(" ".join([question, *others]))
    supported = len(used) - len(alone)
    explanation = f"{supported} of {len(used)} words stand elsewhere too"
    if alone:
        explanation += f", not: {', '.join(sorted(alone)[:8])}"
    return supported / max(len(used), 1), explanation


def is_supported(score: float) -> bool:
    """Return whether at least half of the words are supported."""
    return score >= 0.5  # noqa: PLR2004 - the judge's threshold


exact = Judge("exact", "The answer comes from an expected topic", is_expected)
grounded = Judge(
    "grounded",
    "Share of the answer's words that the question or another passage has too",
    share_supported,
    is_supported,
)


@docs.trace(kind="retriever")
def retrieve(question: str) -> list[Passage]:
    """Find the passages that are most similar to the question."""
    run = current_run()
    run.info(f"{len(_PASSAGES)} passages in the index")
    cosines = linear_kernel(_VECTORIZER.transform([question]), _INDEX)[0]
    best = cosines.argsort()[::-1][:CANDIDATES]
    if cosines[best[0]] < WEAK_COSINE:
        run.warning(f"Weak match: the best cosine is {cosines[best[0]]:.2f}")
    return [_PASSAGES[number] for number in best]


@docs.trace(kind="tool")
def rank(question: str, passages: list[Passage]) -> list[Passage]:
    """Rank passages by how many words and word pairs they share with the question.

    Raises:
        ValueError: The question has only stop words.
    """
    terms = CountVectorizer(stop_words="english", ngram_range=(1, 2), binary=True)
    terms.fit([question])
    found = terms.transform([with_heading(passage) for passage in passages]).sum(axis=1)
    order = sorted(range(len(passages)), key=lambda number: -found[number, 0])
    return [passages[number] for number in order[:SOURCES]]


@docs.assess(docs.add_judge(exact), docs.add_judge(grounded))
def answer(question: str, passages: list[Passage], expected: list[str]) -> Answer:
    """Answer with one sentence. Only the judge uses `expected`."""
    current_run().tag(CALLER.get())
    best = passages[0]
    sentence = sentences(best["text"])[0]
    return {"answer": " ".join(sentence.split()[:WORDS]), "topic": best["topic"]}


@docs.trace(kind="chain")
def ask(question: str, expected: list[str], session: str) -> Answer:
    """Answer a question from the reference."""
    current_run().tag(CALLER.get())
    current_run().identify(session=session)
    return answer(question, rank(question, retrieve(question)), expected)
