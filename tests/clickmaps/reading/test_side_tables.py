"""Lists of categories and image sizes from strangers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clickmap_cli.clickmaps.reading.side_tables import read_categories, read_sizes
from clickmap_cli.runtime.errors import DataError


def written(folder, name, content):
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, np.array(content, dtype=object))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_valid_tables_are_read(tmp_path) -> None:
    lists = (["cats", "dogs"], {"cats": 1, "dogs": 2})
    for content in lists:
        for name in ("a.json", "a.yaml"):
            assert read_categories(written(tmp_path, name, content)) == {"cats", "dogs"}
    assert read_categories(written(tmp_path, "a.npy", lists[0])) == {"cats", "dogs"}
    assert read_categories(written(tmp_path, "a.txt", "cats\n\n dogs \n")) == {"cats", "dogs"}
    assert read_categories(written(tmp_path, "a.json", [1, None, 2.5])) == {"1", "None", "2.5"}
    sizes = {"a/b.jpg": (640, 480), "c.png": [1, 65_536.0]}
    for name in ("a.json", "a.npy"):
        assert read_sizes(written(tmp_path, name, sizes)) == {
            "a/b.jpg": (480, 640), "c.png": (65_536, 1),
        }  # fmt: skip


@pytest.mark.parametrize("name", ["a.json", "a.npy"])
@pytest.mark.parametrize("content", ["x", 5, [["a"]], [{"a": 1}], [[]]])
def test_a_value_that_is_not_a_list_of_words_is_an_error(tmp_path, name, content) -> None:
    if isinstance(content, list) and name == "a.npy":
        content = {tuple(item): 1 for item in map(tuple, content)}
    with pytest.raises(DataError, match=r"not a word|expected a list") as caught:
        read_categories(
            written(tmp_path, name, json.dumps(content) if name != "a.npy" else content)
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pair", [[1], [1, 2, 3], "ab", 5, None, [0, 1], [-1, 5], [1, 65_537], [float("inf"), 1],
             [float("nan"), 1], [10**400, 1], [[1], 2], "1\n2"],
)  # fmt: skip
def test_an_invalid_size_is_an_error(tmp_path, pair) -> None:
    path = written(tmp_path, "a.json", {"key\nof two lines": pair})
    with pytest.raises(DataError, match=r"not \(width, height\)|has the sides") as caught:
        read_sizes(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_numbers_of_thousands_of_digits_are_names_of_nothing(tmp_path) -> None:
    huge = 10**5000
    for content in ([huge], {huge: (1, 2)}):
        for reader in (read_categories, read_sizes):
            with pytest.raises(DataError):
                reader(written(tmp_path, "a.npy", content))
    with pytest.raises(DataError, match="a long"):
        read_sizes(written(tmp_path, "a.npy", {"a": huge}))


@pytest.mark.parametrize(
    "text", ["!!timestamp x", "!!bool x", "!!int ''", "[" * 5000, "a: &a [*a]\n? *a\n: 1", "\x1b"]
)
def test_odd_yaml_is_an_error(tmp_path, text) -> None:
    with pytest.raises(DataError) as caught:
        read_categories(written(tmp_path, "a.yaml", text))
    assert "\n" not in str(caught.value)
