"""The shape of the package: nothing that nobody uses.

Where things live is held by import-linter; what is documented by tests/config/test_documented.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import clickmap_cli

PACKAGE = Path(clickmap_cli.__file__).parent


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


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
