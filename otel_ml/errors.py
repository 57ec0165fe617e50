"""Errors of the SDK, and the one place where telemetry trouble ends.

The host's call returns or raises exactly as without us, so trouble of ours is counted and logged
once, never raised. ``except Exception`` stands only at these borders:

* `values`, `described`, `size`, `versions.structure` and `tags`: the host's values (a hostile
  ``__repr__``);
* `redaction`: the host's keys, and the user's function that hides;
* `decorators`, `traced`, `call`, `current`, `opened` and `handle`: around everything we do before
  and after the host's call;
* `capture` and `decorators`: what a host's callable answers about itself;
* `genai.foreign` and `genai.generative`: what a model's request and response answer about
  themselves;
* `versions.source`: what a wrapper of the host's says that it wraps;
* `artifact`: a wrapper of the user's;
* `versions.definition`: the user's function that returns declared parameters;
* `judges.judge`, `judges.answer` and `judges.steps`: the user's rubric and passing criteria;
* `judges.cache`: the host's values, compared with what JSON says of them;
* `judges.awaiting`: around the judges that an async call awaits;
* `judges.pool`, `unfinished` and `export.sender`: the worker loops;
* `export.encoder`, `export.attribute_field` and `export.spooled`: spans of any make;
* `integrations.transformers` and `integrations.instrumentor`: what a trainer hands over, and the
  modules in which functions are traced;
* `export.destination`, `recorder` and `process`: exporters of the user's.
"""

import logging

from otel_ml.tally import Tally

_logger = logging.getLogger("otel_ml")
_tally = Tally()
_told: dict[str, object] = {}


class InvalidMetricError(ValueError):
    """A metric value is no number: the call is refused, nothing is recorded."""


def report(where: str, error: BaseException) -> None:
    """Count trouble of ours and log its first occurrence at each place.

    Args:
        where: A fixed name of the place, never built from data.
        error: What happened; its type is logged, its message only at debug level, because it
            may hold inputs of a model.
    """
    _tally.add(where)
    mark = object()
    if _told.setdefault(where, mark) is mark:
        _logger.warning(
            "Telemetry trouble in %s (%s): the call went on, counted from now on",
            where,
            type(error).__name__,
        )
        _logger.debug("First trouble in %s", where, exc_info=error)


def trouble() -> dict[str, int]:
    """Return how often trouble was reported, by place, since the process began."""
    return _tally.sums()
