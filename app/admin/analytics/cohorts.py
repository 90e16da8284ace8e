"""Who came back."""

from app.admin.analytics.report_fields import report_fields, share
from app.admin.analytics.time_ranges import TimeRange
from app.admin.schemas.analytics import RetentionReport, RetentionRow
from app.admin.schemas.analytics_queries import RetentionQuery
from app.core.exceptions import InvalidFieldError
from app.database.connection import Database
from app.database.repositories.analytics import cohorts
from app.database.repositories.analytics.cohorts import CohortActivity

_MAX_COHORTS = 60


async def retention_report(database: Database, query: RetentionQuery, span: TimeRange) -> RetentionReport:
    """Return how many of those who registered in the same week or month were active then, and in each later one.

    The first cohort is a whole one: the range begins with it.

    Raises:
        InvalidFieldError: there would be too many cohorts.

    """
    span = span.from_beginning_of(query.cohort)
    edges = span.edges(query.cohort)
    if len(edges) > _MAX_COHORTS + 1:
        raise InvalidFieldError(
            "query.cohort", "too_many_cohorts", f"must not make more than {_MAX_COHORTS} cohorts of the range"
        )
    async with database.read_only() as session:
        found = {(row.cohort, row.period): row for row in await cohorts.read_activity(session, edges)}
    buckets = span.local_buckets(edges)
    rows = []
    for cohort, (start, end) in enumerate(buckets):
        for period in range(cohort, len(buckets)):
            row = found.get((cohort, period), CohortActivity(cohort, period, 0, 0))
            rows.append(
                RetentionRow(
                    cohort_start=start,
                    cohort_end=end,
                    users=row.users,
                    period=period - cohort,
                    period_start=buckets[period][0],
                    period_end=buckets[period][1],
                    active=row.active,
                    share=share(row.active, row.users),
                )
            )
    return RetentionReport(**report_fields(span), cohort=query.cohort, rows=rows)
