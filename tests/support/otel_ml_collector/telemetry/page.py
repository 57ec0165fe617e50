"""Reads a page of metrics as Prometheus does."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from otel_ml_collector.telemetry.service import Telemetry

Numbers = dict[tuple[str, tuple[str, ...]], float]
# What the system tells of any process.
_PROCESS: Final = "process_"


def read_page(page: str) -> Numbers:
    """Read the numbers by name and label values, these in order of their labels' names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if not sample.name.endswith("_created") and not sample.name.startswith(_PROCESS)
    }


def read(telemetry: Telemetry) -> Numbers:
    """Read what a telemetry shows."""
    return read_page(telemetry.render().decode())


def read_collector(collector: Collector, without: Iterable[str] = ("_bucket",)) -> Numbers:
    """Read what one collector shows, but for the samples with some endings."""
    registry = CollectorRegistry()
    registry.register(collector)
    numbers = read_page(generate_latest(registry).decode())
    return {key: value for key, value in numbers.items() if not key[0].endswith(tuple(without))}
