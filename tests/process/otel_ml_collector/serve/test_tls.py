"""Tests of the TLS and origin settings: errors are found before the collector listens."""

from pathlib import Path

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.settings.sources import load
from tests.support.certificates import make_certificate


def problem(**flags: str) -> str:
    """Load settings that are refused; return the error."""
    with pytest.raises(BadSetting) as caught:
        load(flags, {}, None)
    return str(caught.value)


def test_neither() -> None:
    """Without a certificate and a key, TLS is off."""
    settings = load({}, {}, None)
    assert (settings.tls_cert, settings.tls_key) == (None, None)


def test_both(tmp_path: Path) -> None:
    """A certificate with its key is accepted."""
    made = make_certificate(tmp_path)
    settings = load({"tls_cert": str(made.cert), "tls_key": str(made.key)}, {}, None)
    assert (settings.tls_cert, settings.tls_key) == (made.cert, made.key)


@pytest.mark.parametrize(("given", "missing"), [("cert", "key"), ("key", "cert")])
def test_one(tmp_path: Path, given: str, missing: str) -> None:
    """A certificate without a key, or a key without a certificate, is refused."""
    file = tmp_path / "one.pem"
    file.write_text("")
    said = problem(**{f"tls_{given}": str(file)})
    assert said == f"Invalid --tls-{given} '{file}': expected tls_{missing} too"


def test_no_file(tmp_path: Path) -> None:
    """A missing file is refused; the error concerns only that file."""
    made = make_certificate(tmp_path)
    said = problem(tls_cert=str(tmp_path / "none"), tls_key=str(made.key))
    assert said.startswith("Invalid --tls-cert ")
    assert said.endswith("expected a readable file (No such file or directory)")


def test_no_certificate(tmp_path: Path) -> None:
    """A file without a certificate is refused."""
    made = make_certificate(tmp_path)
    made.cert.write_text("no certificate")
    said = problem(tls_cert=str(made.cert), tls_key=str(made.key))
    assert said.startswith(
        f"Invalid --tls-cert '{made.cert}': expected a certificate and its private key without a "
        f"password, both PEM, in {made.cert} and {made.key} ("
    )


def test_other_key(tmp_path: Path) -> None:
    """The key of another certificate is refused."""
    made = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")
    assert "(KEY_VALUES_MISMATCH)" in problem(tls_cert=str(made.cert), tls_key=str(other.key))


def test_locked_key(tmp_path: Path) -> None:
    """A key with a password is refused, without a prompt on the terminal."""
    made = make_certificate(tmp_path, password="secret")
    said = problem(tls_cert=str(made.cert), tls_key=str(made.key))
    assert said.endswith("(the key has a password)")


@pytest.mark.parametrize(
    "origins",
    ["*", "shop.example", "https://shop.example/", "ftp://shop.example", "null", "https://"],
)
def test_no_origin(origins: str) -> None:
    """An invalid origin is refused, also a star, because any page could then send."""
    assert problem(cors_origins=origins) == (
        f"Invalid --cors-origins {origins!r}: expected SCHEME://HOST[:PORT], such as "
        "https://shop.example"
    )


def test_origins() -> None:
    """Origins are converted to lower case, as browsers send them."""
    settings = load({"cors_origins": "HTTPS://Shop.example, http://[::1]:3000"}, {}, None)
    assert settings.cors_origins == ("https://shop.example", "http://[::1]:3000")
