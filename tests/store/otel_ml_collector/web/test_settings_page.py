"""The settings of a project: keys, receivers, retention, prices and deletion."""

import json
import re
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

import pytest

from otel_ml_collector.access import ADMIN, INGEST, READ, Access
from otel_ml_collector.keyring import SESSION_COOKIE, Keyring
from otel_ml_collector.project_settings.find import LlmPrice, write_price_lines
from otel_ml_collector.store.retention import Retention, Wish
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.otlp_sink import Sink, http_sink
from tests.support.waiting import wait_until

PAGE: Final = "/projects/keyed/settings"
SECRET: Final = "s3cret"  # must not be in any response
KEY_TEXT: Final = re.compile("omk_[0-9a-f]{16}_[0-9a-f]{64}")
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with http_sink() as opened:
        yield opened


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Service]:
    """Open a collector with two receivers, a price, and a project that called three LLMs."""
    targets = {
        "desk": {
            "kind": "webhook",
            "url": f"http://{sink.address}/{SECRET}?token={SECRET}",
            "allow_private": True,
        },
        "gone": {"kind": "webhook", "url": f"http://127.0.0.1:9/{SECRET}", "allow_private": True},
    }
    folder = tmp_path_factory.mktemp("keyed")
    prices = '{"vllm": {"llama-3": {"input": 0.5, "output": 1}}}'
    with open_service(folder, alert_targets=json.dumps(targets), prices=prices) as service:
        now_ns = time.time_ns()
        calls = [
            make_call(
                "answer",
                {"gen_ai.provider.name": provider, "gen_ai.request.model": llm},
                start_ns=now_ns - DAY_NS,
                trace_id=bytes([number]) * 16,
            )
            for number, (provider, llm) in enumerate(
                [("openai", "gpt-4o"), ("vllm", "llama-3"), ("ollama", 'small "3"')], 1
            )
        ]
        service.store.take("keyed", *calls, now_ns=now_ns)
        yield service


def ring_of(service: Service) -> Keyring:
    ring: Keyring = service.app.state.services.find(Keyring)
    return ring


def sign_in(service: Service, *scopes: str, projects: tuple[str, ...] | None = None) -> str:
    """Make a key and return the cookie of a session with it."""
    ring = ring_of(service)
    access = ring.add(Access("", "tom", frozenset(scopes), projects)).key.access
    return f"{SESSION_COOKIE}={ring.open_session(access)}"


def see(service: Service, cookie: str = "", path: str = PAGE) -> Answered:
    return ask(service.app, path, headers={"cookie": cookie})


def post(service: Service, cookie: str, path: str, **fields: str | list[str]) -> Answered:
    body = [urlencode(fields, doseq=True).encode()]
    headers = {**FORM, "cookie": cookie}
    return ask(service.app, f"{PAGE}/{path}", method="POST", headers=headers, body=body)


def test_first_key(keyed: Service) -> None:
    """Without keys the page creates the first key, and warns that this ends open access."""
    page = see(keyed)
    assert page.text.count(">Create key<") == 1
    scopes = [READ, ADMIN]
    made = post(keyed, "", "keys", name="mira", scopes=scopes, projects="*")
    assert made.status == 200
    [text] = KEY_TEXT.findall(made.text)
    assert made.headers["cache-control"] == "no-store"
    access = ring_of(keyed).find_key(text)
    assert access is not None
    assert (access.name, access.projects) == ("mira", None)
    assert access.scopes == {READ, ADMIN}
    assert see(keyed).status == 303  # to sign in


def test_only_an_admin_key_manages(keyed: Service) -> None:
    """A key without the scope admin sees neither keys nor forms, and its posts are refused."""
    cookie = sign_in(keyed, READ)
    page = see(keyed, cookie)
    assert page.status == 200
    assert 'id="receivers"' in page.text
    assert [part for part in ('id="keys"', 'id="delete"', "Send test") if part in page.text] == []
    for path in ("keys", "keys/0000000000000000/revoke", "receivers/desk/test", "retention"):
        assert post(keyed, cookie, path, name="x").status == 403
    assert post(keyed, cookie, "delete", name="keyed").status == 403


def test_keys_are_created_and_revoked(keyed: Service) -> None:
    """A key is shown once, listed with its creator, revoked, and stays in the list of changes."""
    cookie = sign_in(keyed, READ, ADMIN)
    made = post(keyed, cookie, "keys", name="api-of-keyed", scopes=[INGEST])
    [text] = KEY_TEXT.findall(made.text)
    key_id = text.split("_")[1]
    page = see(keyed, cookie)
    assert KEY_TEXT.findall(page.text) == []
    assert "api-of-keyed" in page.text
    assert f"/keys/{key_id}/revoke" in page.text
    stored = {key.access.key_id: key for key in ring_of(keyed).find_keys()}[key_id]
    assert stored.access.projects == ("keyed",)
    assert stored.made_by == cookie.partition("=")[2].partition(".")[0]
    revoked = post(keyed, cookie, f"keys/{key_id}/revoke")
    assert (revoked.status, revoked.headers["location"]) == (303, f"{PAGE}#keys")
    assert ring_of(keyed).find_key(text) is None
    page = see(keyed, cookie)
    assert f"/keys/{key_id}/revoke" not in page.text
    assert re.search("<td>revoked</td><td[^>]*>api-of-keyed", page.text)


