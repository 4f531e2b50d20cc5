"""Configurations, records of runs, and names that become paths or stand in pages."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from clickmap_cli.clickmaps.image_files import image_file
from clickmap_cli.clickmaps.keys import (
    category_of,
    flat_name,
    image_key,
    match_keys,
    picture_names,
    require_flat_names,
)
from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.config.benchmark import plain_word
from clickmap_cli.config.loading import (
    BENCHMARK,
    BY_TASK,
    EXPERIMENT,
    as_dict,
    experiment_from_values,
    load_any,
    load_config,
    load_experiment,
    missing_keys,
    updated_text,
)
from clickmap_cli.datasets.classifier_images import safe_word
from clickmap_cli.runtime.errors import ClickmapError
from clickmap_cli.runtime.progress import Silent
from clickmap_cli.services import verify
from clickmap_cli.storage.appending import LineJournal
from clickmap_cli.storage.folder import RunFolder, WhenPresent
from clickmap_cli.storage.manifest import Manifest, load_manifest
from clickmap_cli.storage.prediction_cache import PredictionCache
from clickmap_cli.storage.text_files import read_ids
from tests.faults.fuzz.mutation import Bytewise, behind, lines_of
from tests.faults.fuzz.target import Target, any_reads
from tests.helpers import hostile

SCHEMAS = (EXPERIMENT, BENCHMARK, *BY_TASK.values())
_CONFIGS = Path(__file__).parents[3] / "configs"
_YAML = (
    b"${oc.env:HOME}", b"${oc.decode:'[1]'}", b"${experiment_name}", b"${.}", b"${..x}", b"???",
    b"&a [*a]", b"*a", b"&a", b"<<: *a", b"!!python/object/apply:os.system ['true']",
    b"!!python/name:os.system", b"!!binary aGk=", b"!!timestamp 2024-01-01", b"2024-01-01", b"~",
    b"null", b"true", b"-1", b"0", b"1e999", b".nan", b".inf", b"-.inf", b"1_000", b"0x10", b"[]",
    b"{}", b"[[[[[[[[[[", b"{a: {a: {a: ", b"? [a]", b"? {a: b}", b"|", b">", b"---", b"...",
    b"%YAML",
    b"\t", b"'", b'"', b"\0", b"\xef\xbb\xbf", b"\xff", b"task: classifier", b"task: keypoints",
    b"task: participant_quality", b"task: saliency", b"../evil", b"/evil", b"[9999999, 9999999]",
    *(name.encode() + b": " for schema in SCHEMAS for name in schema.type.__dataclass_fields__),
)  # fmt: skip


def _config_seeds(_folder: Path) -> list[bytes]:
    texts = [path.read_bytes() for path in sorted(_CONFIGS.glob("*.yaml"))]
    texts += [
        b"experiment_name: x\nblur_size: 21\nimage_shape: [256, 256]\nmetric: [auc, RSA]\n",
        b"datasets: {name: folder, root: a}\nmodels: {a: {type: uniform}, b: }\n",
        b"a: &a [x, x]\nb: &b [*a, *a]\nexperiment_name: ${b}\n",
    ]
    words = b"min_clicks=5\nimage_shape=[40,40]\ndatasets.0.root=x\nmetric=${oc.env:HOME}\n=\n"
    return [bytes([4 * at]) + text for at, text in enumerate(texts)] + [bytes([255]) + words]


def _run_config(data: bytes, folder: Path) -> bool:
    choice = data[0] if data else 0
    path = folder / "config.yaml"
    if choice == 255:
        words = data[1:].decode("utf-8", "replace").split("\n")[:8]
        load_config(SCHEMAS[len(data) % len(SCHEMAS)], None, words)
        return True
    path.write_bytes(data[1:])
    if choice % 4 == 1:
        load_config(SCHEMAS[choice // 4 % len(SCHEMAS)], path)
    elif choice % 4 == 2:
        experiment_from_values(as_dict(load_experiment(path).config))
    elif choice % 4 == 3:
        updated_text(path, missing_keys(path))
    else:
        json.dumps(as_dict(load_any(path).config), default=str)
    return True


# --- records of runs --------------------------------------------------------------------------

_TABLES = ("a.json", "a.yaml", "a.txt")
_JSON = (
    b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b'"x"', b"[]", b"{}", b'{"a":', b"[[[[",
    b'"outputs"', b'"size"', b'"sha256"', b'"command"', b'"identity"', b'"files"', b'"../../x"',
    b'"/etc/hostname"', b'"out.txt"', b'"\\u0000"', b'"\\ud800"', b"\n", b",", b":", b'"', b"\\",
    b"9" * 400, b'"config_hash"', b'"prepare"', b'"manifest.json"', b'".."', b'"."', b'""',
)  # fmt: skip


def _side_seeds(_folder: Path) -> list[bytes]:
    texts = (
        b'{"a/b.jpg": [640, 480], "c.png": [1, 65536]}', b'["cats", "dogs"]',
        b"a/b.jpg: [640, 480]\nc.png: &a [3, 4]\nd: *a\n", b"- cats\n- dogs\n",
        b"cats\n\n# dogs\n birds \n", b'{"a": "xy", "b": [1], "c": [0, -1]}',
    )  # fmt: skip
    return [bytes([at]) + text for text in texts for at in range(3)]


def _run_side(data: bytes, folder: Path) -> bool:
    path = folder / _TABLES[(data[0] if data else 0) % 3]
    path.write_bytes(data[1:])
    return any_reads(path, read_categories, read_sizes, read_ids)


def _record_seeds(_folder: Path) -> list[bytes]:
    about = {
        "size": 2,
        "sha256": "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a",
    }
    manifest = Manifest(
        "prepare", {"experiment_name": "x"}, "abc", {"t.csv": about},
        {"out.txt": about, "../x": about}, {"images": 1}, {"started": 1.0}, 0, {"python": "3"},
    )  # fmt: skip
    record = {"key": "abc", "sha256": about["sha256"], "details": {"level": 1.5}}
    texts = (
        json.dumps(manifest.__dict__, indent=2),
        json.dumps({"identity": "abc", "command": "prepare"}),
        json.dumps({"files": {"out.txt": about}}), json.dumps({"command": "x", "pid": 1}),
        "\n".join(json.dumps(item) for item in ({"image": "a", "score": 0.5}, [1], {"b": None})),
        json.dumps(record),
    )  # fmt: skip
    return [text.encode() for text in texts]


def _run_record(data: bytes, folder: Path) -> bool:
    """One text as every record a run leaves: none of them makes a run fail otherwise than told, or
    touch what lies beside its folder."""
    beside, place = folder / "x", folder / "run"
    journal = place / ".clickmap" / "journal"
    try:
        for path in (
            place / "manifest.json", journal / "identity.json", journal / "piece.json",
            journal / "lines.jsonl", place / ".clickmap" / "previous_manifest.json",
            place / ".clickmap" / "owner.json", place / "a.json",
        ):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for path in (beside, place / "out.txt", place / "a.npy"):
            path.write_bytes(b"ok")
        return _use_records(place)
    finally:
        assert beside.read_bytes() == b"ok"
        _emptied(folder)


def _use_records(place: Path) -> bool:
    run = RunFolder(place, "prepare", ("own",))
    verify.run([place], Silent())
    list(LineJournal(place / ".clickmap" / "journal" / "lines.jsonl").records())
    run.recorded("piece")
    cache = PredictionCache(place)
    cache.get("a", "abc")
    cache.kept_with("a")
    with suppress(ClickmapError):
        run.require_shards("abc")
    load_manifest(place)
    for when in WhenPresent:
        with suppress(ClickmapError), run.held():
            run.reuse_or_begin("abc", when)
    run.finish(Manifest("prepare", {}, "abc", {}, {}, {}, {}, 0))
    return True


def _emptied(folder: Path) -> None:
    for place, below, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(os.path.join(place, name))
        for name in below:
            os.rmdir(os.path.join(place, name))


# --- names ------------------------------------------------------------------------------------

_PARTS = (
    *(word.encode("utf-8", "surrogatepass") for word in hostile.PATHS),
    b"..", b"/", b"\\", b"./", b"//", b"~", b"%2e", b"\xc2\xa0", b"\xe2\x80\xae", b"C:", b"nul",
    b"\xed\xa0\x80", b"\xff", b"\r", b"\x85", b"\xe2\x80\xa8", b"\xf0\x9f\x90\x88", b".png",
)  # fmt: skip


def _name_seeds(_folder: Path) -> list[bytes]:
    plain = (b"cats/a.jpg", b"a\\b\\c.png", b"imagenet/val/x.JPEG\nimagenet/val", b"x" * 190)
    return [*plain, *_PARTS]


def _run_names(data: bytes, folder: Path) -> bool:
    text, _, cut = data.decode("utf-8", "surrogateescape").partition("\n")
    _stays(folder, PredictionCache(folder).path(text))
    with suppress(ClickmapError):
        plain_word(text, "the name of a model")
        _stays(folder, folder / f"{text}__x.csv")
    with suppress(ClickmapError):
        safe_word(text, "class")
        _stays(folder, folder / text)
    if len(data) % 16 == 0:  # reading a configuration takes longer than all the rest
        with suppress(ClickmapError):
            load_config(EXPERIMENT, None, options={"experiment_name": text})
            _stays(folder, folder / text / "maps.h5", depth=2)
    try:
        key = image_key(text, cut or None)
    except ValueError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError("its message is not one line") from error
        return False
    assert key.isprintable()
    assert ".." not in PurePosixPath(key).parts
    _stays(folder, folder / key, depth=None)
    for name in (flat_name(key), f"{picture_names([flat_name(key)])[flat_name(key)]}.png"):
        _stays(folder, folder / f"{name}.partial")
    assert "/" not in category_of(key)
    require_flat_names([key])
    assert image_file(folder, key) is None
    assert match_keys([key], [key]) == {key: key}
    assert image_key(key) == key
    return True


def _stays(folder: Path, path: Path, depth: int | None = 1) -> None:
    """A path lies in the folder, so many parts deep, however it is spelled."""
    normal = os.path.normpath(path)
    assert normal.startswith(f"{folder}{os.sep}"), f"{path} leads out of its folder"
    if depth is not None:
        inner = os.path.relpath(normal, folder)
        assert inner.count(os.sep) == depth - 1, f"{inner!r} is no name in its folder"


# --- pages ------------------------------------------------------------------------------------

_MARKUP = (
    b"<script>alert(1)</script>", b"</script>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"</title>",
    b"</style>", b'"><img src=x onerror=alert(1)>', b"' onmouseover='x", b"&lt;", b"&#60;", b"&amp",
    b"<", b">", b"&", b'"', b"'", b"`", b"\\", b"\\u003c", b"{{data}}", b"{{script}}", b"{{", b"}}",
    b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\0", b"\r\n", b"javascript:", b"<?php", b"<!DOCTYPE", b"</",
    b"<svg/onload=1>", b"__proto__", b"\xef\xbf\xbe", b"\x1b[0m", b"<script", b"<!--<script>",
)  # fmt: skip


class Page(HTMLParser):
    """Return the parts of a page: elements with their attributes, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[Any] = []
        self.texts: list[str] = [""]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, attrs))
        self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.shape.append(f"/{tag}")
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.shape.append(("comment", data))

    def handle_decl(self, decl: str) -> None:
        self.shape.append(("declaration", decl))

    def handle_pi(self, data: str) -> None:
        self.shape.append(("instruction", data))

    def unknown_decl(self, data: str) -> None:
        self.shape.append(("unknown", data))


