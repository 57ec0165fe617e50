"""Empty pages say how the first of what they are of is made, in code that runs."""

import html
import re

import pytest

from tests.otel_ml_collector.asgi import ask
from tests.otel_ml_collector.stores import Service

RECIPE = re.compile(r'<pre class="box" id="([a-z-]+)" tabindex="0">(.*?)</pre>', re.DOTALL)


@pytest.mark.parametrize(
    "page", ["", "runs", "models", "metrics", "sessions", "datasets", "experiments", "judges"]
)
def test_recipe(service: Service, page: str) -> None:
    """The page of a project without any has code, and a button that copies it."""
    answer = ask(service.app, f"/projects/nothing/{page}".rstrip("/"))
    [(name, code)] = RECIPE.findall(answer.text)
    assert f'data-copy="#{name}">Copy code</button>' in answer.text
    compile(html.unescape(code), page or "overview", "exec")
