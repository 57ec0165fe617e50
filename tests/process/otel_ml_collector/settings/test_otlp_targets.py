"""Cases of tests/unit/otel_ml_collector/settings/test_otlp_targets.py that start processes."""

import json
from pathlib import Path

from otel_ml_collector.settings.targets import OtlpTarget, read_otlp_targets
from otel_ml_collector.settings.values import Address
from tests.support.certificates import make_certificate


def test_whole(tmp_path: Path) -> None:
    """A table can set every option of a destination."""
    made = make_certificate(tmp_path)
    table = {
        "endpoint": "grpcs://[::1]:4317",
        "required": True,
        "signals": ["traces"],
        "takes_json": False,
        "headers": {"Authorization": "Bearer hush"},
        "timeout_s": 5,
        "retry_s": 60,
        "queue_bytes": 1_000,
        "queue_requests": 10,
        "tls_ca": str(made.cert),
        "tls_cert": str(made.cert),
        "tls_key": str(made.key),
    }
    [target] = read_otlp_targets(json.dumps({"jaeger": table}))
    assert target == OtlpTarget(
        name="jaeger",
        endpoint="grpcs://[::1]:4317",
        required=True,
        signals=frozenset({"traces"}),
        takes_json=False,
        headers=(("authorization", "Bearer hush"),),
        timeout_s=5,
        retry_s=60,
        queue_bytes=1_000,
        queue_requests=10,
        tls_ca=made.cert,
        tls_cert=made.cert,
        tls_key=made.key,
    )
    assert (target.is_grpc, target.is_secure, target.address) == (True, True, Address("::1", 4317))
    assert "hush" not in repr(target)