_PLAIN = "plain name"


def _run_page(data: bytes, folder: Path) -> bool:
    """A name says what it says, and nothing of it is an element, an attribute or a script."""
    name = data.decode("utf-8", "replace")
    with suppress(UnicodeDecodeError):
        name = data.decode("utf-8", "surrogatepass")
    for make, harmless in zip((_report, _gallery, _viewer_table), _harmless(), strict=True):
        page = make(name, folder)
        parsed = Page(page)
        assert parsed.shape == harmless.shape
        for mine, other in zip(parsed.texts, harmless.texts, strict=True):
            _same_text(mine, other, name)
    for script in (_gallery_index(name), _gallery_page(name)):
        assert not re.search(rb"[<>&]|[^\x20-\x7e\n]", script)
        assert script.count(b"\n") == 1
        assert _strings(json.loads(b"[%b]" % script.partition(b"(")[2].rpartition(b")")[0]), name)
    return True


def _same_text(mine: str, other: str, name: str) -> None:
    """Raise unless this page equals the harmless page except for the name."""
    if _PLAIN not in other:
        assert mine == other
    elif other.startswith(("{", "[")):
        assert _strings(json.loads(mine), name) >= _strings(json.loads(other), _PLAIN)
    else:
        seen = name.encode("utf-8", "replace").decode()
        assert _as_read(mine) == _as_read(other.replace(_PLAIN, seen)), (mine, other, seen)


