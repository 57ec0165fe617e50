"""Redaction of secrets in everything that a client sends."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.redaction import NOTE, REDACTED, SECRET_KEYS, CapturedPayload, Redaction
from tests.support.otel_ml.recording import Recording, attributes, events, inputs, outputs
from tests.support.otel_ml.strategies import json_values

SECRET = "hunter2-s3cr3t"


@dataclasses.dataclass
class Login:
    user: str
    password: str


class Slotted:
    __slots__ = ("api_key",)

    def __init__(self, api_key: str) -> None:
        self.api_key = api_key


@pytest.mark.parametrize(
    "key",
    [
        "password", "Password", "userPassword", "db_passwd", "token", "access_token", "idToken",
        "X-Auth-Token", "authorization", "Authorization", "api_key", "apiKey", "API-KEY",
        "client_secret", "secrets", "private key", "token2",
    ],
)  # fmt: skip
def test_secret_keys(key: str) -> None:
    """A secret key is recognized by its words, in any spelling."""
    assert Redaction().is_secret(key)


@pytest.mark.parametrize(
    "key", ["max_tokens", "tokens", "tokenizer", "token_count", "user", "passed", "author", "pass"]
)
def test_harmless_keys(key: str) -> None:
    """A key that counts tokens, or only resembles a secret key, is not secret."""
    assert not Redaction().is_secret(key)


@pytest.mark.parametrize(
    "value",
    [
        {"password": SECRET},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        [[{"deep": [{"api_key": SECRET}]}]],
        ({"token": [SECRET, SECRET]},),
        {"secret": {"nested": SECRET}},
        {"list": [{"a": 1}] * 500 + [{"password": SECRET}]},
        {**{f"k{number}": {} for number in range(300)}, "password": SECRET},
        Login("me", SECRET),
        {"logins": [Login("me", SECRET)]},
        {1: {"password": SECRET}, (2, 3): {"token": SECRET}},
        {"password": b"bytes", "more": {"password": SECRET}},
        {"password": SECRET, "big": "x" * 100_000},
    ],
)
def test_value_of_a_secret_key_is_hidden(recording: Recording, value: Any) -> None:
    """The value of a secret key is redacted at any depth in inputs, outputs and previews."""
    assert recording.client.trace(lambda given: given)(value) is value
    found = attributes(recording.run())
    assert SECRET not in json.dumps({key: str(item) for key, item in found.items()})
    assert "redacted" in json.loads(found["otel_ml.capture"])["outputs"]


@pytest.mark.parametrize(("keys", "name"), [(SECRET_KEYS, "password"), (["pin2"], "pin2")])
def test_secret_column_of_a_long_table(keys: Iterable[str], name: str) -> None:
    """A secret column of a table with many numbers is redacted, even if its name has a digit."""
    numbers = np.random.default_rng(0).normal(size=2_000)
    captured = Redaction(keys=keys).capture({"x": pd.DataFrame({"age": numbers, name: numbers})})
    assert isinstance(captured, CapturedPayload)
    text, notes = captured.encode()
    table = json.loads(text)["x"]
    assert (table["head"], table["cells"][name]) == (REDACTED, REDACTED)
    assert len(table["cells"]["age"]) == 1_000
    assert notes == {NOTE}


def test_argument_of_a_secret_name_is_hidden(recording: Recording) -> None:
    """An argument with a secret name is redacted; the function receives the real value."""

    @recording.client.trace
    def sign_in(user: str, password: str, *, retries: int = 3) -> bool:
        return password == SECRET

    assert sign_in("me", SECRET)
    run = recording.run()
    assert inputs(run) == {"user": "me", "password": REDACTED, "retries": 3}
    assert outputs(run) is True
    assert json.loads(attributes(run)["otel_ml.capture"]) == {"inputs": ["redacted"]}


def test_harmless_call_is_not_noted(recording: Recording) -> None:
    """A run without secrets has no note about redaction."""
    recording.client.trace(lambda max_tokens: {"tokens": [{"text": "a"}]})(5)
    run = recording.run()
    assert "otel_ml.capture" not in attributes(run)
    assert outputs(run) == {"tokens": [{"text": "a"}]}


def hide(text: str) -> str:
    return text.replace(SECRET, "***")


def test_events_are_hidden(recording: Recording) -> None:
    """A secret key's value in an error message, a stack trace or a log line is redacted."""
    client = recording.client

    @client.trace
    def model() -> None:
        client.current_run().info(f"Authorization: Bearer {SECRET}")
        client.current_run().warning(f"password={SECRET}, user=me, 'api_key': '{SECRET}'")
        raise ConnectionError(f"postgres: token={SECRET}; host=db")

    with pytest.raises(ConnectionError):
        model()
    run = recording.run()
    found = {name: dict(said) for name, said in events(run)}
    assert [said.get("otel_ml.log.message") for _, said in events(run)[:2]] == [
        f"Authorization: {REDACTED}",
        f"password={REDACTED}, user=me, 'api_key': {REDACTED}",
    ]
    assert found["exception"]["exception.message"] == f"postgres: token={REDACTED}; host=db"
    stack = [dict(event.attributes or {}).get("exception.stacktrace") for event in run.events]
    assert SECRET not in str(stack)
    assert run.status.description == f"ConnectionError: postgres: token={REDACTED}; host=db"


