"""Every key of every schema by its type and limits, and settings by their signatures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from clickmap_cli.config.fields import (
    Field,
    Key,
    fields_of,
    part_of,
    read_settings,
    read_value,
    settings_of,
    type_words,
)
from clickmap_cli.reports.config import schemas
from clickmap_cli.runtime.errors import ConfigError

KEYS = [
    pytest.param(each, id=f"{schema.__name__}.{each.name}")
    for schema in schemas().values()
    for each in fields_of(schema).values()
    if part_of(each.hint) is None
]


def read(each: Field, value: Any) -> Any:
    return read_value(each, value, each.name, lambda place: f"at {place}")


def examples(each: Field) -> Iterator[Any]:
    """Values that a key must accept, by its type and limits alone."""
    limits = each.key
    if limits.choices:
        words: list[Any] = list(limits.choices)
    elif "int" in str(each.hint) or "float" in str(each.hint):
        edges = [limits.minimum, limits.maximum]
        words = [edge for edge in edges if edge is not None] or [1]
        words = [int(word) for word in words] if "int" in str(each.hint) else words
    elif each.hint is bool:
        words = [True, False]
    else:
        words = ["a word"]
    for word in words:
        if "dict[str, float]" in str(each.hint):
            yield {word: 0.5}
        elif "list[list" in str(each.hint):
            yield [[word, "other"]]
        elif "dict" in str(each.hint):
            yield {word: {"anything": [1, {"more": None}]}}
        elif "list" in str(each.hint) and limits.length:
            yield [word] * limits.length
        else:
            yield [word] if "list" in str(each.hint) else word


@pytest.mark.parametrize("each", KEYS)
def test_a_key_accepts_what_its_type_and_limits_allow_and_its_own_default(each) -> None:
    for value in examples(each):
        assert read(each, value) == value
    assert read(each, each.default) == each.default
    if "None" in str(each.hint):
        assert [read(each, empty) for empty in (None, "", "null", "None")] == [None] * 4


@pytest.mark.parametrize("each", KEYS)
def test_a_key_refuses_another_type_and_what_is_beyond_its_limits(each) -> None:
    wrong: list[Any] = [[{"a": 1}] if "list" not in str(each.hint) else {"a": 1}]
    for limit, step in ((each.key.minimum, -1), (each.key.maximum, 1)):
        if limit is not None:
            beyond = int(limit) + step if "int" in str(each.hint) else limit + step
            wrong.append([beyond] * each.key.length if each.key.length else beyond)
    wrong += ["no such word"] * (each.key.choices is not None)
    if "float" in str(each.hint):
        wrong += [float("nan"), "wide"]
    for value in wrong:
        if value == -1 and each.name in ("max_clicks", "max_subjects"):
            continue  # the field's files write -1 for no limit
        if "dict" in str(each.hint):
            value = {"head": value} if value == -1 else [value]  # noqa: PLW2901 - inside a mapping
        with pytest.raises(ConfigError) as caught:
            read(each, value)
        assert str(caught.value).startswith(f"at {each.name}: {each.name} ")


@pytest.mark.parametrize(
    ("hint", "limits", "value", "found"),
    [
        (float, Key(), "1e-4", 1e-4),
        (float, Key(), 3, 3.0),
        (int, Key(), "3", 3),
        (bool, Key(), "yes", True),
        (str, Key(), 3, "3"),
        (str | int, Key(), 3, 3),
        (str | int, Key(), "3", "3"),
        (str | list[str] | None, Key(), "a", "a"),
        (str | list[str] | None, Key(), ["a", 1], ["a", "1"]),
        (list[str], Key(), "a", ["a"]),
        (list[int] | None, Key(), 3, [3]),
        (Sequence[int] | None, Key(), (240, 320), [240, 320]),
        (int | list[int] | None, Key(length=2), 256, 256),
        (Mapping[str, float], Key(), {"a": 1}, {"a": 1.0}),
        (str | Path, Key(), "a/b", "a/b"),
        (Literal["map", "density"], Key(choices=("map", "density")), "Density", "density"),
        (str | None, Key(choices=("none", "timm")), "None", "none"),
        (str | None, Key(), "None", None),
        (Any, Key(), {"a": [1]}, {"a": [1]}),
    ],
)
def test_values_become_what_is_declared(hint, limits, value, found) -> None:
    got = read(Field("x", hint, None, limits), value)
    assert (got, type(got)) == (found, type(found))


@pytest.mark.parametrize(
    ("hint", "limits", "value", "says"),
    [
        (float, Key(above=0), 0, "x is 0.0; it must be above 0."),
        (float, Key(minimum=0, below=1), 1, "x is 1.0; it must be below 1."),
        (float, Key(), float("inf"), "x is inf; it must be finite."),
        (int, Key(), 2.5, "x is 2.5; it must be a whole number."),
        (int | None, Key(), True, "x is True; it must be a whole number or null."),
        (bool, Key(), 3.5, "x is 3.5; it must be true or false."),
        (list[int], Key(length=2), [1], "x is [1]; it must hold 2 values."),
        (list[str], Key(), [1.50], "x is [1.5]; it must be a word or a list of words."),
        (list[str] | None, Key(), ["a", True], "it must be a word or a list of words or null."),
        (list[float], Key(length=3), "a", "x is 'a'; it must be a list of 3 numbers."),
        (str, Key(choices=("mean", "max")), "mex", "must be one of mean, max. Did you mean 'max'?"),
        (int, Key(), "${oc.env:HOME}${x}", "it must be a whole number."),
        (int, Key(), "???", "x is '???'; it must be a whole number."),
    ],
)
def test_other_values_are_refused_in_a_sentence(hint, limits, value, says) -> None:
    with pytest.raises(ConfigError) as caught:
        read(Field("x", hint, None, limits), value)
    assert says in str(caught.value)


def test_types_in_words() -> None:
    hints = [int | None, str, list[str] | None, list[list[str]], dict[str, float], str | Path]
    assert [type_words(Field("x", hint, None, Key())) for hint in hints] == [
        "a whole number or null", "text", "a word or a list of words or null", "a list of lists",
        "'name: value' pairs whose values are numbers", "text or a path",
    ]  # fmt: skip


# --- settings ----------------------------------------------------------------------------------


def reader(
    root: str,
    sigma_px: Annotated[float, Key(above=0)] = 19.0,
    split: Literal["train", "test"] | None = None,
    other=None,
) -> None:
    """Something with settings.

    Args:
        root: where it is,
            on two lines.
        sigma_px: its width.
    """


def test_settings_are_those_given_and_defaults_for_the_rest() -> None:
    found = read_settings(reader, {"root": "a", "split": "TEST", "other": {1: 2}}, "data set x")
    assert found == {"root": "a", "sigma_px": 19.0, "split": "test", "other": {1: 2}}
    for given, says in (
        (
            {"root": "a", "sigma": 1},
            r"data set x: unknown setting 'sigma'\. Did you mean 'sigma_px'",
        ),
        ({}, "data set x: set root"),
        ({"root": "a", "sigma_px": -1}, r"data set x: sigma_px is -1\.0; it must be above 0"),
        ({"root": "a", "sigma_px": "wide"}, "data set x: sigma_px is 'wide'; it must be a number"),
        (
            {"root": "a", "split": "val"},
            "data set x: split is 'val'; it must be one of train, test",
        ),
        ({"root": None}, "data set x: set root"),
        ({"root": ["a"]}, r"data set x: root is \['a'\]; it must be text"),
    ):
        with pytest.raises(ConfigError, match=says):
            read_settings(reader, given, "data set x")


def test_a_setting_is_described_by_its_signature_and_docstring() -> None:
    known = settings_of(reader)
    assert known["root"] == Field("root", str, MISSING, Key("where it is, on two lines."))
    assert known["sigma_px"].key == Key("its width.", above=0)
    assert known["split"].key.choices == ("train", "test")
    assert known["other"] == Field("other", Any, None, Key())


class Base:
    """Something that runs.

    Args:
        device: where it runs.
    """

    def __init__(self, device: str = "auto", size: int = 3) -> None:
        self.device, self.size = device, size


class Derived(Base):
    """A special one.

    Args:
        alpha: a number.
        size: handed on, and described here.
    """

    def __init__(self, alpha: float, **more: Any) -> None:
        super().__init__(size=5, **more)
        self.alpha = alpha


def test_a_class_that_hands_settings_on_has_those_of_its_base() -> None:
    known = settings_of(Derived)
    assert {name: each.key.help for name, each in known.items()} == {
        "alpha": "a number.",
        "device": "where it runs.",
        "size": "handed on, and described here.",
    }
    settings = read_settings(Derived, {"alpha": "1", "device": "cpu"}, "model x")
    made = Derived(**settings)  # the base keeps its own defaults
    assert (made.alpha, made.device, made.size) == (1.0, "cpu", 5)
    with pytest.raises(ConfigError, match=r"unknown setting 'devise'\. Did you mean 'device'"):
        read_settings(Derived, {"alpha": 1.0, "devise": "cpu"}, "model x")


def test_types_that_only_the_type_checker_knows_are_not_checked() -> None:
    def plugin(size: NoSuchType = 3) -> None:  # type: ignore[name-defined]  # noqa: F821 - as here
        """Nothing."""

    assert read_settings(plugin, {"size": "any"}, "model x") == {"size": "any"}
