from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickmap_cli.runtime.errors import DataError
from clickmap_cli.storage.text_files import read_ids, write_ids

IDS = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
    .filter(str.isprintable)
    .filter(lambda word: word == word.strip() and not word.startswith("#")),
    min_size=1, unique=True,
)  # fmt: skip


@settings(deadline=None)
@given(IDS)
def test_what_is_written_comes_back(tmp_path_factory, ids) -> None:
    path = tmp_path_factory.getbasetemp() / "lists" / "ids.txt"
    write_ids(path, iter(ids))
    assert read_ids(path) == ids


def test_comments_blanks_and_repetitions(tmp_path) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeff# held out\r\n\r\n  b \r\na\r\n#c\nb\n a b\n\ta\t\n".encode())
    assert read_ids(path) == ["b", "a", "a b"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"# only\n#comments\n", b"\xef\xbb\xbf"])
def test_a_list_without_an_id(tmp_path, content) -> None:
    path = tmp_path / "ids.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ids\.txt: the list holds no id"):
        read_ids(path)


def test_what_is_not_a_list(tmp_path) -> None:
    with pytest.raises(DataError, match="No list of ids at"):
        read_ids(tmp_path / "none.txt")
    with pytest.raises(DataError, match="not readable as a list of ids"):
        read_ids(tmp_path)
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not readable as a list of ids"):
        read_ids(tmp_path / "b.txt")


@pytest.mark.parametrize("word", ["", " ", "#1", " a", "a ", "a\nb", "a\u2028b"])
def test_an_id_that_would_not_come_back_is_not_written(tmp_path, word) -> None:
    with pytest.raises(DataError, match="cannot stand in a list of ids"):
        write_ids(tmp_path / "ids.txt", ["a", word])
    assert not (tmp_path / "ids.txt").exists()
