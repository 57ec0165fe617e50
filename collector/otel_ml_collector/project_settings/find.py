"""Finds the settings of a project: receivers, retention with sizes, and prices of its LLMs."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pydantic import Field

from otel_ml_collector.access import OPEN
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.receivers import ProjectReceiver, TestedReceiver
from otel_ml_collector.evaluations.datasets import list_datasets
from otel_ml_collector.mapping.prices import ListedPrice, Prices
from otel_ml_collector.measures.statistics import list_llms, list_models, list_projects
from otel_ml_collector.project_settings.storage import (
    KeptFor,
    Share,
    StorageQuery,
    find_storage,
    kept_for,
)
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention, Wish
from otel_ml_collector.times import DAY_NS

_PRICE_DAYS: Final = 30
_MOST_LLMS: Final = 100

PriceSource = Literal["built in", "otel-ml.toml", "sender", "none"]


class LlmPrice(AnswerBody):
    """The price of an LLM, in US dollars per million tokens, and its calls in 30 days."""

    provider: str = Field(description="Provider, as the runs name it; may be empty")
    llm: str = Field(description="The provider's name of the model")
    calls: int
    input: float | None = Field(description="Price of input tokens; null if the price is unknown")
    output: float | None = Field(description="Price of output tokens; null if the price is unknown")
    source: PriceSource = Field(
        description="Where the price is from; `sender`: the calls state their cost"
    )


class ProjectSettings(AnswerBody):
    """Receivers, retention, sizes and prices of a project."""

    project: str
    receivers: list[ProjectReceiver] = Field(
        description="Receivers of alerts, in the order of otel-ml.toml"
    )
    retention: KeptFor
    bytes: int = Field(description="Compressed bytes on disk, estimated from the number of rows")
    kinds: dict[str, Share] = Field(
        description="Bytes of each kind: runs, payloads, logs, metrics, artifacts, other"
    )
    prices: list[LlmPrice] = Field(
        description="Prices of at most 100 LLMs, those with the most calls in the last 30 days "
        "first"
    )


@dataclass(frozen=True, slots=True)
class Configured:
    """The collector's settings for all projects.

    Attributes:
        receivers: The receivers of otel-ml.toml.
        retention: Reads how long each project is kept.
        prices: The price list in use.
    """

    receivers: Sequence[AlertTarget]
    retention: Retention
    prices: Prices


@dataclass(frozen=True, slots=True)
class SettingsSources:
    """Functions of other packages that page Settings calls.

    They are registered when the collector starts.

    Attributes:
        find_receivers: Returns the receivers of alerts. Each has the notifications that the project
            sent to it. Arguments: the store, the project, and the receivers of otel-ml.toml.
        send_trial: Sends a test notification to one receiver. Arguments: all receivers, the name of
            the receiver to test, the URL that the notification links to, and the current time.
        counters: Functions that count records of a project, by the kind of records. For example,
            the function under `alert rule` returns the number of alert rules. Arguments: the store
            and the project.
    """

    find_receivers: Callable[[Reader, str, Sequence[AlertTarget]], list[ProjectReceiver]]
    send_trial: Callable[[Sequence[AlertTarget], str, str, int], TestedReceiver]
    counters: Mapping[str, Callable[[Reader, str], int]]


def find_settings(
    reader: Reader, project: str, configured: Configured, sources: SettingsSources, now_ns: int
) -> ProjectSettings:
    """Find the settings of a project.

    Args:
        reader: A reader of the whole store. The size of a project is estimated as its share of the
            size of the store.
        project: The project.
        configured: The settings of the collector.
        sources: Functions that find receivers and counts.
        now_ns: The current time, in nanoseconds since 1970.
    """
    alone = replace(OPEN, projects=(project,))
    query = StorageQuery()
    shares = find_storage(reader, alone, configured.retention, query, now_ns).projects
    return ProjectSettings(
        project=project,
        receivers=sources.find_receivers(reader.narrow(alone), project, configured.receivers),
        retention=kept_for(project, configured.retention),
        bytes=shares[0].bytes if shares else 0,
        kinds=shares[0].kinds if shares else {},
        prices=find_prices(reader.narrow(alone), project, configured.prices, now_ns),
    )


def find_prices(reader: Reader, project: str, prices: Prices, now_ns: int) -> list[LlmPrice]:
    """Find the LLMs that a project called in the last 30 days, with their prices."""
    found = []
    for row in list_llms(reader, project, now_ns - _PRICE_DAYS * DAY_NS, _MOST_LLMS):
        listed = prices.find(row["provider"], row["provider_model"])
        rates = listed.tariff.at(now_ns) if listed else None
        found.append(
            LlmPrice(
                provider=row["provider"],
                llm=row["provider_model"],
                calls=row["calls"],
                input=rates.input.base if rates and rates.input else None,
                output=rates.output.base if rates and rates.output else None,
                source=_source(listed, is_priced=not row["unpriced"]),
            )
        )
    return found


def _source(listed: ListedPrice | None, *, is_priced: bool) -> PriceSource:
    if listed is None:
        return "sender" if is_priced else "none"
    return "otel-ml.toml" if listed.is_own else "built in"


def count_contents(reader: Reader, project: str, sources: SettingsSources) -> str:
    """Write what a project contains: ``12 runs, 2 models and 1 data set``."""
    alone = reader.narrow(replace(OPEN, projects=(project,)))
    numbers = {
        "run": sum(row["runs"] for row in list_projects(alone)),
        "model": len(list_models(alone, project)),
        "data set": len(list_datasets(alone, project)),
        **{noun: count(alone, project) for noun, count in sources.counters.items()},
    }
    words = [
        f"{number:,} {noun}{'' if number == 1 else 's'}"
        for noun, number in numbers.items()
        if number
    ]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:]))) or "no runs"


def find_freed(reader: Reader, project: str, retention: Retention, wish: Wish, now_ns: int) -> int:
    """Estimate how many bytes would be deleted with a different retention of a project.

    Args:
        reader: A reader of the whole store.
        project: The project.
        retention: Knows the collector's default, which applies to each value that `wish` lacks.
        wish: The retention to try.
        now_ns: The current time, in nanoseconds since 1970.
    """
    alone = replace(OPEN, projects=(project,))
    days = wish.over(retention.days_of(project, {}))
    freed = 0
    for limit, name in ((days.records, "freed_records"), (days.of_payloads, "freed_payloads")):
        if limit:
            query = StorageQuery(limit)
            shares = find_storage(reader, alone, retention, query, now_ns).projects
            freed += sum(getattr(share, name) or 0 for share in shares)
    return freed


def write_price_lines(prices: Collection[LlmPrice]) -> str:
    """Write lines for otel-ml.toml, to fill in, with a price for each LLM that has none."""
    by_provider: dict[str, list[str]] = {}
    for price in prices:
        if price.source == "none":
            by_provider.setdefault(price.provider or "PROVIDER", []).append(price.llm)
    lines = ["# US dollars per million tokens"] if by_provider else []
    for provider, llms in by_provider.items():
        lines.append(f"[prices.{_quote(provider)}]")
        lines += [f"{_quote(llm)} = {{ input = 0.10, output = 0.40 }}" for llm in llms]
    return "\n".join(lines)


def _quote(text: str) -> str:
    """Write a TOML key. A JSON string without control characters is also a TOML string."""
    escaped = "".join(
        f"\\{char}" if char in '"\\' else char if char.isprintable() else f"\\U{ord(char):08X}"
        for char in text
    )
    return f'"{escaped}"'
