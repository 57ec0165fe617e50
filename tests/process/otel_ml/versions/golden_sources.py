"""Functions whose recorded digests must never change, on any Python version.

Changing a function changes its digest, so add a new one instead. No function here is called.
"""
# Unusual syntax is intended in this file, so linter and formatter must not tidy it.
# ruff: noqa: B007, E501, E731, F841, PIE800, PLR0402, PLW0120, PLW0602, PTH118, PTH123, UP033, UP050
# fmt: off

import enum
import functools
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

LIMIT = 3
PROMPT = "Where is my parcel?"
RATES = (0.1, ("a", True))
total = "a module's constant that locals below share their name with"


def plain(a: int, b: int) -> int:
    """The sum."""
    return a + b


def texts(a: float, width: int) -> str:
    whole = f"{a!r:>{width}} {a:.3f} {a:%H:%M} {{braces}} {a=} {a}" "implicit" f"{'nested' + 'x'}"
    lines = f"""first
    {a:{'>'}{width}}  # no comment
last"""
    return whole + lines + rf"\d{a}\n" + "\N{DIGIT ONE}\x41\t" + f"{a:}" + f"{{{a}}}" + f"{a!s:^{width}}"


def comprehensions(rows: list[dict[str, int]]) -> Any:
    flat = [item for row in rows if row for item in row.values() if item > LIMIT]
    return {key: {v for v in flat if v != key} for key in flat}, (x**2 for x in flat)


def matches(value: Any) -> Any:
    match value:
        case {"kind": "a", "size": int(size), **rest} if size > 1:
            return rest
        case [1, (2 | 3) as second, *_] | (second, "x"):
            return second
        case str() | None | True | -1 | 1 + 2j:
            return 0
        case complex(real=real):
            return real
        case _:
            return RATES


lambdas = lambda a, /, b=LIMIT, *args, c="x", **rest: (a, b, args, c, rest) if a else -b


async def streams(source: AsyncIterator[int], lock: Any) -> AsyncIterator[int]:
    async with lock as held, lock:
        async for item in source:
            yield item
        else:
            await held
    _ = [item async for item in source if await item.ready()]  # type: ignore[attr-defined]


def classes(base: type) -> type:
    class Inner(base, metaclass=type):  # type: ignore[misc]  # the syntax is what counts
        """Documented."""

        size: int = 3
        name: str

        def doubled(self) -> Any:
            """Documented too."""
            return super().size * 2

    return Inner


def parameters(
    a: int, b: "str" = "x", /, c: list[int] | None = None, *rest: float, d: bool, e: int = 1_000
) -> dict[str, Callable[..., int]]:
    values: dict[str, Any] = {"a": a, **{"b": b}}
    if (n := len(rest)) > LIMIT and not (c or d):
        values |= {"n": n, "bytes": b"\x00a", "float": 1e-7, "big": 0xFFFF_FFFF_FFFF, "dots": ...}
    return values


def statements(path: Any, limit: int = LIMIT) -> Any:
    global total
    count = 0
    try:
        with open(path) as file, path:
            for number, (first, *others) in enumerate(path):
                if number >= limit:
                    break
                elif not first:
                    continue
                yield number
            else:
                return
    except (OSError, ValueError) as error:
        raise RuntimeError("wrong") from error
    except KeyError:
        ...
    else:
        del others
    finally:
        assert count <= limit, "too many"
    while count < limit:
        count += 1
    got = yield count
    yield from got[1:2, ::3, ...]


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@functools.lru_cache(maxsize=None)
@passed_on
def decorated(a: int) -> Callable[[int], int]:
    """Outer."""
    seen = 0

    def inner(b: int) -> int:
        """Inner."""
        nonlocal seen
        seen += b
        import os.path as path
        from json import dumps

        return len(path.join(str(seen), dumps(a), PROMPT))

    return inner


def chained(a: int, b: int) -> bool:
    total = a
    return [total + item for item in range(b)] != [] and 0 <= a < b is not None in {a, not b}


def newest(a: str) -> str:
    return a + "🫨 came with Unicode 15" + f"🫨{a}"


class Model:
    def method(self, question: str) -> str:
        """A prompt that reaches the margin."""
        return f"""
Answer in one word:
  {question}
"""


class Prompts:
    """Constants of a class."""

    ANSWER = "Answer in one word: "

    class Limits:
        """Bounds."""

        words = 1_0


class Asking(Prompts):
    retries = 0x3

    @staticmethod
    def cut(text: str, words: int = 2) -> str:
        return " ".join(text.split()[:words])

    @property
    def prompt(self) -> str:
        return self.ANSWER + PROMPT

    def ask(self, question: str) -> str:
        """Reads what stands in its class, and in others."""
        for _ in range(self.retries):
            question = self.cut(self.prompt + question)
        return question * Prompts.Limits.words


def documented(a: int) -> int:
    """One text."""
    return a  # and a comment


def undocumented(a: int) -> int:
    return (
        a
    )


def written(a: float) -> tuple[object, ...]:
    return 1_000, 0b101, 0o17, 0xFf, 1e3, 1E-3, .5, 5., 10j, 'a' "b" "\
c", '\'', "\u00e9é\0\x7f", r'\n', b'\n\xff', """x
y"""


class Tone(enum.Enum):
    KIND = "kind"
    RUDE = 2


class Pair(NamedTuple):
    first: int
    second: str = "b"


@dataclass(frozen=True)
class Settings:
    rate: float = 0.5
    stop: list[str] = field(default_factory=lambda: ["end"])
    tone: Tone = Tone.KIND


class Engine:
    """An object of the module, with state of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.calls = 0
        self.steps = [plain, re.compile("a+", re.I)]

    def __call__(self, question: str) -> str:
        self.calls += 1
        return self.tidy(question) * int(self.settings.rate)

    def tidy(self, question: str) -> str:
        return question.strip()


class Counting(Engine):
    __slots__ = ("limit",)

    def __init__(self) -> None:
        super().__init__(Settings(1.5))
        self.limit = 3


CONFIG = {"t": 1, 2: (None, b"x", 1e-7, 2j), "nested": [{"api_key": "sk-1"}, {"b", "a"}], (1, 2): True}
FLAGS = frozenset({"x", ("y", 1)})
SPACE = SimpleNamespace(pair=Pair(1), many=range(3))
ENGINE = Engine(Settings(0.25, ["stop"]))
HANDLERS = {"plain": plain, "tone": Tone}
HALF = functools.partial(plain, b=2)
SEEN: list[str] = []


def values(a: int) -> Any:
    return CONFIG, FLAGS, SPACE, Tone.RUDE, Pair(2), Settings, HALF(a), [*HANDLERS]


def objects(question: str) -> Any:
    SEEN.append(question)
    local = Counting()
    return ENGINE(question), local.tidy(question), local.limit
