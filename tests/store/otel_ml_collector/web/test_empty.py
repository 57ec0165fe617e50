"""Empty pages show how to create the first entry, with code that works."""

import html
import re
import shlex
from urllib.parse import quote, urlsplit

import pytest

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

RECIPE = re.compile(r'<pre class="box" id="([a-z-]+)" tabindex="0">(.*?)</pre>', re.DOTALL)


@sampled(3)
@pytest.mark.parametrize(
    "page",
    ["", "runs", "models", "metrics", "sessions", "datasets", "experiments", "judges", "targets"],
)
def test_recipe(service: Service, page: str) -> None:
    """An empty page has code that compiles, and a button that copies it."""
    answer = ask(service.app, f"/projects/nothing/{page}".rstrip("/"))
    (name, code), *_ = RECIPE.findall(answer.text)
    assert f'data-copy="#{name}">Copy code</button>' in answer.text
    assert 'endpoint="http://' in html.unescape(code)  # the address of this collector
    compile(html.unescape(code), page or "overview", "exec")


@pytest.mark.parametrize("page", ["alerts"])
def test_command(service: Service, page: str) -> None:
    """Without alert rules, the page shows a complete command that creates the first one."""
    answer = ask(service.app, f"/projects/not%20here/{page}")
    [(_, code)] = RECIPE.findall(answer.text)
    curl, *options, header, body = shlex.split(html.unescape(code))
    assert (curl, options[:2], header) == ("curl", ["-X", "PUT"], "-d")
    url = urlsplit(options[2])
    assert (url.scheme, url.netloc != "") == ("http", True)
    headers = {"content-type": "application/json"}
    made = ask(service.app, url.path, method="PUT", body=[body.encode()], headers=headers)
    assert made.status == 200, made.text


def test_only_experiments(service: Service, project: str) -> None:
    """A project that has only experiments links to them, and does not ask for a first run."""
    run = make_call(
        "trial",
        {
            "otel_ml.experiment": f"{1:032x}-{1:016x}",
            "otel_ml.item.id": "a",
            "otel_ml.item.digest": f"{1:064x}",
        },
    )
    service.store.take(project, run)
    page = ask(service.app, f"/projects/{quote(project)}").text
    assert "No runs outside of experiments." in page
    assert f'href="/projects/{quote(project)}/experiments">Show experiments</a>' in page
    assert "Send the first run" not in page
