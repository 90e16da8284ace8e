"""Statements executed on the driver return what SQLAlchemy returns."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Integer, Interval, Uuid, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from app.database.connection import Database
from app.database.models import User
from app.database.statements import Statement, fetch, fetch_one

_ALL_TYPES = Statement(
    select(
        bindparam("p_uuid", type_=Uuid).label("uuid"),
        bindparam("p_meta", type_=JSONB).label("meta"),
        bindparam("p_pause", type_=Interval).label("pause"),
        # Its placeholder precedes one that is used twice.
        literal("constant").label("constant"),
        bindparam("p_uuid", type_=Uuid).label("again"),
        bindparam("p_nothing", type_=Integer).label("nothing"),
    )
)


async def test_parameters_and_results_equal_those_of_sqlalchemy(pool: Database) -> None:
    values = {"p_uuid": uuid4(), "p_meta": {"a": ["ä", None]}, "p_pause": timedelta(seconds=1.5), "p_nothing": None}
    async with pool.driver_connection() as driver, pool.autocommit() as connection:
        from_driver, from_sqlalchemy = (
            await fetch_one(driver, _ALL_TYPES, values),
            await fetch_one(connection, _ALL_TYPES, values),
        )
    assert from_driver is not None
    assert from_sqlalchemy is not None
    assert dict(from_driver) == dict(from_sqlalchemy)
    assert list(from_driver.values()) == [
        values["p_uuid"],
        values["p_meta"],
        values["p_pause"],
        "constant",
        values["p_uuid"],
        None,
    ]


async def test_fetch_returns_all_rows_and_fetch_one_none_without_rows(pool: Database) -> None:
    numbers = Statement(select(func.generate_series(1, bindparam("p_last", type_=Integer)).label("number")))
    async with pool.driver_connection() as driver:
        assert [row["number"] for row in await fetch(driver, numbers, {"p_last": 3})] == [1, 2, 3]
        assert await fetch_one(driver, numbers, {"p_last": 0}) is None


def test_an_expanding_in_list_is_refused() -> None:
    with pytest.raises(TypeError):
        Statement(select(User.id).where(User.role.in_(bindparam("p_roles", expanding=True))))
