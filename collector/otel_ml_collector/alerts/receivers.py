"""Receivers of alerts with the rules of a project that notify them, for its settings."""

from collections.abc import Sequence

from otel_ml_collector.alerts.deliveries import find_deliveries
from otel_ml_collector.alerts.find import find_rules
from otel_ml_collector.api.receivers import ProjectReceiver
from otel_ml_collector.settings.alert_targets import AlertTarget
from otel_ml_collector.store.reader import Reader


def find_receivers(
    reader: Reader, project: str, receivers: Sequence[AlertTarget]
) -> list[ProjectReceiver]:
    """Find the receivers, with the rules of a project that notify them and the last messages."""
    rules = find_rules(reader, project)
    sent = {each.name: each for each in find_deliveries(reader, project, receivers).targets}
    return [
        ProjectReceiver(
            name=receiver.name,
            kind=receiver.kind,
            host=receiver.host,
            rules=sum(receiver.name in rule.notify for rule in rules),
            sent_time=sent[receiver.name].sent_time,
            trouble=sent[receiver.name].trouble,
            waiting=sent[receiver.name].waiting,
        )
        for receiver in receivers
    ]


def count_rules(reader: Reader, project: str) -> int:
    """Count the alert rules of a project."""
    return len(find_rules(reader, project))
