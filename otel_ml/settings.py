"""What a decorator is told, checked where it is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_ml import attributes as names
from otel_ml.arguments import (
    NAME_CHARS,
    check_callable,
    check_flag,
    check_mapping,
    check_number,
    check_optional_text,
    check_text,
    invalid,
)
from otel_ml.capture_mode import Capture, capture_mode
from otel_ml.versions.version_on import PARTS, Params, Part, check_version_on

if TYPE_CHECKING:
    from otel_ml.judges.judge import Judge


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `Client.trace` and `Client.assess` take, see there.

    Raises:
        ValueError: One of them is wrong; the message says what would be right.
    """

    name: str | None = None
    kind: str = "model"
    tags: Mapping[str, object] | None = None
    params: Params | None = None
    version_on: Collection[Part] = PARTS
    capture: Capture | None = None
    provider: str | None = None
    model: str | None = None
    judges: "tuple[Judge, ...]" = ()
    inline: bool = False
    sample: float = 1.0

    def __post_init__(self) -> None:
        if self.name is not None:
            check_text("name", self.name)
        check_optional_text("provider", self.provider)
        check_optional_text("model", self.model)
        if self.tags is not None:
            check_mapping("tags", self.tags, "a mapping of names to values, or None")
        if self.params is not None and not issubclass(type(self.params), Mapping):
            check_callable("params", self.params, "a mapping, a function that returns one, or None")
        check_version_on(self.version_on)
        capture_mode(self.capture)
        self._check_kind()
        check_flag("inline", self.inline)
        check_number("sample", self.sample, 0, 1)
        called = [judge.name for judge in self.judges]
        if len(set(called)) < len(called):
            raise ValueError(f"Invalid judges {called!r}: expected another name for each")

    def _check_kind(self) -> None:
        operations = sorted(names.OPERATIONS)
        if not issubclass(type(self.kind), str) or len(self.kind) > NAME_CHARS:
            raise invalid("kind", self.kind, f"one of {sorted(names.KINDS)} or of {operations}")
        if self.kind in names.OPERATIONS:
            return
        if self.provider is not None or self.model is not None:
            raise ValueError(
                f"Invalid kind {self.kind!r} with a provider or model: expected one of {operations}"
            )
        if self.kind not in names.KINDS:
            raise ValueError(
                f"Invalid kind {self.kind!r}: expected one of {sorted(names.KINDS)} or of "
                f"{operations}"
            )
