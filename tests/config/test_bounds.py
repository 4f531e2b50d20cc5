"""Configurations that would fill the memory or end the process are refused, others are not."""

from __future__ import annotations

import pytest
import yaml

from clickmap_cli.config.bounds import check_nodes, check_references
from clickmap_cli.config.loading import load_any, load_experiment
from clickmap_cli.config.reading import read_yaml
from clickmap_cli.config.updating import missing_keys, updated_text
from clickmap_cli.runtime.errors import ConfigError


def refers(text: str) -> None:
    check_nodes(text)
    check_references(yaml.compose(text, Loader=yaml.SafeLoader))


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels)]
    return "\n".join(lines)


def chain(levels: int, times: int) -> str:
    lines = ["a0: xxxxxxxxxx"]
    lines += [f"a{at}: {f'${{a{at - 1}}}' * times}" for at in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (laughs(5), "more than 10,000 values"),
        (laughs(60), "more than 10,000 values"),
        ("a: [" + "x," * 10_001 + "]", "more than 10,000 values"),
        ("a: " + "[" * 41, "nested more than 40 deep"),
        ("a: " + "[" * 300_000, "nested more than 40 deep"),
        ("- " * 50, "nested more than 40 deep"),
        ("a: " + "{a: " * 50, "nested more than 40 deep"),
        ("a: &a [1, *a]", "alias .a holds itself"),
        (chain(8, 10), "grow to more than"),
        (chain(400, 2), "grow to more than"),
        ("a: {x: '${..b.x}${..b.x}'}\nb: {x: '${a}'}\n" + chain(9, 9), "grow to more than"),
        ("a: " + "${" * 20_000 + "a" + "}" * 20_000, "name no key of the file"),
        ("\n".join(f"a{at}: ${{oc.decode:x}}" for at in range(9)), "name no key of the file"),
        ("b: {c: x}\na: ${b}\n" + "\n".join(f"d{at}: ${{a.c}}" for at in range(9)), "name no key"),
        ('"a\\nb": 1', "cannot be printed"),
        ("a: {'b\\x1b[31m': 1}".replace("'", '"'), "cannot be printed"),
    ],
)
def test_what_grows_is_refused(text, what) -> None:
    with pytest.raises(ValueError, match=what):
        refers(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "a:", "a: 1\nb: [1, {c: d}]", laughs(3), chain(5, 9),
        "root: ${oc.env:HOME}/data\n" + "\n".join(f"m{at}: ${{root}}/w{at}" for at in range(300)),
        "a: {b: [x, y], c: '${.b[0]}', d: '${..e}', f: '${a.b.1}'}\ne: 1",
        "\n".join(f"a{at}: ${{oc.env:HOME,x}}${{oc.env:USER}}" for at in range(300)),
        "a: ${oc.decode:'[1]'}\nb: ${c.${a}}",
        "a: ${b}\nb: ${a}",  # which refers to itself: the library says so
        "a: " + "[" * 39 + "]" * 39,
    ],
)  # fmt: skip
def test_what_does_not_grow_is_not(text) -> None:
    refers(text)


def test_sizes_are_those_of_what_is_filled_in(tmp_path) -> None:
    """By hand: what is refused is larger than the limit, what is read is not."""
    path = tmp_path / "a.yaml"
    path.write_text(chain(6, 10) + "\n")
    values, _ = read_yaml(path)
    assert len(values["a5"]) == 10**6
    path.write_text(chain(7, 10) + "\n")
    with pytest.raises(ConfigError, match="grow to more than"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("5", "found one value"), ("2024-01-01", "found one value"), ("word", "found one value"),
        ("- a", "found a list"), ("seed: !!timestamp x", "the tag"), ("seed: !!bool x", "the tag"),
        ("seed: !!int ''", "the tag"), ("a: !own x", "the tag"), ("a: " + "[" * 100, "nested"),
        ("? |\n  a\n  b\n: 1", "cannot be printed"),
    ],
)  # fmt: skip
def test_odd_files_are_a_sentence(tmp_path, text, what) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=what) as caught:
        load_any(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("word", ["a=" + "[" * 100_000, "a=" + "${" * 20_000, "a=!!timestamp x"])
def test_odd_words_are_a_sentence(word) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, [word])
    assert "\n" not in str(caught.value)


def test_no_date_is_no_crash(tmp_path) -> None:
    """What the one library reads as text, the other one takes for a date."""
    path = tmp_path / "a.yaml"
    path.write_text("experiment_name: 2024-99-99\n")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        updated_text(path, missing_keys(path))
