"""What a decorator is told, checked where it is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otel_ml import attributes as names
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
        check_version_on(self.version_on)
        capture_mode(self.capture)
        self._check_kind()
        sample = self.sample
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
            raise ValueError(f"Invalid sample {sample!r}: expected a number from 0 to 1")
        called = [judge.name for judge in self.judges]
        if len(set(called)) < len(called):
            raise ValueError(f"Invalid judges {called!r}: expected another name for each")

    def _check_kind(self) -> None:
        if self.kind in names.OPERATIONS:
            return
        operations = sorted(names.OPERATIONS)
        if self.provider is not None or self.model is not None:
            raise ValueError(
                f"Invalid kind {self.kind!r} with a provider or model: expected one of {operations}"
            )
        if self.kind not in names.KINDS:
            raise ValueError(
                f"Invalid kind {self.kind!r}: expected one of {sorted(names.KINDS)} or of "
                f"{operations}"
            )


def check_run_kind(kind: str) -> None:
    """Check the kind of a run without a function.

    Raises:
        ValueError: It is none.
    """
    if kind not in names.KINDS:
        raise ValueError(f"Invalid kind {kind!r}: expected one of {sorted(names.KINDS)}")
