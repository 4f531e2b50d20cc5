"""The shape of the house: no room too large, nothing that nobody uses.

Where things live is held by import-linter; what is documented by tests/config/test_documented.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import clickmap_cli

PACKAGE = Path(clickmap_cli.__file__).parent
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50
MOST_PARAMETERS = 10

REASONS = {
    "commands/": "the command line makes an option of every parameter",
    "models/": "the registry makes a config key of every parameter of a model",
    "training/quality_task.py": "a task is told everything by name, once",
    "storage/manifest.py": "a manifest has that many fields, each given by name",
}
"""Where more parameters stand than elsewhere, and why."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def body_lines(function: ast.FunctionDef) -> int:
    """Lines after the signature and the docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    if has_docstring and len(function.body) == 1:
        return 0
    begin = function.body[1].lineno if has_docstring else first.lineno
    return (function.end_lineno or begin) - begin + 1


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_room_is_too_large(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    long = {f.name: body_lines(f) for f in functions(ast.parse(text))}
    assert {name: n for name, n in long.items() if n > LONGEST_FUNCTION} == {}


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_no_list_of_parameters_is_long_without_a_reason(path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    if any(place.startswith(start) for start in REASONS):
        return
    many = {}
    for function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.arg for a in (*function.args.args, *function.args.kwonlyargs)]
        own = [name for name in names if name not in ("self", "cls")]
        if len(own) > MOST_PARAMETERS:
            many[function.name] = len(own)
    assert many == {}


def test_every_reason_is_still_needed() -> None:
    for start in REASONS:
        found = [p for p in modules() if p.relative_to(PACKAGE).as_posix().startswith(start)]
        sizes = [
            len([a for a in (*f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")])
            for path in found
            for f in functions(ast.parse(path.read_text(encoding="utf-8")))
        ]
        assert max(sizes, default=0) > MOST_PARAMETERS, start


FOR_SCRIPTS = {"score_maps"}
"""Names that the package itself does not use: they are there for people's own scripts."""


def test_every_function_and_class_is_used_somewhere() -> None:
    used, quoted, defined = set(), [], {}
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                quoted.append(node.value)  # registries name things as module:name
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.decorator_list
            if named and not node.name.startswith("__"):
                defined[node.name] = path.relative_to(PACKAGE).as_posix()
    words = set(re.findall(r"\w+", " ".join(text for text in quoted if " " not in text)))
    # a table that the README is checked against is drawn by the tests
    alone = {
        name
        for name, place in defined.items()
        if name not in used and name not in words and not place.startswith("reports/")
    }
    assert alone == FOR_SCRIPTS
