"""Parses a metrics page as Prometheus does."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from otel_ml_collector.telemetry.service import Telemetry

Numbers = dict[tuple[str, tuple[str, ...]], float]
# Metrics that the system provides for any process.
_PROCESS: Final = "process_"


def read_page(page: str) -> Numbers:
    """Return the numbers by name and label values; the values are ordered by label name."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_created") and not sample.name.startswith(_PROCESS)
    }


def read(telemetry: Telemetry) -> Numbers:
    """Return the current numbers of a telemetry."""
    return read_page(telemetry.render().decode())


def read_collector(collector: Collector, without: Iterable[str] = ("_bucket",)) -> Numbers:
    """Return the numbers of one collector, without samples that have given suffixes."""
    registry = CollectorRegistry()
    registry.register(collector)
    numbers = read_page(generate_latest(registry).decode())
    return {key: value for key, value in numbers.items() if not key[0].endswith(tuple(without))}
