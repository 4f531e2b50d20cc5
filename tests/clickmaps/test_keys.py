from __future__ import annotations

import pytest

from clickmap_cli.clickmaps.keys import category_of, check_flat_names, image_key, match_keys
from clickmap_cli.runtime.errors import DataError


@pytest.mark.parametrize(
    ("path", "remove", "key"),
    [
        ("a/b.png", None, "a/b.png"),
        ("a\\b.png", None, "a/b.png"),
        ("imagenet/val/n01/x.JPEG", "imagenet/val/", "n01/x.JPEG"),
        ("imagenet/val/n01/x.JPEG", "imagenet/val", "n01/x.JPEG"),
        ("/data/set/x.png", "/data/set", "x.png"),
        ("n01/imagenet/val/x.JPEG", "imagenet/val/", "n01/imagenet/val/x.JPEG"),
    ],
)
def test_keys_are_paths_with_their_front_cut(path, remove, key) -> None:
    assert image_key(path, remove) == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "\\\\host\\x",
        "C:\\x.png",
        "../x",
        "a/../../x",
        "a/..",
        "a/",
        ".",
        "a\0b",
        "a\nb",
    ],
)
def test_paths_that_leave_their_folder_are_refused(path) -> None:
    with pytest.raises(ValueError, match="image_path"):
        image_key(path)


def test_dots_inside_names_are_names() -> None:
    assert image_key("a/..b.png") == "a/..b.png"


def test_categories() -> None:
    assert [category_of(k) for k in ("x/mouse/1.png", "mouse/1.png", "1.png")] == [
        "mouse", "mouse", "all",
    ]  # fmt: skip


def test_two_keys_of_one_name_are_both_named() -> None:
    check_flat_names(["a/b.png", "a/c.png"])
    with pytest.raises(DataError, match=r"'a/b\.png' and 'a_b\.png'"):
        check_flat_names(["a/b.png", "a_b.png"])


def test_names_match_whole_or_by_a_unique_ending() -> None:
    keys = ["x/a/1.png", "y/a/1.png", "x/2.png", "2.png"]
    found = match_keys(["a/1.png", "y/a/1.png", "root/x/2.png", "2.png", "1.png", "zz.png"], keys)
    # 'root/x/2.png' ends with both '/x/2.png' and '/2.png', so it stands for neither
    assert found == {"y/a/1.png": "y/a/1.png", "2.png": "2.png"}
    assert match_keys(["root/x/2.png"], ["x/2.png"]) == {"root/x/2.png": "x/2.png"}
