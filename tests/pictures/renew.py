"""Renew the README's picture: ``python tests/pictures/renew.py docs/pictures/report.png``.

The README's own command, really run here; the head of its report as a browser shows it.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import scenes
from looking import CHROMIUM, shown
from PIL import Image
from playwright.sync_api import sync_playwright

ENDS_BEFORE = "#bench1 details"


def main(target: Path) -> None:
    """Run the models, and keep the page down to its first chart."""
    with tempfile.TemporaryDirectory() as folder:
        scenes.enact(scenes.of_the_readme, Path(folder))
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            with shown(browser, (Path(folder) / "report.html").as_uri(), "light") as page:
                height = page.locator(ENDS_BEFORE).first.bounding_box()["y"]
                clip = {"x": 0, "y": 0, "width": 1200, "height": height}
                target.parent.mkdir(parents=True, exist_ok=True)
                taken = page.screenshot(full_page=True, clip=clip)
            browser.close()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
