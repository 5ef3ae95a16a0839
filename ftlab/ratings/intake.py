"""Rows on their way in: checked before the store is locked, and stored all or none."""

from collections.abc import Iterable, Mapping
from typing import Any

from ftlab.ratings import batches, queue
from ftlab.ratings.batches import Settings
from ftlab.ratings.storage.database import Database
from ftlab.ratings.tasks import Added, Item, Leak, Refused, check_row


def take(
    database: Database,
    rows: Iterable[Mapping[str, Any]],
    batch: str,
    *,
    mode: str | None,
    instructions: str,
    seed: str | None,
    settings: Settings | None,
    otherwise: Settings,
) -> Added:
    """See `Ratings.add`. `otherwise`: the settings of a batch that is made here, where `settings` is None."""
    name = queue.name(batch, "batch")
    batches.check_mode(mode)
    with database.reading() as connection:
        known = batches.find(connection, name)
    how = mode or (known.mode if known else "pair")
    checked = [check_row(row, index, how) for index, row in enumerate(rows)]
    items = [item for item in checked if isinstance(item, Item)]
    with database.writing() as connection:
        made, version = batches.open_batch(
            connection,
            name,
            mode=how,
            instructions=instructions,
            seed=seed,
            settings=settings,
            otherwise=otherwise,
        )
        count = queue.store_items(connection, items, made, version)
    refused = tuple(item for item in checked if isinstance(item, Refused))
    named = [(row, item.leaks()) for row, item in enumerate(checked) if isinstance(item, Item)]
    leaked = tuple(Leak(row, names) for row, names in named if names)
    return Added(count, refused, len(items) - count, leaked)
