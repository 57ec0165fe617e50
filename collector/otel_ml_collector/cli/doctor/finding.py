"""What a check found, and the time that one may take."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warn", "fail"]
_CHECK_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer.

    Attributes:
        status: ok, warn or fail.
        check: The check's name, one word.
        what: What is so.
        todo: What to do about it; empty when nothing is to be done.
    """

    status: Status
    check: str
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """Write the line: ``fail  what -> what to do``."""
        return f"{self.status:4}  {self.what}{f' -> {self.todo}' if self.todo else ''}"


def find_within(
    name: str, look: Callable[[], Iterable[Finding]], limit_s: float = _CHECK_S
) -> list[Finding]:
    """Run a check on a thread of its own, and leave it there when it takes too long."""
    found: list[Finding] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            found.extend(look())
        except Exception as error:  # noqa: BLE001 - a check that breaks is a finding too
            errors.append(error)

    thread = threading.Thread(target=work, name=f"otel-ml-doctor-{name}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        return [Finding("fail", name, f"The check {name} did not end within {limit_s:g} s")]
    if errors:
        text = f"The check {name} broke: {type(errors[0]).__name__}: {errors[0]}"
        return [*found, Finding("fail", name, text, "report it with this line")]
    return found
