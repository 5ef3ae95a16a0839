"""How raters are called: a name can change, and two can be swapped; the id that ratings carry stays."""

from sqlalchemy import Connection, func, insert, select

from ftlab.errors import RatingError
from ftlab.ratings import schema as t
from ftlab.ratings.clean import clean
from ftlab.ratings.storage.database import utc_now

_CHARACTERS = 200


def rename(connection: Connection, rater: str, name: str) -> None:
    """Calls the rater of this id `name` from now on; every earlier name is kept. RatingError if unknown."""
    if not isinstance(name, str) or not name.strip() or len(name) > _CHARACTERS:
        raise RatingError(f"a rater has a name of 1 to {_CHARACTERS} characters, not {str(name)[:80]!r}")
    known = select(t.rater.c.rater_id).where(t.rater.c.rater_id == rater)
    if connection.execute(known).first() is None:
        raise RatingError(f"there is no rater {str(rater)[:80]!r} in this store")
    seq = (connection.execute(select(func.max(t.alias.c.seq))).scalar() or 0) + 1
    connection.execute(
        insert(t.alias).values(seq=seq, rater_id=rater, name=clean(name).text, created_utc=utc_now())
    )


def names(connection: Connection) -> dict[str, str]:
    """How each rater is called now, by id: the newest name, or the id itself."""
    called = {rater: rater for rater in connection.execute(select(t.rater.c.rater_id)).scalars()}
    wanted = select(t.alias.c.rater_id, t.alias.c.name).order_by(t.alias.c.seq)
    return called | {row.rater_id: row.name for row in connection.execute(wanted)}
