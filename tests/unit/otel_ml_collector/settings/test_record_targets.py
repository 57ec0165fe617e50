"""Tests of the settings of record destinations."""

from pathlib import Path

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.settings.sources import choose, load
from otel_ml_collector.settings.targets import RecordTarget, read_record_targets

SERVER = "clickhouse://user:pw@localhost:8123/db"


def test_targets(tmp_path: Path) -> None:
    """A destination has a name and an address, and optionally TLS, a key and certificates."""
    ca = tmp_path / "ca.pem"
    ca.touch()
    text = f"mine=grpc://127.0.0.1:4319, theirs=grpcs://:a%2Cb%40c@h.example:443?ca={ca}"
    assert read_record_targets(text) == (
        RecordTarget("127.0.0.1:4319", name="mine"),
        RecordTarget("h.example:443", is_secure=True, key="a,b@c", ca=ca, name="theirs"),
    )
    assert read_record_targets("six=grpc://[::1]:4319")[0].address == "[::1]:4319"
    assert read_record_targets("") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grpc://h:1", "expected NAME=grpc://HOST:PORT"),
        ("A=grpc://h:1", "expected NAME=grpc://HOST:PORT"),
        ("a=http://h:1", "expected grpc://HOST:PORT"),
        ("a=grpc://:k\u00e9y@h:1", "expected a key of printable ASCII"),
        ("a=grpc://h:1,a=grpc://g:1", "each name once"),
        (",".join(f"t{number}=grpc://h:1" for number in range(9)), "at most 8 services"),
    ],
)
def test_invalid_targets(text: str, said: str) -> None:
    """An invalid destination is rejected with the expected form."""
    with pytest.raises(ValueError, match=said):
        read_record_targets(text)


def test_key_is_hidden() -> None:
    """The key is hidden in the destination's repr and in the list of settings."""
    text = "a=grpc://:s3cret@h:1,b=grpcs://:s3cret@h:2"
    chosen, _ = choose({"forward_records": text}, {}, None)
    shown = chosen["forward_records"].shown
    assert shown == "a=grpc://:***@h:1,b=grpcs://:***@h:2"
    assert "s3cret" not in repr(read_record_targets(text))


def test_name_beside_a_server() -> None:
    """With a store server, forwarding records requires a collector name."""
    flags = {"store": SERVER, "forward_records": "a=grpc://h:1"}
    with pytest.raises(BadSetting, match="expected a collector_name"):
        load(flags, {}, None)
    assert load({**flags, "collector_name": "c1"}, {}, None).collector_name == "c1"
    assert load({"collector_name": "c1"}, {}, None).collector_name == ""  # the embedded store
    with pytest.raises(BadSetting, match="expected a name of 1 to 64"):
        load({**flags, "collector_name": "No Name"}, {}, None)
