"""DigitalHub's entities that have metrics: a model or a run."""

from collections.abc import Mapping, Sequence

from otel_ml.metrics import Metric
from otel_ml.runs import Run
from otel_ml.targets import Model

Number = float | int


class Entity:
    """A model or a run, with the methods for metrics that DigitalHub's have.

    Args:
        handle: The run or model version, as `otel_ml.Client` returns one.

    Attributes:
        handle: It has steps, tags, text and data, too.
    """

    def __init__(self, handle: Run | Model) -> None:
        self.handle = handle

    def log_metric(
        self,
        key: str,
        value: Number | Sequence[Number],
        overwrite: bool = False,
        single_value: bool = False,
    ) -> None:
        """Append a number or a list to a series; see `otel_ml.Run.log_metric`.

        Raises:
            InvalidMetricError: The value is no number; nothing is logged.
        """
        self.handle.log_metric(key, value, overwrite=overwrite, single_value=single_value)

    def log_metrics(
        self, metrics: Mapping[str, Number | Sequence[Number]], overwrite: bool = False
    ) -> None:
        """Log several metrics of one moment; see `otel_ml.Run.log_metrics`.

        Raises:
            InvalidMetricError: A value is no number; then none of them is logged.
        """
        self.handle.log_metrics(metrics, overwrite=overwrite)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What was logged here: a number, or the numbers of a series, by name.

        It is not read back: what other processes logged is in the API.
        """
        return self.handle.metrics
