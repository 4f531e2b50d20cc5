"""Which column of a table holds what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickmap_cli.runtime.errors import DataError

_IMAGE = ("image_path", "file_pointer", "image")
_USER = ("user_id", "user")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read; None where the table has none.

    Either `clicks` is set, or both `x` and `y`.
    """

    image: str
    user: str
    clicks: str | None
    x: str | None
    y: str | None
    catch: str | None
    mobile: str | None
    time: str | None
    category: str | None


def find_columns(names: Sequence[str], file: str, category: str | None = None) -> Columns:
    """Recognise the columns by the names in use.

    Args:
        names: the table's columns (or arrays).
        file: the table, for messages.
        category: the column that `category_column` asks for.

    Raises:
        DataError: a needed column is missing, or one name stands twice; the message lists what
            was found.
    """
    found = ", ".join(f"'{name}'" for name in names) or "none"
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise DataError(f"{file}: the column '{double[0]}' stands twice; found: {found}.")

    def one_of(*wanted: str) -> str | None:
        return next((name for name in wanted if name in names), None)

    image, user = one_of(*_IMAGE), one_of(*_USER)
    clicks, x, y = one_of("clicks"), one_of("clickmap_x"), one_of("clickmap_y")
    missing = []
    if image is None:
        missing.append("image_path (or file_pointer)")
    if clicks is None and (x is None or y is None):
        missing.append("clicks (or clickmap_x and clickmap_y)")
    if user is None:
        missing.append("user_id")
    if category is not None and category not in names:
        missing.append(f"{category} (category_column)")
    if missing or image is None or user is None:
        raise DataError(f"{file}: no column {' and no '.join(missing)}; found: {found[:500]}.")
    return Columns(
        image=image,
        user=user,
        clicks=clicks,
        x=None if clicks else x,
        y=None if clicks else y,
        catch=one_of("user_catch_trial"),
        mobile=one_of("is_mobile"),
        time=one_of("timestamp"),
        category=category,
    )
