"""The smallest differences in time and money that matter, from the setting `margins`."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Final

from otel_ml.statistics.paired import LEAST_AMOUNTS

_EXPECTED_MARGINS: Final = (
    'expected a JSON object such as {"time_ms": 10, "time_share": 0.02, "cost": 0.0001}, '
    "with numbers of 0 or more"
)


@dataclass(frozen=True, slots=True)
class Margins:
    """The smallest differences in time and money that matter.

    A version is called better or worse in latency or cost only if the difference exceeds both 5 %
    and this margin.

    Attributes:
        time_ms: Difference in time, in milliseconds.
        time_share: Difference in time, as a share of the time of the whole request. 0.02 means 2 %.
            The larger one of `time_ms` and `time_share` applies.
        cost: Difference in cost per run, in US dollars.
    """

    time_ms: float = LEAST_AMOUNTS["latency"]
    time_share: float = 0.02
    cost: float = LEAST_AMOUNTS["cost"]

    def find_least(self, name: str, request_ms: float = 0.0) -> float:
        """Return the smallest change in latency or cost that can make a version better or worse.

        The result is in milliseconds for latency, and in US dollars for cost. It is 0 for every
        other measure.

        Args:
            name: `latency`, `cost`, or another measure.
            request_ms: How long the whole request usually takes, in milliseconds. For latency, the
                result is at least the share `time_share` of it.
        """
        if name == "latency":
            return max(self.time_ms, self.time_share * request_ms)
        return self.cost if name == "cost" else 0.0

    def find_ratio(self, name: str, mean: float, least_ratio: float, request_ms: float) -> float:
        """Return the smallest relative difference that matters: 0.05 means 5 %.

        This is the smallest difference in ms or $ that matters (see `find_least`), divided by the
        mean. For example, if 10 ms matter and the mean is 20 ms, the result is 0.5. But it is at
        least `least_ratio`.

        Args:
            name: `latency`, `cost`, or another measure. For another measure, the result is
                `least_ratio`.
            mean: Mean of the baseline, in ms or $.
            least_ratio: The smallest possible result.
            request_ms: How long a whole request usually takes, in ms. The longer it takes, the
                larger is the difference in latency that matters.
        """
        least = self.find_least(name, request_ms)
        if not (least and 0 < mean < math.inf):
            return least_ratio
        return max(least_ratio, least / mean)


def read_margins(text: str) -> Margins:
    """Read margins from a JSON object; absent keys keep their default.

    Raises:
        ValueError: The text is not such an object.
    """
    try:
        table = json.loads(text or "{}")
    except ValueError:
        raise ValueError(_EXPECTED_MARGINS) from None
    known = {field.name for field in fields(Margins)}
    if not isinstance(table, dict) or table.keys() - known:
        raise ValueError(_EXPECTED_MARGINS)
    for value in table.values():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < math.inf:
            raise ValueError(_EXPECTED_MARGINS)
    return Margins(**{**asdict(Margins()), **{key: float(entry) for key, entry in table.items()}})
