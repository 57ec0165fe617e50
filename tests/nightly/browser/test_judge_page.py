"""On the page of a judge, words of tables and names of constants are not broken."""

from typing import Final, Literal

import pytest
from playwright.sync_api import Browser, expect

from otel_ml_collector.span import Span
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.browser.fixtures import open_tab
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode

PROJECT: Final = "judge-page"
# Words that are split over two lines, and cells whose content is cut off.
BROKEN: Final = r"""(cells) => {
  const broken = [];
  for (const cell of document.querySelectorAll(cells)) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text; (text = texts.nextNode()); )
      for (const word of text.data.matchAll(/\S+/g)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map(({top}) => Math.round(top)));
        if (lines.size > 1) broken.push(word[0]);
      }
    if (cell.scrollWidth > cell.clientWidth) broken.push(cell.textContent);
  }
  return broken;
}"""


@pytest.mark.parametrize("width", [390, 360])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_of_the_table_stay_whole(
    chromium: Browser, collector: CollectorProcess, theme: Literal["light", "dark"], width: int
) -> None:
    """On a phone, no word in the table of versions is broken, nor the name of a constant."""
    constants = {"ENGLISH_STOP_WORDS": "a, the", "LONGEST_ANSWER_IN_WORDS": 60}
    spans: list[Span] = [tell("a1", constants=constants)]
    for place in range(12):
        item = {"otel_ml.experiment": f"{'1' * 32}-{'1' * 16}", "otel_ml.item.id": f"{place}"}
        call = make_call("answer", item if place % 2 else {})
        spans += [call, say(call, "a1", 0.9 if place > 1 else 0.1)]
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": PROJECT}
    collector.deliver(encode(spans), headers)
    with open_tab(chromium, collector.endpoint, theme, width, 844) as tab:
        page = tab.open(f"/projects/{PROJECT}/judges/grounded")
        expect(page.locator("#versions")).to_contain_text("runs of experiments")
        assert page.evaluate(BROKEN, "#versions :is(th, td)") == []
        expect(page.locator(".names dt")).to_have_text(list(constants))
        assert page.evaluate(BROKEN, ".names dt") == []
