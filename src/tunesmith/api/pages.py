"""Lists page by page: OpenAI's clients ask for what comes after the last item they have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from tunesmith.api.query import Order
from tunesmith.core.store import Store

Row = Mapping[str, Any]


def page(
    store: Store,
    table: sa.Table,
    chosen: Sequence[sa.ColumnElement[bool]],
    to_json: Callable[[Row], dict[str, Any]],
    *,
    after: str | None,
    limit: int,
    order: Order = "desc",
) -> dict[str, Any]:
    """The rows of a table that fit, by age, from behind the item `after`.

    `has_more` is exact: clients ask until it is false.  Behind an item that does not exist there is nothing.
    """
    seq = table.c.seq
    with store.reading() as connection:
        query = sa.select(table).where(*chosen)
        if after is not None:
            place = connection.execute(sa.select(seq).where(table.c.id == after, *chosen)).scalar()
            if place is None:
                return listing([])
            query = query.where(seq > place if order == "asc" else seq < place)
        query = query.order_by(seq.asc() if order == "asc" else seq.desc()).limit(limit + 1)
        rows = connection.execute(query).mappings().all()
    return listing([to_json(dict(row)) for row in rows[:limit]], has_more=bool(limit) and len(rows) > limit)


def listing(items: Sequence[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    """OpenAI's list object; its schema wants text for the ids of an empty one, too."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else ("", "")
    return {"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": has_more}
