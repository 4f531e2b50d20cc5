"""Files that would fill the memory or end the process are refused, others are read."""

from __future__ import annotations

import re

import pytest

from clickmap_cli.config.loading import load_any, load_experiment, missing_keys, updated_text
from clickmap_cli.config.reading import check_nodes
from clickmap_cli.runtime.errors import ConfigError


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, levels)]
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
        ("a: &a [1, *a]", "alias *a holds itself"),
        ("a: ${b}\nb: 1", "'${b}' refers to another value; only ${oc.env:NAME} is filled in"),
        ("a: ${oc.decode:'[1]'}", "refers to another value"),
        ("a: ${oc.env:${b}}", "refers to another value"),
        ("a: x${", "refers to another value"),
        ("a: " + "${" * 20_000 + "a" + "}" * 20_000, "refers to another value"),
        (r"a: \${oc.env:HOME}${b}", "refers to another value"),
    ],
)
def test_what_grows_or_refers_is_refused(text, what) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        check_nodes(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "a:", "a: 1\nb: [1, {c: d}]", laughs(3), "a: $HOME {b}",
        "\n".join(f"a{at}: ${{oc.env:HOME,x}}${{oc.env:USER}}" for at in range(300)),
        "a: " + "[" * 39 + "]" * 39,
    ],
)  # fmt: skip
def test_other_texts_are_not_refused(text) -> None:
    check_nodes(text)


def test_values_may_come_from_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CLICKMAP_TEST_FOLDER", "/data ${x}")
    monkeypatch.setenv("CLICKMAP_TEST_SEED", "7")
    path = tmp_path / "a.yaml"
    path.write_text(
        "clickme_data: ${oc.env:CLICKMAP_TEST_FOLDER}/a.csv\nseed: ${oc.env:CLICKMAP_TEST_SEED}\n"
        "image_dir: '${ oc.env : CLICKMAP_TEST_NOT_SET, images }'\n"
    )
    config = load_experiment(path, ["min_clicks=${oc.env:CLICKMAP_TEST_SEED}"]).config
    assert (config.seed, config.min_clicks, config.image_dir) == (7, 7, "images")
    assert config.clickme_data == "/data ${x}/a.csv"
    path.write_text("seed: ${oc.env:CLICKMAP_TEST_FOLDER}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:1: seed is .* it must be a whole number"):
        load_experiment(path)
    path.write_text("seed: ${oc.env:CLICKMAP_TEST_NOT_SET}\n")
    with pytest.raises(ConfigError, match="CLICKMAP_TEST_NOT_SET"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("5", "found one value"), ("2024-01-01", "found one value"), ("word", "found one value"),
        ("- a", "found a list"), ("seed: !!timestamp x", "the tag"), ("seed: !!bool x", "the tag"),
        ("seed: !!int ''", "the tag"), ("a: !own x", "the tag"), ("a: " + "[" * 100, "nested"),
        ("? |\n  a\n  b\n: 1", "is not a word"),
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


def test_no_date_is_not_a_crash(tmp_path) -> None:
    """One library reads as text what the other takes for a date."""
    path = tmp_path / "a.yaml"
    path.write_text("experiment_name: 2024-99-99\n")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        updated_text(path, missing_keys(path))
