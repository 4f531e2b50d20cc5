"""A gallery's files: what they hold, which of them are kept, and messages about odd images."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from clickmap_cli.clickmaps.geometry import resize
from clickmap_cli.reports import gallery_html
from clickmap_cli.reports.gallery_html import pack_map
from clickmap_cli.runtime import parallel
from clickmap_cli.runtime.errors import ConfigError, DataError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services import verify
from clickmap_cli.services.visualize import gallery
from clickmap_cli.services.visualize.gallery import GallerySummary
from clickmap_cli.services.visualize.options import Look
from clickmap_cli.storage.folder import WhenPresent
from clickmap_cli.storage.manifest import damaged_outputs, load_manifest
from clickmap_cli.storage.map_store import MapStore
from tests.helpers.galleries import SIDE, experiment
from tests.helpers.studies import TrialRow, random_rows

N_IMAGES = 9


def rows(n_images: int = N_IMAGES, seed: int = 5) -> list[TrialRow]:
    return random_rows(seed, images=n_images, users=3, side=SIDE)


def outcome(config: Any, when: WhenPresent = WhenPresent.STOP, **options: Any) -> Any:
    look = options.pop("look", Look())
    progress = options.pop("progress", None) or Silent()
    participants = options.pop("participants", "auto")
    return gallery.run(config, look, participants, progress, gallery_html, when, **options)


def run(config: Any, when: WhenPresent = WhenPresent.STOP, **options: Any) -> GallerySummary:
    summary: GallerySummary = outcome(config, when, **options).summary
    return summary


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "PAGE_IMAGES", 4)


def files(folder: Path) -> dict[str, bytes]:
    place = folder / "gallery"
    found = {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in place.rglob("*.js")
        if ".clickmap" not in path.parts
    }
    return found | {"gallery.html": (folder / "gallery.html").read_bytes()}


def content(data: bytes) -> Any:
    text = data.decode()
    text = text[text.index("clickmapGallery.take(") + len("clickmapGallery.take(") :]
    return json.loads(f"[{text.rstrip().removesuffix(');')}]")[1]


def index_of(folder: Path) -> Any:
    (name,) = (folder / "gallery" / "pages").glob("index-*.js")
    return content(name.read_bytes())


def unpacked(packed: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The values, from the format's own description."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8).astype(int)
    height, width = packed["height"], packed["width"]
    levels = np.zeros((height, width), dtype=int)
    for at in range(height * width):
        y, x = divmod(at, width)
        folded = raw[at] * 256 + raw[height * width + at]
        signed = -(folded + 1) // 2 if folded % 2 else folded // 2
        levels[y, x] = signed
        if x:
            levels[y, x] += levels[y, x - 1]
        if y:
            levels[y, x] += levels[y - 1, x]
        if x and y:
            levels[y, x] -= levels[y - 1, x - 1]
    assert levels.min() >= 0
    assert levels.max() <= packed["levels"]
    return packed["low"] + (packed["high"] - packed["low"]) * levels / packed["levels"]


@settings(deadline=None, max_examples=60)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(-1e6, 1e6, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0, 1]),
    ),
    st.sampled_from([1, 255, 1023, 4095]),
)
def test_a_packed_map_is_within_half_a_level(values: Any, levels: int) -> None:
    packed = pack_map(values, levels)
    known = np.where(np.isfinite(values), values, 0).astype(np.float64)
    half = (known.max() - known.min()) / levels / 2
    assert np.abs(unpacked(packed) - known).max() <= half * (1 + 1e-9) + 1e-12
    assert (packed["low"], packed["high"]) == (known.min(), known.max())
    json.dumps(packed, allow_nan=False)


def test_pages_hold_every_image_in_the_order_of_names(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows(12))
    made = run(config)
    assert (made.n_images, made.n_pages, made.n_kept) == (12, 3, 0)
    folder = tmp_path / "study"
    index = index_of(folder)
    numbers = [*range(0, 12, 2), *range(1, 12, 2)]
    assert index["names"] == [f"cat{at % 2}/{at}.png" for at in numbers]
    assert index["participants"] == [3] * 12
    clicks = {key: sum(len(row[2]) for row in rows(12) if row[0] == key) for key in index["names"]}
    assert index["clicks"] == list(clicks.values())
    assert [index["categories"][at] for at in index["category"]] == ["cat0"] * 6 + ["cat1"] * 6
    store = MapStore(folder)
    for number, name in enumerate(index["pages"]):
        page = content(files(folder)[f"{name}.js"])
        assert len(page) == 4
        for at, picture in enumerate(page):
            key = index["names"][4 * number + at]
            whole = store.read(key.replace("/", "_"))[0]
            found = unpacked(picture["map"])
            assert found.shape == whole.shape  # it is small enough as it is
            assert np.abs(found - whole).max() <= np.ptp(whole) / 2046 * 1.001


def test_larger_maps_are_made_smaller_and_opened_ones_less_so(tmp_path: Path) -> None:
    big = [(key, user, [(9 * x, 9 * y) for x, y in clicks]) for key, user, clicks in rows(2)]
    config = experiment(tmp_path, big, "image_shape=[300,290]")
    run(config)
    folder = tmp_path / "study"
    index = index_of(folder)
    whole = MapStore(folder).read("cat0_0.png")[0]
    small = content(files(folder)[f"{index['pages'][0]}.js"])[0]
    large = content(files(folder)[f"{index['opened'][0]}.js"])
    for picture, height, width in ((small, 80, 77), (large, 256, 247)):
        found = unpacked(picture["map"])
        wanted = resize(whole, (height, width))
        assert found.shape == (height, width)
        assert np.abs(found - wanted).max() <= np.ptp(wanted) / picture["map"]["levels"]
    assert [person["name"] for person in large["people"]] == ["u0", "u1", "u2"]
    people = [unpacked(person["map"]) for person in large["people"]]
    mean = np.mean(people, axis=0)
    assert people[0].shape == (96, 93)
    step = sum(np.ptp(heat) for heat in people) / 3 / 1023
    assert np.abs(mean - resize(whole, (96, 93))).max() <= step + np.ptp(whole) / 1023


def test_a_person_with_two_trials_is_one(tmp_path: Path) -> None:
    twice = [*rows(2), *[(key, "u0", clicks[:5]) for key, user, clicks in rows(2) if user == "u1"]]
    config = experiment(tmp_path, twice, "filter_duplicates=false", "duplicate_maps=keep_all")
    run(config)
    index = index_of(tmp_path / "study")
    people = content(files(tmp_path / "study")[f"{index['opened'][0]}.js"])["people"]
    assert [person["name"] for person in people] == ["u0", "u1", "u2"]
    own = [len(row[2]) for row in twice if row[:2] == ("cat0/0.png", "u0")]
    assert people[0]["clicks"] == sum(own)
    assert index["participants"] == [3, 3]


def test_equal_inputs_give_equal_bytes_and_workers_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path, rows())
    run(config)
    first = files(tmp_path / "study")
    for path in (tmp_path / "study" / "gallery" / "pages").iterdir():
        path.unlink()
    monkeypatch.setattr(parallel, "START_SECONDS", 0)
    config.n_jobs = 2
    again = run(config, WhenPresent.OVERWRITE)
    assert again.n_kept == 0
    assert files(tmp_path / "study") == first


def test_a_gallery_that_is_there_is_not_touched_unasked(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    run(config)
    before = files(tmp_path / "study")
    with pytest.raises(ConfigError, match="--resume"):
        run(config)
    assert files(tmp_path / "study") == before


def test_an_equal_gallery_is_kept_and_another_look_is_not_mixed_with_it(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    first = run(config)
    before = files(tmp_path / "study")
    again = outcome(config, WhenPresent.RESUME)
    assert again.reused
    assert (again.summary.n_pages, again.summary.n_kept) == (3, 3)
    assert again.summary.n_bytes == first.n_bytes
    assert files(tmp_path / "study") == before
    with pytest.raises(ConfigError, match="--overwrite"):
        run(config, WhenPresent.RESUME, look=Look(alpha=0.2))
    assert run(config, WhenPresent.OVERWRITE, look=Look(alpha=0.2)).n_kept == 3
    changed = {name for name, data in files(tmp_path / "study").items() if before[name] != data}
    assert changed == {"gallery.html"}


def test_only_pages_whose_inputs_changed_are_drawn_again(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    run(config)
    folder = tmp_path / "study"
    before = files(folder)
    old = index_of(folder)
    assert run(config, WhenPresent.OVERWRITE).n_kept == 3
    assert files(folder) == before
    key = old["names"][5]
    Image.new("RGB", (96, 72), "red").save(tmp_path / "images" / key)
    with pytest.raises(ConfigError, match="--overwrite"):
        run(config, WhenPresent.RESUME)
    made = run(config, WhenPresent.OVERWRITE)
    new = index_of(folder)
    assert made.n_kept == 2
    same = [a == b for a, b in zip(old["pages"], new["pages"], strict=True)]
    assert same == [True, False, True]
    assert f"{old['pages'][1]}.js" not in files(folder)  # nobody asks for it any more
    stale = set(before) - set(files(folder))
    assert {name.split("-")[0] for name in stale} >= {"pages/00002", "images/000006"}
    manifest = load_manifest(folder / "gallery")
    assert manifest is not None
    assert damaged_outputs(folder / "gallery", manifest.outputs) == []
    assert set(manifest.outputs) == set(files(folder)) - {"gallery.html"}


def test_verify_proves_the_page_and_all_its_files(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    run(config)
    folder = tmp_path / "study"
    (found,) = verify.run([folder], Silent())
    assert (found.damaged, found.extra, found.partial) == (False, (), ())
    assert {row.file for row in found.manifests if row.command == "visualize --html"} == {
        "gallery.manifest.json", "gallery/manifest.json",
    }  # fmt: skip
    (folder / "gallery.html").write_bytes(b"another page")
    (changed,) = verify.run([folder], Silent())
    assert [row.file for row in changed.damage] == ["gallery.html"]
    run(config, WhenPresent.RESUME)
    assert not verify.run([folder], Silent())[0].damaged


def test_nothing_stays_of_images_that_are_gone(tmp_path: Path) -> None:
    run(experiment(tmp_path, rows()))
    fewer = experiment(tmp_path, rows(), "file_exclusion_filter=cat1", when=WhenPresent.OVERWRITE)
    made = run(fewer, WhenPresent.OVERWRITE)
    assert made.n_images == 5
    assert len([name for name in files(tmp_path / "study") if name.startswith("images/")]) == 5
    (found,) = verify.run([tmp_path / "study"], Silent())
    assert (found.damaged, found.extra) == (False, ())


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "empty"])
@pytest.mark.parametrize("kind", ["pages", "opened"])
def test_a_damaged_file_is_drawn_again(tmp_path: Path, damage: str, kind: str) -> None:
    config = experiment(tmp_path, rows())
    run(config)
    folder = tmp_path / "study"
    before = files(folder)
    path = folder / "gallery" / f"{index_of(folder)[kind][0]}.js"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({
            "cut": data[:-9], "changed": data[:-20] + b"x" + data[-19:], "empty": b"",
        }[damage])  # fmt: skip
    assert run(config, WhenPresent.RESUME).n_kept == 2
    assert files(folder) == before


def test_an_interrupted_run_keeps_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path, rows())
    whole = gallery_html.page_content
    done = []

    def stop_at_the_third(name: str, pictures: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return whole(name, pictures)

    monkeypatch.setattr(gallery_html, "page_content", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert not (tmp_path / "study" / "gallery.html").exists()
    monkeypatch.setattr(gallery_html, "page_content", whole)
    assert run(config, WhenPresent.RESUME).n_kept == 2


def test_odd_images_are_shown_or_replaced_counted_and_named(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    images = tmp_path / "images"
    ramp = np.tile(np.arange(96, dtype=np.uint8), (72, 1))
    Image.fromarray(ramp).save(images / "cat0/0.png")  # grey
    Image.fromarray(ramp.astype(np.uint16) * 256).save(images / "cat1/1.png")  # 16 bits
    Image.fromarray(np.dstack([ramp] * 4)).save(images / "cat0/2.png")  # transparent
    Image.fromarray(np.dstack([ramp] * 4), "CMYK").save(images / "cat1/3.png", format="JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.dstack([ramp] * 3))
    turned.save(images / "cat0/4.png", format="JPEG", exif=exif)
    (images / "cat1/5.png").write_bytes(b"no picture")
    (images / "cat0/6.png").write_bytes((images / "cat0/8.png").read_bytes()[:300])
    progress = Silent()
    made = run(config, progress=progress)
    states = {remark.key: remark.state for remark in made.remarks}
    assert states == {
        "cat0/0.png": "converted", "cat1/1.png": "converted", "cat0/2.png": "converted",
        "cat1/3.png": "converted", "cat0/4.png": "converted", "cat1/5.png": "unreadable",
        "cat0/6.png": "unreadable", "cat1/7.png": "missing",
    }  # fmt: skip
    said = " ".join(progress.notices)
    assert "5 of 9 images in the gallery are converted" in said
    assert "2 of 9 images in the gallery are unreadable" in said
    assert "1 of 9 images in the gallery are missing, such as cat1/7.png" in said
    folder = tmp_path / "study"
    index = index_of(folder)
    assert {row["state"]: row["n"] for row in index["remarks"]} == {
        "converted": 5, "unreadable": 2, "missing": 1,
    }  # fmt: skip
    pictures = [
        picture for name in index["pages"] for picture in content(files(folder)[f"{name}.js"])
    ]
    shown = {
        name: picture["photo"] is not None
        for name, picture in zip(index["names"], pictures, strict=True)
    }
    assert {name for name, there in shown.items() if not there} == {
        "cat1/5.png", "cat0/6.png", "cat1/7.png",
    }  # fmt: skip
    again = run(config, WhenPresent.RESUME)
    assert again.n_kept == 3
    assert again.remarks == made.remarks  # also of pages that were kept


def test_photographs_have_the_proportions_of_their_files(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    Image.new("RGB", (40, 120)).save(tmp_path / "images" / "cat0/0.png")
    run(config)
    index = index_of(tmp_path / "study")
    page = content(files(tmp_path / "study")[f"{index['pages'][0]}.js"])
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture["photo"]))).size for picture in page]
    assert sizes[0] == (32, 96)
    assert sizes[1] == (32, 24)
    assert index["aspect"] == pytest.approx(4 / 3, rel=1e-3)


@pytest.mark.parametrize("wanted", ["auto", "all", "none"])
def test_participants_are_written_where_they_are_affordable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    config = experiment(tmp_path, rows(2))
    monkeypatch.setattr(gallery, "MOST_MAPS", 5)
    progress = Silent()
    made = run(config, participants=wanted, progress=progress)
    assert made.participants == (wanted == "all")
    assert len(index_of(tmp_path / "study")["opened"]) == (2 if wanted == "all" else 0)
    assert any("--participants all" in text for text in progress.notices) == (wanted == "auto")


def test_agreement_is_that_of_the_ceilings(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    folder = tmp_path / "study"
    keys = sorted({row[0] for row in rows()})
    for name, sign in (("split-half-pearson", 1), ("hold-one-out-kl", -1)):
        table = folder / "ceiling" / name
        table.mkdir(parents=True)
        lines = [f"{key},x,3,{sign * at / 7},0" for at, key in enumerate(keys[1:], 1)]
        header = "image_path,category,n_participants,ceiling,null"
        (table / "per_image.csv").write_text("\n".join([header, *lines, ""]))
        (table / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    run(config)
    index = index_of(folder)
    found = {row["name"]: row for row in index["agreements"]}
    assert set(found) == {"pearson, split-half", "kl, hold-one-out"}
    assert (found["pearson, split-half"]["higher"], found["kl, hold-one-out"]["higher"]) == (
        True,
        False,
    )
    scores = dict(zip(index["names"], found["pearson, split-half"]["scores"], strict=True))
    assert scores[keys[0]] is None
    assert scores[keys[2]] == pytest.approx(2 / 7, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"look": Look(colormap="nosuch")}, "nosuch"),
        ({"participants": "some"}, "participants"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, options: Any, word: str
) -> None:
    config = experiment(tmp_path, rows(2))
    with pytest.raises(ConfigError, match=word):
        run(config, **options)
    assert not (tmp_path / "study" / "gallery").exists()


def test_without_prepare_there_is_no_gallery(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows(2))
    config.experiment_name = "other"
    with pytest.raises(DataError, match="prepare"):
        run(config)
    assert not (tmp_path / "other").exists()


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    config = experiment(tmp_path, rows())
    made = outcome(config, dry_run=True)
    assert (made.summary.n_images, made.summary.n_pages, made.written) == (9, 3, False)
    assert not (tmp_path / "study" / "gallery").exists()


def test_a_page_that_ends_a_script_or_an_element_cannot(tmp_path: Path) -> None:
    """Whatever names hold, files hand over data and the page loads its own script alone."""
    evil = "</script><!--]]>&amp;\"'"
    odd = [
        (f"a/{evil.replace('/', '-')}{at}.png", f"{evil}{user}", [(1, 1)] * 12 + [(user, at)])
        for at in range(2)
        for user in range(3)
    ]
    run(experiment(tmp_path, odd))
    for name, data in files(tmp_path / "study").items():
        text = data.decode("ascii" if name != "gallery.html" else "utf-8")
        if name != "gallery.html":
            body = text.split("\n", 1)[1] if text.startswith("//") else text
            assert "<" not in body
            assert body.count("\n") == 1
    html = (tmp_path / "study" / "gallery.html").read_text()
    assert html.count("<script") == 2
    assert "default-src 'none'" in html
