"""A gallery in a browser: what is painted, what sorts and searches, keys, and hostile names."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from clickmap_cli.reports import gallery_html
from clickmap_cli.reports.overlays import scale_map
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services.visualize import gallery
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.storage.atomic import write_csv
from tests.helpers.browser import CHROMIUM, Page, browser
from tests.helpers.galleries import EVIL, EVIL_USER, SIDE, experiment, write_corpus
from tests.helpers.studies import TrialRow

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

KEYS = (f"a/{EVIL}.png", "a/2.png", "a/10.png", "b/1.png", "z/lost.png")
BY_NAME = ["a/2.png", "a/10.png", f"a/{EVIL}.png", "b/1.png", "z/lost.png"]
PEOPLE = {key: 3 + (3 * at) % 5 for at, key in enumerate(KEYS)}
CLICKS = {key: 11 + at for at, key in enumerate(KEYS)}
"""Clicks of a trial."""


def trials() -> list[TrialRow]:
    rng = np.random.default_rng(3)
    rows: list[TrialRow] = []
    for key in KEYS:
        for person in range(PEOPLE[key]):
            points = rng.integers(0, SIDE, (CLICKS[key], 2)).tolist()
            name = EVIL_USER if person == 1 else f"p{person}"
            rows.append((key, name, [(int(x), int(y)) for x, y in points]))
    return rows


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with its gallery, and a ceiling whose second image has no score."""
    place = tmp_path_factory.mktemp("gallery")
    config = experiment(place, trials())
    table = place / "study" / "ceiling" / "split-half-pearson"
    table.mkdir(parents=True)
    header = ("image_path", "category", "n_participants", "ceiling", "null")
    scores = ["" if at == 1 else 0.9 - 0.1 * at for at in range(len(KEYS))]
    rows = [(key, "x", PEOPLE[key], score, 0) for key, score in zip(KEYS, scores, strict=True)]
    write_csv(table / "per_image.csv", header, rows)
    manifest = json.loads((place / "study" / "manifest.json").read_text())
    (table / "manifest.json").write_text(json.dumps(manifest))
    gallery.run(config, Look(colormap="viridis"), "auto", Silent(), gallery_html)
    return place / "study"


@pytest.fixture
def seen(page: Page, folder: Path) -> Iterator[Page]:
    """The gallery, freshly loaded; at the end it has complained of nothing and left its folder."""
    page.complaints.clear()
    page.requests.clear()
    load(page, folder / "gallery.html")
    yield page
    assert page.complaints == []
    inside = (folder.resolve().as_uri(), "blob:", "data:")
    assert [url for url in page.requests if not url.startswith(inside)] == []


def load(page: Page, path: Path, width: int = 1280) -> None:
    page.open(path, width)
    page.until("performance.getEntriesByName('gallery drawn').length > 0")


def names(page: Page) -> list[str]:
    """Names in the grid, in the order of their places."""
    found: list[str] = page.run(
        """[...document.querySelectorAll(".cell button")]
            .sort((a, b) => a.dataset.place - b.dataset.place)
            .map((button) => button.querySelector(".name").textContent)"""
    )
    return found


def pixels(page: Page, selector: str) -> np.ndarray[Any, Any]:
    """(h, w, 4) of a canvas."""
    width, height, data = page.run(
        f"""(() => {{
            const canvas = document.querySelector({json.dumps(selector)});
            const {{ width, height }} = canvas;
            const copy = new OffscreenCanvas(width, height);
            const context = copy.getContext("2d", {{ willReadFrequently: true }});
            context.drawImage(canvas, 0, 0);
            const all = context.getImageData(0, 0, width, height).data;
            let text = "";
            for (const byte of all) text += String.fromCharCode(byte);
            return [width, height, btoa(text)];
        }})()"""
    )
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


def look(page: Page, control: str, value: object) -> None:
    """Move a control, and wait until the pictures are painted again."""
    page.run(
        f"""(() => {{
            const node = document.querySelector("#{control}");
            node.value = {json.dumps(value)};
            node.dispatchEvent(new Event(node.type === "range" ? "input" : "change"));
            return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }})()"""
    )


