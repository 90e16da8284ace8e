"""Statements on the driver itself do what SQLAlchemy's own execution does."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Integer, Interval, Uuid, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from app.database.connection import Database
from app.database.driver import Statement, fetch, fetch_one
from app.database.models import User

_EVERYTHING = Statement(
    select(
        bindparam("p_uuid", type_=Uuid).label("uuid"),
        bindparam("p_meta", type_=JSONB).label("meta"),
        bindparam("p_pause", type_=Interval).label("pause"),
        # Its place in the statement is before one that was used already.
        literal("constant").label("constant"),
        bindparam("p_uuid", type_=Uuid).label("again"),
        bindparam("p_nothing", type_=Integer).label("nothing"),
    )
)


async def test_values_go_and_come_like_those_of_sqlalchemy(pool: Database) -> None:
    values = {"p_uuid": uuid4(), "p_meta": {"a": ["ä", None]}, "p_pause": timedelta(seconds=1.5), "p_nothing": None}
    async with pool.driver_connection() as driver, pool.autocommit() as connection:
        on_the_driver, by_sqlalchemy = (
            await fetch_one(driver, _EVERYTHING, values),
            await fetch_one(connection, _EVERYTHING, values),
        )
    assert on_the_driver is not None
    assert by_sqlalchemy is not None
    assert dict(on_the_driver) == dict(by_sqlalchemy)
    assert list(on_the_driver.values()) == [
        values["p_uuid"],
        values["p_meta"],
        values["p_pause"],
        "constant",
        values["p_uuid"],
        None,
    ]


async def test_there_may_be_many_rows_or_none(pool: Database) -> None:
    numbers = Statement(select(func.generate_series(1, bindparam("p_last", type_=Integer)).label("number")))
    async with pool.driver_connection() as driver:
        assert [row["number"] for row in await fetch(driver, numbers, {"p_last": 3})] == [1, 2, 3]
        assert await fetch_one(driver, numbers, {"p_last": 0}) is None


def test_a_list_whose_length_is_not_known_is_refused() -> None:
    with pytest.raises(TypeError):
        Statement(select(User.id).where(User.role.in_(bindparam("p_roles", expanding=True))))
