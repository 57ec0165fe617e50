"""A small agent that has conversations: ``python -m service.agent``.

The agent runs without a network because its model answers from a table. Token counts are estimated
from the text. Everything else works as with a real model.
"""

import random
from collections.abc import Sequence
from typing import Any, Final

from otel_ml import Judge

from .docs_search import docs, retrieve  # noqa: TID252 - see the package
from .reference import sentences  # noqa: TID252

MODEL: Final = "gpt-4o-mini"
_ANSWERS: Final = {
    "How do I suppress an exception in a with block?": "Return a true value from __exit__.",
    "Can a lambda contain statements?": "No. It holds one expression; write a def for statements.",
    "How do I assign to a name of the enclosing function?": "Declare it nonlocal before you do.",
    "Are complex numbers written with j?": "Yes: 3j and 2 + 1.5j are complex numbers.",
    "How do I make objects callable?": "Give their class a method __call__.",
    "How do I raise the exception that is being handled again?": "Write raise alone.",
    "When are assertions left out?": (
        "When Python runs with -O: then __debug__ is false, and no code is made for an assert "
        "statement, whatever it would have asked."
    ),
    "When does the else clause of a loop run?": (
        "When the loop has ended without break: its condition has become false, or there are no "
        "more items. A return or an exception skips it, too."
    ),
    "In which order is a dict built?": (
        "From left to right, each key before its value. Where one key is given twice, the last "
        "value stays, at the place of the first."
    ),
    "What is false in a condition?": (
        "None, False, zeros of all numeric types, empty strings and containers, and objects whose "
        "class says so with __bool__ or __len__."
    ),
}
_DOWN: Final = "Is the search down?"
_USERS: Final = ("ada", "bob", "cyd", "dan", "eve")
_SESSIONS: Final = 18
_TURNS: Final = 3
_SEED: Final = 5

Messages = list[dict[str, Any]]


def has_25_words(outputs: str) -> bool:
    """Return whether an answer has at most 25 words."""
    return len(outputs.split()) <= 25  # noqa: PLR2004 - the judge's limit


def has_15_words(outputs: str) -> bool:
    """Return whether an answer has at most 15 words."""
    return len(outputs.split()) <= 15  # noqa: PLR2004


concise = Judge("concise", "The answer can be read at a glance", has_25_words)
stricter = Judge("concise", "The answer can be read on a phone", has_15_words)


@docs.trace(kind="chat", provider="openai", model=MODEL)
def chat(messages: Messages) -> dict[str, Any]:
    """Respond like OpenAI: first with a tool call to search, then with text."""
    question = next(sent["content"] for sent in reversed(messages) if sent["role"] == "user")
    message: dict[str, Any] = {"role": "assistant", "content": _ANSWERS.get(question)}
    if messages[-1]["role"] == "user":
        call = {"name": "search", "arguments": {"words": question}}
        message = {"role": "assistant", "tool_calls": [{"id": "call-1", "function": call}]}
    usage = {"prompt_tokens": _count(messages), "completion_tokens": _count(message)}
    return {
        "model": f"{MODEL}-2024-07-18",
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


@docs.trace(kind="execute_tool")
def search(words: str) -> list[str]:
    """Search the Python reference.

    Raises:
        TimeoutError: The index did not respond.
    """
    if words == _DOWN:
        raise TimeoutError("the index did not answer within 2 s")
    return [sentences(passage["text"])[0] for passage in retrieve(words)[:2]]


@docs.assess(concise, kind="agent")
def assistant(messages: Messages) -> str:
    """Call the model, and the tools that it asks for, until it returns text."""
    while calls := (reply := chat(messages)["choices"][0]["message"]).get("tool_calls"):
        messages = [*messages, reply]
        for call in calls:
            content = "\n".join(search(**call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
    return str(reply["content"])


def talk(session: str, user: str, questions: Sequence[str]) -> None:
    """Ask the agent several questions in one conversation."""
    messages: Messages = [{"role": "system", "content": "Answer questions about Python."}]
    for question in questions:
        messages.append({"role": "user", "content": question})
        with docs.run("turn", inputs=question, session=session, user=user) as run:
            answer = assistant(messages)
            run.set_output(answer)
        messages.append({"role": "assistant", "content": answer})


def _count(content: object) -> int:
    """Estimate the number of tokens, at four characters each."""
    return max(len(str(content)) // 4, 1)


def converse() -> None:
    """Run the same conversations in each demo. In the last one, the search fails."""
    chance = random.Random(_SEED)
    for number in range(_SESSIONS):
        questions = chance.sample(list(_ANSWERS), _TURNS)
        user = _USERS[number % len(_USERS)]
        talk(f"chat-{number}", user, questions)
    try:
        talk("chat-broken", "eve", [_DOWN])
    except TimeoutError as error:
        print(f"A turn failed, as intended: {error}")
    docs.flush()


if __name__ == "__main__":
    converse()
    change = docs.judge('model == "assistant"', stricter)
    print(change)  # what the stricter judge would change, before its scores are written
    change.write()
