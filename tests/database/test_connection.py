"""URLs as the two drivers want them."""

import pytest

from app.database.connection import async_url, sync_url


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_tls_is_asked_of_each_driver_in_its_own_words(mode: str) -> None:
    given = f"postgresql://u:p@h:5433/d?sslmode={mode}"
    url, arguments = async_url(given)
    assert (url.render_as_string(hide_password=False), arguments) == (
        "postgresql+asyncpg://u:p@h:5433/d",
        {"ssl": mode},
    )
    assert sync_url(given).query == {"sslmode": mode}


def test_a_unix_socket_stays_in_the_url() -> None:
    url, arguments = async_url("postgresql://u@/d?host=%2Ftmp%2Fs")
    assert (url.query, arguments) == ({"host": "/tmp/s"}, {})  # noqa: S108 - nothing is opened
