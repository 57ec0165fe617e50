"""The input of otel-ml, Evidently and NannyML: ten streams of one column each.

A stream has a reference of 14 windows, and one window that is judged.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

WINDOWS: Final = 14
DRAWS: Final = 10
_MANY: Final = 20_000
_USUAL: Final = 2_000
_FEW: Final = 100
# The interquartile range of the standard normal distribution.
_QUARTILES: Final = 1.3489795003921634

Values = list[Any]
Draw = Callable[[np.random.Generator, int, int | None], Values]


@dataclass(frozen=True, slots=True)
class Stream:
    """A column whose reference and judged window are drawn.

    Attributes:
        changed: Whether there is a change that should be reported.
        n: How many values a window has.
        draw: Draws a window's values from a generator, their number, and the window's number, which
            is None for the judged window.
        is_category: Whether its values repeat.
        session: How many consecutive values belong to one session.
    """

    changed: bool
    n: int
    draw: Draw
    is_category: bool = False
    session: int = 1

    def make(self, number: int) -> tuple[list[Values], Values]:
        """Make the windows of the reference and the judged window of one draw."""
        generator = np.random.default_rng([number, self.n])
        return (
            [self.draw(generator, self.n, window) for window in range(WINDOWS)],
            self.draw(generator, self.n, None),
        )


def _same(generator: np.random.Generator, n: int, _window: int | None) -> Values:
    return [*generator.normal(size=n).tolist()]


def _heavy(generator: np.random.Generator, n: int, _window: int | None) -> Values:
    return [*generator.lognormal(0, 2.5, n).tolist()]


def _sessions(generator: np.random.Generator, n: int, _window: int | None) -> Values:
    """Draw sessions of 50 similar values."""
    means = np.repeat(generator.normal(size=n // 50), 50)
    return [*(means + generator.normal(0, 0.1, n)).tolist()]


def _weekly(generator: np.random.Generator, n: int, window: int | None) -> Values:
    """Draw two weeks with different values at weekends; the judged day is one of a weekend."""
    is_weekend = window is None or window % 7 >= 5
    return [*(generator.normal(size=n) + 0.6 * is_weekend).tolist()]


def _moved(by: float) -> Draw:
    def draw(generator: np.random.Generator, n: int, window: int | None) -> Values:
        return [*(generator.normal(size=n) + by * _QUARTILES * (window is None)).tolist()]

    return draw


def _new_value(generator: np.random.Generator, n: int, window: int | None) -> Values:
    new = 0.03 if window is None else 0.0
    shares = [0.5 * (1 - new), 0.3 * (1 - new), 0.2 * (1 - new), new]
    return [*generator.choice(["card", "cash", "transfer", "voucher"], n, p=shares).tolist()]


def _missing(generator: np.random.Generator, n: int, window: int | None) -> Values:
    values = generator.normal(size=n)
    if window is None:
        values[generator.random(n) < 0.05] = math.nan
    return [*values.tolist()]


def _retyped(generator: np.random.Generator, n: int, window: int | None) -> Values:
    values: Values = generator.normal(size=n).tolist()
    if window is None:
        values = [str(value) if place % 10 == 0 else value for place, value in enumerate(values)]
    return values


STREAMS: Final[Mapping[str, Stream]] = {
    "nothing changed, 100 values": Stream(False, _FEW, _same),
    "nothing changed, 20,000 values": Stream(False, _MANY, _same),
    "nothing changed, heavy tail": Stream(False, _USUAL, _heavy),
    "nothing changed, sessions of 50": Stream(False, _USUAL, _sessions, session=50),
    "nothing changed, a weekend among weekdays": Stream(False, _USUAL, _weekly),
    "moved by 0.05 interquartile ranges, 20,000 values": Stream(False, _MANY, _moved(0.05)),
    "moved by 0.3 interquartile ranges": Stream(True, _USUAL, _moved(0.3)),
    "a new value in 3 %": Stream(True, _USUAL, _new_value, is_category=True),
    "5 % missing": Stream(True, _USUAL, _missing),
    "10 % became text": Stream(True, _USUAL, _retyped),
}
