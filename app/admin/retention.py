"""Who came back."""

from app.admin.figures import heading, share
from app.admin.ranges import Range, buckets_of, refusal
from app.admin.schemas.analytics import RetentionReport, RetentionRow
from app.admin.schemas.queries import RetentionQuery
from app.database.connection import Database
from app.database.repositories import retention
from app.database.repositories.retention import Activity

_MAX_COHORTS = 60


async def show(database: Database, query: RetentionQuery, of: Range) -> RetentionReport:
    """Return how many of those who registered in the same week or month were active then, and in each later one.

    The first cohort is a whole one: the range begins with it.

    Raises:
        UnprocessableError: there would be too many cohorts.

    """
    of = of.from_beginning_of(query.cohort)
    edges = of.edges(query.cohort)
    if len(edges) > _MAX_COHORTS + 1:
        raise refusal("cohort", "too_many_cohorts", f"must not make more than {_MAX_COHORTS} cohorts of the range")
    async with database.reading() as session:
        found = {(row.cohort, row.period): row for row in await retention.read(session, edges)}
    spans = buckets_of(list(map(of.local, edges)))
    rows = []
    for cohort, (start, end) in enumerate(spans):
        for period in range(cohort, len(spans)):
            row = found.get((cohort, period), Activity(cohort, period, 0, 0))
            rows.append(
                RetentionRow(
                    cohort_start=start,
                    cohort_end=end,
                    users=row.users,
                    period=period - cohort,
                    period_start=spans[period][0],
                    period_end=spans[period][1],
                    active=row.active,
                    share=share(row.active, row.users),
                )
            )
    return RetentionReport(**heading(of), cohort=query.cohort, rows=rows)
