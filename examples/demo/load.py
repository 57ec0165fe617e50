"""Sends a few hundred requests to the service from several threads."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import urllib3

from examples.demo.errors import DemoError
from examples.demo.questions import UNANSWERABLE, make_questions
from examples.demo.service.data import Data, Part, load_digit_images, load_tumours

_CLIENTS: Final = ("bigshot", "acme", "internal")
# This client has a bug: it sends its previous question. No request fails, but the answers are
# wrong.
_STALE: Final = "acme"
_FROM_TRAIN: Final = 20
_FROM_TEST: Final = 40
_TURNS: Final = 5
# Repeated questions let the model's page show how much the answers vary.
_ASKED_AGAIN: Final = 24
_TIMES: Final = 3
_THREADS: Final = 8
_TIMEOUT_S: Final = 30
_SEED: Final = 11
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Request:
    """A request, the project and name of the model that it calls, and the expected status."""

    model: tuple[str, str]
    body: dict[str, Any]
    status: int = 200


def make_requests() -> list[Request]:
    """Return the requests in random order. A fixed seed makes them the same in each demo."""
    chance = random.Random(_SEED)
    requests = [*_ask_questions(), *_show_digits(), *_show_tumours()]
    for request in requests:
        request.body["client"] = chance.choice(_CLIENTS)
    _repeat_questions(requests)
    chance.shuffle(requests)
    return [*requests, *_ask_again(requests)]


def _ask_again(requests: Sequence[Request]) -> list[Request]:
    """Return requests that repeat questions in the same conversation."""
    asked = [
        request
        for request in requests
        if request.model[1] == "ask" and request.status == _OK and request.body["client"] != _STALE
    ]
    return asked[:_ASKED_AGAIN] * (_TIMES - 1)


def _repeat_questions(requests: Sequence[Request]) -> None:
    """Replace each question of the buggy client with its previous one."""
    previous = ""
    for request in requests:
        if request.model[1] == "ask" and request.status == _OK and request.body["client"] == _STALE:
            question = request.body["question"]
            request.body["question"] = previous or question
            previous = question


def send(address: str, requests: Sequence[Request], advance: Callable[[], object]) -> None:
    """Send all requests and call `advance` after each answer.

    Raises:
        DemoError: A request failed or returned an unexpected status.
    """
    pool = urllib3.PoolManager(maxsize=_THREADS, retries=False, timeout=_TIMEOUT_S)

    def post(request: Request) -> None:
        name = request.model[1]
        try:
            answer = pool.request("POST", f"{address}/{name}", json=request.body)
        except urllib3.exceptions.HTTPError as error:
            raise DemoError(f"POST /{name} failed: {error}") from error
        if answer.status != request.status:
            raise DemoError(
                f"POST /{name} returned {answer.status}: expected {request.status}; "
                f"{answer.data.decode()[:500]}"
            )

    with pool, ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(post, requests):
            advance()


def count_by_model(requests: Sequence[Request]) -> Counter[tuple[str, str]]:
    """Count the requests for each model."""
    return Counter(request.model for request in requests)


def _ask_questions() -> Iterator[Request]:
    model = ("docs-search", "ask")
    number = 0
    for number, question in enumerate(make_questions()):
        yield Request(
            model,
            {
                "question": question.text,
                "expected": question.topics,
                "split": "train" if question.is_quote else "test",
                "session": f"web-{number // _TURNS}",
            },
        )
    last = {"question": UNANSWERABLE, "expected": [], "split": "test"}
    yield Request(model, last | {"session": f"web-{number // _TURNS}"}, status=422)


def _show_digits() -> Iterator[Request]:
    data = load_digit_images()
    for split, part in _parts(data):
        for pixels, digit in zip(part.features, part.targets, strict=True):
            body = {"pixels": pixels.tolist(), "expected": int(digit), "split": split}
            yield Request(("digits", "classify"), body)


def _show_tumours() -> Iterator[Request]:
    data = load_tumours()
    for split, part in _parts(data):
        for row, kind in zip(part.features, part.targets, strict=True):
            measurements = dict(zip(data.feature_names, row.tolist(), strict=True))
            body = {
                "measurements": measurements,
                "expected": data.target_names[kind],
                "split": split,
            }
            yield Request(("breast-cancer", "diagnose"), body)


def _parts(data: Data) -> tuple[tuple[str, Part], ...]:
    return ("train", data.train.first(_FROM_TRAIN)), ("test", data.test.first(_FROM_TEST))
