"""A gallery of 50,000 images in headless Chromium: first paint, and the longest the page stands.

Run it with: python -m tests.benchmarks.gallery --images 50000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.helpers.browser import CHROMIUM, Page, browser
from tests.helpers.galleries import write_corpus

READY = "performance.getEntriesByName('gallery drawn').length > 0"
IN_SIGHT_DRAWN = """(() => {
    const cells = [...document.querySelectorAll(".cell")].filter((cell) => {
        const box = cell.getBoundingClientRect();
        return box.bottom > 0 && box.top < innerHeight;
    });
    return cells.length > 0 && cells.every((cell) => cell.classList.contains("drawn"));
})()"""
WATCH = """globalThis.longest = 0;
new PerformanceObserver((list) => {
    for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
}).observe({ type: "longtask", buffered: true })"""

STEPS = {
    "scroll to the middle": "scrollTo(0, document.body.scrollHeight / 2)",
    "search a name": """(() => {
        const search = document.querySelector("#search");
        search.value = "image_0123";
        search.dispatchEvent(new Event("input"));
    })()""",
    "search nothing": """(() => {
        const search = document.querySelector("#search");
        search.value = "";
        search.dispatchEvent(new Event("input"));
    })()""",
    "sort by clicks": """(() => {
        const sort = document.querySelector("#sort");
        sort.value = "clicks";
        sort.dispatchEvent(new Event("change"));
    })()""",
    "sort by agreement": """(() => {
        const sort = document.querySelector("#sort");
        sort.value = "agreement 0";
        sort.dispatchEvent(new Event("change"));
    })()""",
    "move the slider": """(() => {
        const alpha = document.querySelector("#alpha");
        alpha.value = 0.3;
        alpha.dispatchEvent(new Event("input"));
    })()""",
    "other colours": """(() => {
        const colormap = document.querySelector("#colormap");
        colormap.value = "viridis";
        colormap.dispatchEvent(new Event("change"));
    })()""",
}
"""What a reader does, as JavaScript."""


def opened(page: Page, path: Path) -> dict[str, float]:
    """Milliseconds from asking for the page to its paints."""
    page.open(path, 1400, 900)
    page.until(READY)
    found: dict[str, float] = page.run(
        """Object.fromEntries([...performance.getEntriesByType("paint"),
            ...performance.getEntriesByName("gallery drawn")].map((e) => [e.name, e.startTime]))"""
    )
    return found


def step(page: Page, script: str) -> tuple[float, float]:
    """Milliseconds until all in sight is drawn, and of the longest task on the way."""
    page.run("globalThis.longest = 0, globalThis.began = performance.now()")
    page.run(script)
    page.run("new Promise(requestAnimationFrame)")
    page.until(IN_SIGHT_DRAWN)
    took: float = page.run("performance.now() - began")
    page.run("new Promise((done) => setTimeout(done, 100))")
    longest: float = page.run("longest")
    return took, longest


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("there is no Chromium here")
    with tempfile.TemporaryDirectory() as name:
        path = write_corpus(Path(name), given.images)
        size = sum(file.stat().st_size for file in Path(name).rglob("*.js")) / 1e6
        sys.stdout.write(f"gallery of {given.images:,} images, {size:,.0f} MB\n")
        paints = []
        for _ in range(given.repeats):
            with browser() as page:  # a new one, so that nothing is in its cache
                paints.append(opened(page, path))
        for what in ("first-contentful-paint", "gallery drawn"):
            times = sorted(paint[what] for paint in paints)
            said = "first paint" if what != "gallery drawn" else "first screen of pictures drawn"
            sys.stdout.write(
                f"{said}: {times[len(times) // 2]:.0f} ms (median of {len(times)}; "
                f"{times[0]:.0f} to {times[-1]:.0f})\n"
            )
        with browser() as page:
            opened(page, path)
            page.run(WATCH)
            for what, script in STEPS.items():
                took, longest = step(page, script)
                task = f"longest task {longest:.0f} ms" if longest else "no task of 50 ms"
                sys.stdout.write(f"{what}: drawn after {took:.0f} ms, {task}\n")


if __name__ == "__main__":
    main()
