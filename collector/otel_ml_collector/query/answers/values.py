"""The values that a user's own code gave or was given, as answers carry them."""

from typing import Any

JsonValue = Any  # a payload: whatever the traced code was given or gave
MetricValue = float | None | list[float | None]  # null is NaN or infinite
