"""Finds accessibility problems of a page with axe-core."""

from typing import Any, Final

from playwright.sync_api import Page

from tests.support.folders import NODE

_AXE: Final = NODE / "node_modules" / "axe-core" / "axe.min.js"
# Elements under an open list do not count as targets until the list is closed. Elements near
# the bar of selected rows can be scrolled clear of it.
_CHECK: Final = """async () => {
  const open = document.querySelector(".switch[open]");
  const bar = document.querySelector(".picked")?.getBoundingClientRect();
  const isCovered = (element) => {
    const {top, bottom} = element.getBoundingClientRect();
    return bar && bottom + 24 > bar.top && top - 24 < bar.bottom;
  };
  const found = await axe.run(document, {elementRef: true, runOnly: ["wcag2a", "wcag2aa",
    "wcag21aa", "wcag22aa", "best-practice"]});
  const counts = (rule) => ({element}) =>
    rule.id !== "target-size" || (open ? open.contains(element) : !isCovered(element));
  return found.violations
    .map((rule) => [rule.id, rule.nodes.filter(counts(rule)).map(({target}) => target.join(" "))])
    .filter(([, nodes]) => nodes.length);
}"""


def find_violations(page: Page) -> list[Any]:
    """Return the rules of WCAG 2.2 AA that a page violates, each with the elements.

    The fixture `node` installs axe-core.
    """
    page.evaluate(_AXE.read_text())
    violations: list[Any] = page.evaluate(_CHECK)
    return violations
