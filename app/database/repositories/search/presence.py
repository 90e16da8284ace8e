"""Existence of documents that match a query, for many queries at once."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

# Materialized: with the LIMIT alone, PostgreSQL would expect the first match soon, and read the table instead of the
# index. Rows are still read until the first visible one only.
_FIND = text("""
    SELECT queries.number
    FROM unnest(CAST(:queries AS text[])) WITH ORDINALITY AS queries (query, number)
    CROSS JOIN LATERAL (
        WITH matching AS MATERIALIZED (SELECT 1 FROM search_documents WHERE terms @@ CAST(queries.query AS tsquery))
        SELECT 1 FROM matching LIMIT 1
    ) AS found
""").bindparams(bindparam("queries", type_=ARRAY(Text)))


async def find_present(connection: AsyncConnection, queries: Sequence[str]) -> set[int]:
    """Return the positions of the queries, in the text form of `tsquery`, that any document matches."""
    if not queries:
        return set()
    return {number - 1 for number in await connection.scalars(_FIND, {"queries": list(queries)})}
