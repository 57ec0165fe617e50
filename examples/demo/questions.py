"""The questions that the demo asks, each with the topics of the Python reference that answer it."""

import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Final

from examples.demo.service.reference import read_passages, sentences, title

# Contains only stop words, so that the service has no search terms and its ranking fails.
UNANSWERABLE: Final = "the of and"

_QUOTES: Final = 40
_QUOTE_WORDS: Final = (10, 25)
_SEED: Final = 7

_FROM_PEOPLE: Final = {
    "How do I suppress an exception in a with block?": ("with", "context-managers"),
    "Which method is called when a with block is entered?": ("with", "context-managers"),
    "Can an anonymous function contain statements?": ("lambda",),
    "How can a nested function rebind a variable of the enclosing function?": ("nonlocal",),
    "How do I rebind a module level variable from inside a function?": ("global", "naming"),
    "When is the code of an assertion left out?": ("assert",),
    "Which objects are considered false?": ("truth", "booleans"),
    "What does the else clause of a loop do when break is executed?": ("break", "while", "for"),
    "How do I re-raise the exception that is being handled?": ("raise",),
    "What happens when a name is deleted?": ("del",),
    "Are complex numbers written with j?": ("imaginary", "numbers"),
    "Is a trailing comma required to create a tuple with one item?": ("exprlists", "typesseq"),
    "How are chained comparisons such as a < b < c evaluated?": ("comparisons",),
    "Which characters may an identifier contain?": ("identifiers",),
    "How do I make instances of a class callable?": ("callable-types", "types"),
    "How do I set a breakpoint in the debugger?": ("debugger",),
    "What does a relative import with leading dots mean?": ("import",),
    "How do I remove whitespace from both ends of a string?": ("string-methods",),
    "Does the power operator bind more tightly than unary minus?": ("power", "operator-summary"),
    "In which order are dictionary keys and values evaluated?": ("dict",),
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the topics that answer it, and whether its words are quoted from them."""

    text: str
    topics: tuple[str, ...]
    is_quote: bool


def make_questions() -> list[Question]:
    """Return questions written by people and questions made from headings and sentences."""
    people = [Question(text, known, is_quote=False) for text, known in _FROM_PEOPLE.items()]
    return [*people, *_ask_for_headings(), *_ask_for_sentences()]


def write_questions(path: Path) -> None:
    """Write the questions and their expected topics as a data set."""
    with path.open("w", encoding="utf-8") as file:
        for question in make_questions():
            item = {
                "inputs": {"question": question.text},
                "expected": list(question.topics),
                "tags": {"asked": "in its words" if question.is_quote else "by people"},
            }
            file.write(f"{json.dumps(item)}\n")


def _ask_for_headings() -> list[Question]:
    """Return a question for each heading that only one topic has."""
    owned = {passage["topic"] for passage in read_passages()}
    headings = {topic: title(topic) for topic in topics if topic in owned}
    count = Counter(headings.values())
    return [
        Question(f"What is said about {heading.lower()}?", (topic,), is_quote=True)
        for topic, heading in headings.items()
        if count[heading] == 1
    ]


def _ask_for_sentences() -> list[Question]:
    """Return questions with every second word of a sentence, like a half-remembered quote."""
    low, high = _QUOTE_WORDS
    found = [
        (sentence, passage["topic"])
        for passage in read_passages()
        for sentence in sentences(passage["text"])
        if low <= len(sentence.split()) <= high
    ]
    chosen = random.Random(_SEED).sample(found, _QUOTES)
    return [
        Question(f"Where is it said: {' … '.join(sentence.split()[::2])}", (topic,), is_quote=True)
        for sentence, topic in chosen
    ]