def test_secret_tags_are_hidden(recording: Recording) -> None:
    """A tag with a secret name is redacted."""
    client = recording.client
    traced = client.trace(name="model", tags={"api_key": SECRET, "client": "acme"})(lambda: None)
    traced()
    found = attributes(recording.run())
    assert found["otel_ml.tag.api_key"] == REDACTED
    assert found["otel_ml.tag.client"] == "acme"


def test_secret_parameters_are_hidden(recording: Recording) -> None:
    """A declared parameter with a secret name is redacted."""
    recording.client.trace(name="model", params={"token": SECRET, "depth": 3})(lambda: None)()
    assert json.loads(attributes(recording.run())["otel_ml.params"]) == {
        "token": REDACTED,
        "depth": 3,
    }


def test_keys_may_be_added() -> None:
    """A client can add secret keys or replace the default ones."""
    more = Redaction(keys=(*SECRET_KEYS, "ssn"))
    assert more.encode({"SSN": 1, "password": 2}).text == (
        f'{{"SSN":"{REDACTED}","password":"{REDACTED}"}}'
    )
    assert Redaction(keys=["ssn"]).encode({"password": 2}).text == '{"password":2}'


def test_nothing_is_hidden_without_keys() -> None:
    """Without secret keys and a function nothing is redacted."""
    redaction = Redaction(keys=())
    assert not redaction.concerns({"password": SECRET}, f'{{"password":"{SECRET}"}}')
    assert redaction.text(f"password={SECRET}") == f"password={SECRET}"
    assert redaction.source(f"password='{SECRET}'") == f"password='{SECRET}'"


@pytest.mark.parametrize("answer", [ValueError("no"), None, 7])
def test_failing_function_hides_all(answer: object) -> None:
    """If the user's function raises or returns no text, the whole text is redacted."""

    def redact(text: str) -> str:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]  # that is the point

    redaction = Redaction(redact)
    assert redaction.encode({"a": 1}).text == f'{{"{REDACTED}":1}}'
    assert redaction.text("x") == REDACTED


def test_source_keeps_its_names() -> None:
    """In source only literals are redacted: names, annotations and calls stay readable."""
    text = (
        'def f(user, password: str, token: str = "abc"):\n'
        "    password = read_password()\n"
        "    headers = {'Authorization': 'Bearer abc', 'accept': 'json'}\n"
    )
    assert Redaction().source(text) == (
        f'def f(user, password: str, token: str = "{REDACTED}"):\n'
        "    password = read_password()\n"
        f"    headers = {{'Authorization': \"{REDACTED}\", 'accept': 'json'}}\n"
    )


def test_secret_at_the_limit_is_not_cut_into_view() -> None:
    """A secret that crosses the size limit is redacted before the text is cut."""
    redaction = Redaction(hide)
    for length in range(65_500, 65_540):
        text = redaction.encode("x" * length + SECRET).text
        assert SECRET[:4] not in text
        assert len(text) <= 65_536


@given(value=json_values)
def test_harmless_values_are_unchanged(value: Any) -> None:
    """A JSON value without secret keys is written unchanged and needs no redaction."""
    redaction = Redaction(keys=["\x00never"])
    assert json.loads(redaction.encode(value).text) == json.loads(json.dumps(value))
    assert not redaction.concerns(value, json.dumps(value))


@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["a", "password", "B", "auth_token"]), inner, max_size=3
            )
        ),
        max_leaves=30,
    )
)
def test_quick_look_misses_nothing(value: Any) -> None:
    """`concerns` is true exactly if a value contains a secret key."""

    def holds(part: Any) -> bool:
        if isinstance(part, dict):
            return any(key in {"password", "auth_token"} for key in part) or any(
                map(holds, part.values())
            )
        return isinstance(part, list) and any(map(holds, part))

    redaction = Redaction()
    for _ in range(2):  # the second time the keys are cached
        assert redaction.concerns(value, json.dumps(value)) == holds(value)