def key(page: Page, name: str, text: str = "") -> None:
    """Press a key that has no place in the driver's own list."""
    for kind in ("keyDown", "keyUp"):
        extra = {"text": text} if text and kind == "keyDown" else {}
        page.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, **extra)


def content(path: Path) -> Any:
    """Return the data that a file hands over."""
    text = path.read_text().split("\n", 1)[1]
    start = "clickmapGallery.take("
    assert text.startswith(start)
    return json.loads(f"[{text[len(start) :].rstrip().removesuffix(');')}]")[1]


def stored(folder: Path, at: int) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any]]:
    """The photograph and the map of an image as its page stores them."""
    (file,) = (folder / "gallery" / "pages").glob("00001-*.js")
    return unpacked(content(file)[at])


def unpacked(data: dict[str, Any]) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any]]:
    photo = data["photo"] and np.asarray(Image.open(io.BytesIO(base64.b64decode(data["photo"]))))
    heat = data["map"]
    raw = np.frombuffer(zlib.decompress(base64.b64decode(heat["data"])), np.uint8).astype(int)
    folded = raw[: len(raw) // 2] * 256 + raw[len(raw) // 2 :]
    signed = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    level = signed.reshape(heat["height"], heat["width"]).cumsum(axis=1).cumsum(axis=0)
    return photo, heat["low"] + (heat["high"] - heat["low"]) * level / heat["levels"]


def enlarged(values: np.ndarray[Any, Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Linear between the middles of pixels, the outermost drawn out to the border."""

    def along(plane: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        at = (np.arange(size) + 0.5) * len(plane) / size - 0.5
        return np.stack(
            [np.interp(at, np.arange(len(plane)), column) for column in plane.T], axis=1
        )

    return along(along(values, height).T, width).T


def palette(name: str) -> np.ndarray[Any, Any]:
    return np.rint(colormaps[name](np.arange(256))[:, :3] * 255)


def assert_coloured(found: Any, heat: Any, colormap: str, spare: float = 1.5 / 256) -> None:
    """Each pixel has the colour of its heat, or one next to it."""
    colours = palette(colormap)
    low = np.clip(np.floor((heat - spare) * 256), 0, 255).astype(int)
    high = np.clip(np.floor((heat + spare) * 256), 0, 255).astype(int)
    ends = np.stack([colours[low], colours[(low + high) // 2], colours[high]])
    assert np.all(found[..., :3] >= ends.min(axis=0) - 1)
    assert np.all(found[..., :3] <= ends.max(axis=0) + 1)
    assert np.all(found[..., 3] == 255)


FIRST = "[data-place='0'] canvas"


def test_alpha_0_is_the_photograph_and_alpha_1_the_heat(seen: Page, folder: Path) -> None:
    photo, heat = stored(folder, 0)
    assert photo is not None
    assert abs(photo.shape[1] / photo.shape[0] - 4 / 3) < 0.05  # as its file, not as the map
    look(seen, "alpha", 0)
    found = pixels(seen, FIRST)
    assert np.abs(found[..., :3].astype(int) - photo.astype(int)).max() <= 4
    look(seen, "alpha", 1)
    wanted = scale_map(enlarged(heat, *photo.shape[:2]), "max", top=float(heat.max()))
    assert_coloured(pixels(seen, FIRST), wanted, "viridis")


def test_between_them_the_hotter_covers_the_more(seen: Page, folder: Path) -> None:
    photo, heat = stored(folder, 0)
    assert photo is not None
    look(seen, "alpha", 0.6)
    warm = np.clip(enlarged(heat, *photo.shape[:2]) / heat.max(), 0, 1)
    cover = (0.6 * np.sqrt(warm))[..., None]
    colours = palette("viridis")[np.minimum((warm * 256).astype(int), 255)]
    wanted = photo * (1 - cover) + colours * cover
    assert np.abs(pixels(seen, FIRST)[..., :3] - wanted).max() <= 8
    before = pixels(seen, FIRST)
    look(seen, "alpha", 0.3)
    assert not np.array_equal(pixels(seen, FIRST), before)


@pytest.mark.parametrize("colormap", ["inferno", "jet"])
def test_the_colour_map_is_matplotlibs(seen: Page, folder: Path, colormap: str) -> None:
    photo, heat = stored(folder, 0)
    assert photo is not None
    look(seen, "alpha", 1)
    look(seen, "colormap", colormap)
    wanted = enlarged(heat, *photo.shape[:2]) / heat.max()
    assert_coloured(pixels(seen, FIRST), wanted, colormap)


@pytest.mark.parametrize("scale", ["sum", "none", "rank"])
def test_each_scale_is_that_of_the_figures(seen: Page, folder: Path, scale: str) -> None:
    look(seen, "alpha", 1)
    look(seen, "normalize", scale)
    place = BY_NAME.index("z/lost.png")  # without a photograph, pixels are the map's own
    photo, heat = stored(folder, place)
    assert photo is None
    found = pixels(seen, f"[data-place='{place}'] canvas")
    assert found.shape[:2] == heat.shape
    assert_coloured(found, scale_map(heat, scale).astype(float), "viridis", 1 / 256)


def test_images_sort_by_each_column_both_ways(seen: Page) -> None:
    assert names(seen) == BY_NAME
    seen.click("#turn")
    assert names(seen) == BY_NAME[::-1]
    total = {name: PEOPLE[name] * CLICKS[name] for name in KEYS}
    for label, values in (("participants", PEOPLE), ("clicks", total)):
        seen.choose("#sort", label)
        down = sorted(BY_NAME, key=lambda name, v=values: -v[name])
        assert names(seen) == down
        seen.click("#turn")
        assert names(seen) == sorted(BY_NAME, key=lambda name, v=values: v[name])
    seen.choose("#sort", "agreement: pearson, split-half")
    agreed = [KEYS[0], KEYS[2], KEYS[3], KEYS[4], KEYS[1]]
    assert names(seen) == agreed
    seen.click("#turn")
    assert names(seen) == [*agreed[3::-1], KEYS[1]]  # no score: last, whichever way


def test_search_finds_parts_of_names(seen: Page) -> None:
    seen.focus("#search")
    seen.call("Input.insertText", text="ONERROR a/")
    assert names(seen) == [KEYS[0]]
    assert seen.run("document.querySelector('#shown').textContent").startswith("1 of 5 images")
    seen.press("Escape")
    assert names(seen) == BY_NAME
    seen.call("Input.insertText", text="nowhere")
    assert names(seen) == []
    assert "No image" in seen.run("document.querySelector('#shown').textContent")


def test_a_category_leaves_its_images(seen: Page) -> None:
    seen.choose("#category", "b")
    assert names(seen) == ["b/1.png"]


def test_names_are_text(seen: Page) -> None:
    assert EVIL in "".join(names(seen))
    assert seen.run("document.querySelectorAll('img').length") == 0
    seen.click(f"[data-place='{BY_NAME.index(KEYS[0])}']")
    seen.until("!document.querySelector('#people').hidden")
    assert seen.run("document.querySelector('#viewer-title').textContent") == KEYS[0]
    people = seen.run(
        "[...document.querySelectorAll('#people-list .name')].map((node) => node.textContent)"
    )
    assert people == ["everyone", "p0", EVIL_USER, "p2"]
    assert seen.run("document.querySelectorAll('img').length") == 0
    assert seen.run("document.scripts.length") == 2


def test_keys_move_open_and_close(seen: Page) -> None:
    key(seen, "/", "/")
    assert seen.run("document.activeElement.id") == "search"
    assert seen.run("document.activeElement.value") == ""
    seen.press("Enter")
    at = "Number(document.activeElement.dataset.place)"
    assert seen.run(at) == 0
    for name, place in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1)):
        seen.press(name)
        assert seen.run(at) == place
    seen.press("Enter")
    title = "document.querySelector('#viewer-title').textContent"
    assert seen.run("document.querySelector('#grid').hidden")
    assert seen.run(title) == BY_NAME[1]
    seen.press("ArrowRight")
    assert seen.run(title) == BY_NAME[2]
    for _ in range(2):
        seen.press("ArrowLeft")
    seen.press("ArrowLeft")  # there is none before the first
    assert seen.run(title) == BY_NAME[0]
    seen.press("Escape")
    assert not seen.run("document.querySelector('#grid').hidden")
    assert seen.run(at) == 0


def test_up_and_down_stay_in_their_column(page: Page, folder: Path) -> None:
    load(page, folder / "gallery.html", width=700)
    columns = page.run("grid.columns")
    assert 1 < columns < 5
    page.focus(".cell [data-place='1']")
    for name, place in (("ArrowDown", 1 + columns), ("ArrowUp", 1), ("ArrowUp", 1)):
        page.press(name)
        assert page.run("Number(document.activeElement.dataset.place)") == place


def test_participants_have_their_own_maps(seen: Page, folder: Path) -> None:
    seen.click("[data-place='0']")
    seen.until("document.querySelector('#viewer').dataset.image === '0'")
    (file,) = (folder / "gallery" / "images").glob("000001-*.js")
    data = content(file)
    assert [person["name"] for person in data["people"]] == [
        f"p{at}" if at != 1 else EVIL_USER for at in range(PEOPLE[BY_NAME[0]])
    ]
    assert {person["clicks"] for person in data["people"]} == {CLICKS[BY_NAME[0]]}
    photo, mean = unpacked(data)
    assert photo is not None
    size = photo.shape[:2]
    assert_coloured(pixels(seen, "#view-heat"), enlarged(mean, *size) / mean.max(), "viridis")
    assert np.abs(pixels(seen, "#view-image")[..., :3].astype(int) - photo).max() <= 4
    for at in (0, 1):
        seen.press("ArrowDown")
        seen.until(f"document.querySelector('#viewer').dataset.person === '{at}'")
        _, own = unpacked(data["people"][at] | {"photo": None})
        assert_coloured(pixels(seen, "#view-heat"), enlarged(own, *size) / own.max(), "viridis")
    seen.click("#people-list li:first-child button")
    seen.until("document.querySelector('#viewer').dataset.person === '-1'")
    assert_coloured(pixels(seen, "#view-heat"), enlarged(mean, *size) / mean.max(), "viridis")


def test_the_look_of_an_opened_image_follows_the_controls(seen: Page) -> None:
    seen.click("[data-place='0']")
    seen.until("document.querySelector('#viewer').dataset.image === '0'")
    look(seen, "alpha", 0)
    photo = pixels(seen, "#view-image")
    assert np.array_equal(pixels(seen, "#view-both"), photo)
    look(seen, "alpha", 1)
    assert np.array_equal(pixels(seen, "#view-both"), pixels(seen, "#view-heat"))
    before = pixels(seen, "#view-heat")
    look(seen, "colormap", "magma")
    assert not np.array_equal(pixels(seen, "#view-heat"), before)
    assert np.array_equal(pixels(seen, "#view-image"), photo)


def test_an_address_opens_its_image(page: Page, folder: Path) -> None:
    load(page, folder / "gallery.html")
    page.click("[data-place='2']")
    page.until("document.querySelector('#viewer').dataset.image === '2'")
    page.call("Page.reload")
    page.until("document.querySelector('#viewer')?.dataset.image === '2'")
    assert page.run("document.querySelector('#viewer-title').textContent") == BY_NAME[2]
    page.click("#back")
    assert page.run("location.hash") == ""


def test_missing_images_are_counted_and_named(seen: Page) -> None:
    place = BY_NAME.index("z/lost.png")
    assert seen.run(f"document.querySelector('[data-place=\"{place}\"] .absent').textContent") == (
        "image missing"
    )
    assert "1 missing" in seen.run("document.querySelector('#remarks-title').textContent")
    assert "z/lost.png" in seen.run("document.querySelector('#remarks-list').textContent")


def test_dark_by_the_system_and_by_the_button(page: Page, folder: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.call("Emulation.setEmulatedMedia", features=dark)
    try:
        load(page, folder / "gallery.html")
        assert page.run(ground) == "rgb(20, 23, 26)"
        page.click("#theme")
        assert page.run(ground) == "rgb(255, 255, 255)"
    finally:
        page.call("Emulation.setEmulatedMedia", features=[])
    load(page, folder / "gallery.html")
    assert page.run(ground) == "rgb(255, 255, 255)"


def test_every_control_has_a_name(seen: Page) -> None:
    roles = {"button", "combobox", "searchbox", "slider"}
    for _ in range(2):
        nodes = [
            node
            for node in seen.call("Accessibility.getFullAXTree")["nodes"]
            if not node["ignored"] and node["role"]["value"] in roles
        ]
        assert len(nodes) > 6
        assert [node for node in nodes if not node.get("name", {}).get("value")] == []
        seen.click("[data-place='0']")
        seen.until("!document.querySelector('#people').hidden")


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_scrolls_sideways(page: Page, folder: Path, width: int) -> None:
    load(page, folder / "gallery.html", width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.click("[data-place='0']")
    page.until("!document.querySelector('#people').hidden")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_a_gallery_without_its_folder_says_so(page: Page, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.html").write_bytes((folder / "gallery.html").read_bytes())
    page.open(tmp_path / "alone.html")
    page.until("document.querySelector('#shown').textContent.includes('is not there')")
    page.complaints.clear()  # the browser itself says that there is no such file


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 images, tiny ones, without participants' maps."""
    return write_corpus(tmp_path_factory.mktemp("corpus"), 2_000, photo=(18, 24), heat=12)


def test_of_many_images_only_those_in_sight_are_held(page: Page, corpus: Path) -> None:
    page.complaints.clear()
    load(page, corpus)
    n_cells = "document.querySelectorAll('.cell').length"
    assert page.run(n_cells) < 100
    assert page.run("pages.size") <= 3
    page.run("scrollTo(0, document.body.scrollHeight / 2)")
    page.until("document.querySelector('[data-place=\"1000\"]') !== null")
    page.until("document.querySelector('[data-place=\"1000\"]').closest('.cell').matches('.drawn')")
    assert page.run(n_cells) < 100
    page.choose("#sort", "agreement: spearman, split-half")
    page.until(
        "document.querySelector('[data-place=\"0\"]')?.closest('.cell').matches('.drawn') ?? false"
    )
    ordered = page.run(
        "state.order.map((i) => index.agreements[0].scores[i]).filter((s) => s !== null)"
    )
    assert ordered == sorted(ordered, reverse=True)
    assert len(ordered) == sum(at % 7 != 0 for at in range(2_000))
    page.focus("#search")
    page.call("Input.insertText", text="image_00199")
    assert page.run("state.order.length") == 10
    assert page.run("pages.size") <= 96
    assert page.complaints == []


def test_the_latest_page_is_loaded_first_and_what_scrolled_by_not_at_all(
    page: Page, corpus: Path
) -> None:
    load(page, corpus)
    began = page.run(
        """(async () => {
            globalThis.asked = index.pages.slice(20, 50);
            asked.forEach(pageOf);
            asked.slice(0, 10).forEach(noLongerWanted);
            await Promise.resolve();
            return [...waiting].filter(([, entry]) => entry.begun).map(([name]) => name);
        })()"""
    )
    names = [f"pages/{at + 1:05d}" for at in range(20, 50)]
    assert began == names[-6:]
    page.until("asked.slice(10).every((name) => pages.has(name))")
    assert not page.run("asked.slice(0, 10).some((name) => pages.has(name))")
    assert page.run("waiting.size") == 0


def test_an_enlarged_thumbnail_says_that_it_is_one(page: Page, corpus: Path) -> None:
    load(page, corpus)
    page.click("[data-place='3']")
    page.until("document.querySelector('#viewer').dataset.image === '3'")
    assert "thumbnails" in page.run("document.querySelector('#viewer-note').textContent")
    assert page.run("document.querySelector('#people').hidden")
