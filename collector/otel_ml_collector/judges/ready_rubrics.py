"""Ready rubrics: documents of rubric judges to copy, each with labelled examples."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomllib

from otel_ml.rubric import JudgedRun
from otel_ml_collector.errors import Missing, suggest

_FOLDER: Final = Path(__file__).with_name("rubrics")
READY_RUBRICS: Final = tuple(sorted(file.stem for file in _FOLDER.glob("*.toml")))


@dataclass(frozen=True, slots=True)
class ReadyExample:
    """An example of a ready rubric.

    Attributes:
        label: The right answer: ``pass`` or ``fail``, or one of the rubric's labels.
    """

    inputs: Any
    outputs: Any
    label: str
    expected: Any = None

    @property
    def shown(self) -> JudgedRun:
        """The example as a rubric shows a run."""
        return JudgedRun(self.inputs, self.outputs, self.expected)


@dataclass(frozen=True, slots=True)
class ReadyRubric:
    """A judge to copy.

    Attributes:
        text: The document, TOML. Its ``model`` and ``connection`` are placeholders.
        examples: Its labelled examples.
    """

    name: str
    text: str
    examples: Sequence[ReadyExample]

    @property
    def document(self) -> dict[str, Any]:
        """The judge's fields."""
        return tomllib.loads(self.text)

    @property
    def description(self) -> str:
        """What the rubric checks: the first line of the document, a comment."""
        return self.text.partition("\n")[0].removeprefix("# ")


def read_ready_rubric(name: str) -> ReadyRubric:
    """Read a ready rubric.

    Raises:
        Missing: There is no such rubric.
    """
    if name not in READY_RUBRICS:
        hint = suggest(name, READY_RUBRICS)
        raise Missing(f"There is no ready rubric {name!r}: {hint}")
    text = (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    lines = (_FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return ReadyRubric(name, text, [ReadyExample(**json.loads(line)) for line in lines])
