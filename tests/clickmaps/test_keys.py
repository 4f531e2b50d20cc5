from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickmap_cli.clickmaps.keys import (
    category_of,
    image_key,
    look_alike_notices,
    look_alikes,
    match_keys,
    picture_names,
    require_flat_names,
)
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


def test_a_name_has_200_bytes_at_most() -> None:
    for name in ("a" * 196 + ".png", "b/" + "a" * 194 + ".png", "é" * 98 + ".png"):
        assert image_key(name) == name
        with pytest.raises(ValueError, match="too long"):
            image_key("a" + name)


def test_dots_inside_names_are_names() -> None:
    assert image_key("a/..b.png") == "a/..b.png"


def test_categories() -> None:
    assert [category_of(k) for k in ("x/mouse/1.png", "mouse/1.png", "1.png")] == [
        "mouse", "mouse", "all",
    ]  # fmt: skip
    assert category_of("./1.png") == "all"


def test_two_keys_of_one_name_are_both_named() -> None:
    require_flat_names(["a/b.png", "a/c.png"])
    with pytest.raises(DataError, match=r"'a/b\.png' and 'a_b\.png'"):
        require_flat_names(["a/b.png", "a_b.png"])


def test_names_match_whole_or_by_a_unique_ending() -> None:
    keys = ["x/a/1.png", "y/a/1.png", "x/2.png", "2.png"]
    found = match_keys(["a/1.png", "y/a/1.png", "root/x/2.png", "2.png", "1.png", "zz.png"], keys)
    # 'root/x/2.png' ends with both '/x/2.png' and '/2.png', so it stands for neither
    assert found == {"y/a/1.png": "y/a/1.png", "2.png": "2.png"}
    assert match_keys(["root/x/2.png"], ["x/2.png"]) == {"root/x/2.png": "x/2.png"}
    # whole parts of a path
    assert match_keys(["cats/1.png"], ["bobcats/1.png"]) == {}
    assert match_keys(["bobcats/1.png"], ["cats/1.png"]) == {}
    assert match_keys(["1.png"], ["11.png"]) == {}


@pytest.mark.parametrize(
    ("names", "pictures"),
    [
        (["a.png", "b.JPEG", "c"], ["a", "b", "c"]),
        (["a.png", "b.png", "b.jpg"], ["a", "b.png", "b.jpg"]),
        (["a", "a.png"], ["a", "a.png"]),
        (["a.png", "A.jpg"], ["a.png", "A.jpg"]),  # one file where letters have no case
        (["a.png", "a.png.gif", "b.v1.png"], ["a", "a.png.gif", "b.v1"]),
        (["x/.hidden", "x/a.png", "y/a.png"], ["x/.hidden", "x/a", "y/a"]),
        ([], []),
    ],
)
def test_pictures_lose_the_endings_of_their_images_where_they_can(names, pictures) -> None:
    assert picture_names(names) == dict(zip(names, pictures, strict=True))


@given(st.lists(st.text("aB.", min_size=1, max_size=4), unique_by=str.lower))
def test_two_images_never_share_a_picture(names) -> None:
    found = picture_names(names)
    assert list(found) == names
    assert len({picture.lower() for picture in found.values()}) == len(names)
    assert all(name.startswith(picture) for name, picture in found.items())


def test_keys_that_differ_in_case_or_unicode_form_only_are_found() -> None:
    composed, parted = "caf\u00e9/1.png", "cafe\u0301/1.png"
    assert look_alikes(["a.png", "b.png", "a.jpg", "sub/a.png"]) == []
    assert look_alikes(["a.png", "A.png", "a.PNG"]) == [("a.png", "A.png"), ("a.png", "a.PNG")]
    assert look_alikes([composed, parted, parted.upper()]) == [
        (composed, parted), (composed, parted.upper()),
    ]  # fmt: skip
    assert look_alikes(["stra\u00dfe.png", "STRASSE.png"]) == [("stra\u00dfe.png", "STRASSE.png")]
    (text,) = look_alike_notices([composed, parted, "b.png"])
    assert text.startswith("1 image keys differ from another only in the case of letters or in")
    assert "'caf\\xe9/1.png' and 'cafe\\u0301/1.png'" in text
    (text,) = look_alike_notices([f"{word}{end}" for end in range(9) for word in "aA"])
    assert "; and 4 more" in text
    assert list(look_alike_notices(["a", "b"])) == []


@pytest.mark.parametrize("path", ["C:\\data\\1.png", "d:/data/1.png"])
def test_a_windows_path_is_named_as_one(path) -> None:
    with pytest.raises(ValueError, match=f"a Windows path on drive {path[:2]}; name it inside"):
        image_key(path)
    assert image_key(path, path[:2] + "\\data\\") == "1.png"