def test_impossible_key(keyed: Service) -> None:
    """A key without a scope, or for projects beyond one's own, is refused with the reason."""
    cookie = sign_in(keyed, READ, ADMIN)
    refused = post(keyed, cookie, "keys", name="x")
    assert refused.status == 400
    assert "Choose at least one scope" in refused.text
    narrow = sign_in(keyed, READ, ADMIN, projects=("keyed",))
    assert post(keyed, narrow, "keys", scopes=[READ], projects="*").status == 403
    assert "all projects" not in see(keyed, narrow).text.partition('id="create"')[2]


def test_send_test(keyed: Service, sink: Sink) -> None:
    """A test message is really sent, and the page shows whether it was accepted, but no secret."""
    cookie = sign_in(keyed, READ, ADMIN)
    before = len(sink.requests)
    page = post(keyed, cookie, "receivers/desk/test")
    assert len(sink.requests) == before + 1
    assert "accepted the test message" in page.text
    failed = post(keyed, cookie, "receivers/gone/test")
    assert "did not accept the test message" in failed.text
    assert SECRET not in page.text + failed.text
    assert post(keyed, cookie, "receivers/nobody/test").status == 404


def test_send_test_from_a_rule(keyed: Service, sink: Sink) -> None:
    """The form of an alert rule can test each receiver."""
    cookie = sign_in(keyed, READ, ADMIN)
    rule = "/projects/keyed/alert-rule"
    address = f"{rule}/receivers/desk/test"

    def test(cookie: str) -> Answered:
        return ask(
            keyed.app, address, method="POST", headers={**FORM, "cookie": cookie}, body=[b""]
        )

    assert f'hx-post="{address}"' in ask(keyed.app, rule, headers={"cookie": cookie}).text
    before = len(sink.requests)
    assert "accepted the test message" in test(cookie).text
    assert len(sink.requests) == before + 1
    reader = sign_in(keyed, READ)
    assert "Send test" not in ask(keyed.app, rule, headers={"cookie": reader}).text
    assert test(reader).status == 403


def test_retention(keyed: Service) -> None:
    """The page shows what a retention would delete before it is saved, then saves it."""
    cookie = sign_in(keyed, READ, ADMIN)
    shown = see(keyed, cookie, f"{PAGE}?record_days=&payload_days=0")
    assert "If you save this, nothing is deleted now" in shown.text
    assert post(keyed, cookie, "retention", record_days="x").status == 400
    saved = post(keyed, cookie, "retention", record_days="180", payload_days="30")
    assert saved.status == 303
    retention: Retention = keyed.app.state.services.find(Retention)
    assert retention.read()["keyed"] == Wish(180, 30)
    assert 'name="record_days" value="180"' in see(keyed, cookie).text


def test_prices(keyed: Service) -> None:
    """Each LLM has its price and the price's source; an LLM without one has lines to add."""
    cookie = sign_in(keyed, READ)
    answer = see(keyed, cookie, "/api/v1/projects/keyed/settings").json
    assert [(price["llm"], price["input"], price["source"]) for price in answer["prices"]] == [
        ('small "3"', None, "none"),
        ("gpt-4o", 2.5, "built in"),
        ("llama-3", 0.5, "otel-ml.toml"),
    ]
    lines = write_price_lines([LlmPrice(**price) for price in answer["prices"]])
    assert lines == (
        "# US dollars per million tokens\n"
        '[prices."ollama"]\n'
        '"small \\"3\\"" = { input = 0.10, output = 0.40 }'
    )
    assert [each["name"] for each in answer["receivers"]] == ["desk", "gone"]
    assert answer["receivers"][0]["host"] == "127.0.0.1"
    assert SECRET not in json.dumps(answer)


def test_delete(keyed: Service) -> None:
    """The project is deleted only if its name was typed."""
    keyed.store.take("going", make_call("answer", trace_id=b"g" * 16))
    cookie = sign_in(keyed, READ, ADMIN)
    headers = {**FORM, "cookie": cookie}
    path = "/projects/going/settings/delete"
    page = see(keyed, cookie, "/projects/going/settings")
    assert "1 run and 1 model" in page.text
    kept = ask(keyed.app, path, method="POST", headers=headers, body=[b"name=keyed"])
    assert kept.status == 400
    assert "Nothing was deleted" in kept.text
    gone = ask(keyed.app, path, method="POST", headers=headers, body=[b"name=going"])
    assert gone.status == 303
    # If deleting takes longer than the request waits, the browser goes to its progress.
    assert gone.headers["location"] in {"/", "/projects/going/settings#deletions"}
    runs = "/api/v1/projects/going/runs"
    wait_until(lambda: not see(keyed, cookie, runs).json["runs"])