def _as_read(text: str) -> str:
    """HTML's parsers make one line end of all, and drop or replace what is no character."""
    return re.sub(r"[\0-\x08\x0b-\x1f\x7f-\x9f\ufffd\ufdd0-\ufdef\ufffe\uffff]|\s", "", text)


def _strings(value: Any, name: str) -> int:
    """Return the number of strings in a JSON value that hold the name."""
    if isinstance(value, dict):
        return sum(_strings(item, name) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return sum(_strings(item, name) for item in value)
    return isinstance(value, str) and name in value


@cache
def _harmless() -> tuple[Page, ...]:
    here = Path()
    return tuple(Page(make(_PLAIN, here)) for make in (_report, _gallery, _viewer_table))


def _report(name: str, folder: Path) -> str:
    from clickmap_cli.reports.benchmark_html import write_report
    from clickmap_cli.scoring.results import (
        BenchmarkResult,
        ComparisonRow,
        Failure,
        ImageScore,
        MetricSummary,
        ModelResult,
    )

    images = (ImageScore(name, name, {"NSS": 1.5}, details={name: 1.0}),)
    summary = (MetricSummary("NSS", 1, 0, 1.5, *[float("nan")] * 12, 0),)
    result = BenchmarkResult(
        name, folder, ("NSS",), (ModelResult(name, name, images, summary, 0),), {},
        (ComparisonRow(name, "NSS", name, name, 1, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0),),
        (Failure(name, name, name, f"it says {name}"),),
    )  # fmt: skip
    write_report(result, _Nothing(), folder / "report.html", 1)
    text = (folder / "report.html").read_bytes().decode("utf-8")
    (folder / "report.html").unlink()
    return text


class _Nothing:
    """No pictures."""

    def image(self, *_names: str) -> None:
        return None

    truth = prediction = image


def _gallery_of(name: str) -> Any:
    from clickmap_cli.services.visualize.agreement import Agreement
    from clickmap_cli.services.visualize.gallery import Gallery, Remark
    from clickmap_cli.services.visualize.options import Look

    return Gallery(
        name, [name], [name], [3], [9], (Agreement(np.array([0.5]), name, name, True),), 32,
        ("pages/00001",), ("images/00001",), 1.0, (Remark(name, "missing", name),), Look(),
    )  # fmt: skip


def _gallery(name: str, _folder: Path) -> str:
    from clickmap_cli.reports.gallery_html import shell

    return shell(_gallery_of(name), "index").decode("utf-8")


def _gallery_index(name: str) -> bytes:
    from clickmap_cli.reports.gallery_html import index_content

    return index_content(_gallery_of(name))


def _gallery_page(name: str) -> bytes:
    from clickmap_cli.reports.gallery_html import page_content
    from clickmap_cli.services.visualize.gallery import SmallPicture

    return page_content(
        "pages/00001", [SmallPicture(None, np.zeros((2, 2), np.float32), "x", name)]
    )


def _viewer_table(name: str, _folder: Path) -> str:
    from clickmap_cli.reports.viewer import _table

    return _table(((name, "b"), ((name, "1"), ("x", name))))


def _page_seeds(_folder: Path) -> Sequence[bytes]:
    return [b"cats/a.jpg", "猫 é".encode(), *_MARKUP]


def _words(words: Sequence[bytes]) -> Callable[[bytes, random.Random, Bytewise], bytes]:
    """Words joined to what is there, and bytes changed."""

    def mutate(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
        at = rng.randint(0, len(data))
        return bytewise(data[:at] + rng.choice(words) + data[at:])[:2000]

    return mutate


TARGETS = (
    Target("config", _config_seeds, _run_config, behind(1, lines_of(_YAML)), _YAML, ("yaml",)),
    Target("side", _side_seeds, _run_side, behind(1, lines_of(_JSON)), _JSON, ("json", "yaml")),
    Target("records", _record_seeds, _run_record, lines_of(_JSON), _JSON, ("json",)),
    Target("names", _name_seeds, _run_names, _words(_PARTS), _PARTS),
    Target("pages", _page_seeds, _run_page, _words(_MARKUP), _MARKUP, ("html",)),
)
