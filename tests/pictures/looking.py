"""What a browser makes of a page: a picture of it, texts that lie on others or are cut, and what axe finds."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = os.environ.get("STEELYARD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "device_scale_factor": 2},
}
PATIENCE_MS = 180_000  # a page of many models is a picture of many thousand lines

WIDER = "document.documentElement.scrollWidth - window.innerWidth"
SHORTENED = """([kept]) => {
  document.querySelectorAll('.item').forEach((one, place) => {
    if (place >= kept) one.remove();
    else one.open = place < 2;
  });
}"""
COLLISIONS = """() => {
  const found = [];
  for (const chart of document.querySelectorAll('svg.chart')) {
    const frame = chart.getBoundingClientRect();
    if (!frame.width) continue;
    const texts = [...chart.querySelectorAll('text')].map((one) => [one.textContent, one.getBoundingClientRect()]);
    texts.forEach(([text, box], place) => {
      const isInside = box.left > frame.left - 1 && box.right < frame.right + 1;
      if (!isInside || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        found.push(`${text} is cut`);
      for (const [other, its] of texts.slice(place + 1)) {
        const wide = Math.min(box.right, its.right) - Math.max(box.left, its.left);
        const tall = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
        if (wide > 1 && tall > 3) found.push(`${text} lies on ${other}`);
      }
    });
  }
  return found;
}"""
SMALLEST = """() => [...document.querySelectorAll('svg.chart')].flatMap((chart) => {
  const word = chart.querySelector('text'), wide = chart.getBoundingClientRect().width;
  if (!word || !wide) return [];
  const pixels = parseFloat(getComputedStyle(word).fontSize) * wide / chart.viewBox.baseVal.width;
  return pixels < 11 ? [`${chart.getAttribute('aria-label')}: letters of ${pixels.toFixed(1)} pixels`] : [];
})"""
SPILLS = """() => [...document.querySelectorAll('th, td')]
  .filter((cell) => getComputedStyle(cell.parentElement.parentElement).position !== 'absolute')
  .filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => `${cell.textContent.trim().slice(0, 80)} leaves its cell`)"""
AXE = """async (rules) => {
  // No selector is told: to find those of all elements takes as long as to look at them.
  const asked = { resultTypes: ['violations'], selectors: false };
  if (rules) asked.runOnly = { type: 'rule', values: rules };
  const { violations } = await axe.run(document, asked);
  const told = (one, node) => `${one.id}: ${node.html.slice(0, 160)} ${node.failureSummary}`;
  return violations.flatMap((one) => one.nodes.slice(0, 3).map((node) => told(one, node)));
}"""
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
"""All that a page in dark can break which in light is whole: nothing else is another one there."""


def axe_source() -> str | None:
    """axe-core, from the package that carries it; ``None`` where it is not installed."""
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        return None
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")


def faults_of(page: Any, axe: str | None, rules: list[str] | None = None) -> list[str]:
    """Texts of charts that lie on others, are cut or too small to be read, words that leave their cells, and what axe
    finds, by all its rules where none are named.
    """
    faults = [*page.evaluate(COLLISIONS), *page.evaluate(SMALLEST), *page.evaluate(SPILLS)]
    if axe is not None:
        page.evaluate(axe)
        faults += page.evaluate(AXE, rules)
    return faults


def rules_for(view: str, views: Collection[str]) -> list[str] | None:
    """What axe looks for in a view of a page that is looked at in these."""
    return COLOUR_RULES if view == "dark" and "light" in views else None


@contextmanager
def shown(browser: Any, address: str, view: str, **settings: Any) -> Iterator[Any]:
    """The page in one of the views; whatever the browser complained of is an error."""
    context = browser.new_context(**(VIEWS[view] | settings))
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    try:
        yield page
    finally:
        context.close()
    assert said == []
