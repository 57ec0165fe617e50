"""Which payloads are recorded at all: what the decorator says, else the environment."""

import os
from dataclasses import dataclass
from typing import Final, Literal, get_args

from otel_ml.arguments import check_one_of

VARIABLE: Final = "OTEL_ML_CAPTURE"
LEFT_OUT: Final = "off"

Capture = Literal["all", "inputs", "outputs", "off"]

_MODES: Final = get_args(Capture)


@dataclass(frozen=True, slots=True)
class CaptureMode:
    """Whether inputs and outputs are recorded."""

    inputs: bool
    outputs: bool

    @property
    def notes(self) -> dict[str, list[str]]:
        """What ``otel_ml.capture`` says of the parts that are left out."""
        left_out = {"inputs": not self.inputs, "outputs": not self.outputs}
        return {part: [LEFT_OUT] for part, is_left_out in left_out.items() if is_left_out}


def capture_mode(given: str | None) -> CaptureMode:
    """Read the mode that was given to a decorator, else ``OTEL_ML_CAPTURE``, else all.

    Raises:
        ValueError: A mode was given and is none. A wrong variable records nothing of either,
            as it was set to record less.
    """
    if given is not None:
        check_one_of("capture", given, _MODES)
    mode = given or os.environ.get(VARIABLE, "").strip().lower() or "all"
    return CaptureMode(inputs=mode in {"all", "inputs"}, outputs=mode in {"all", "outputs"})
