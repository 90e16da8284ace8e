"""Cohort retention report."""

from app.admin.analytics.report_fields import report_fields, share
from app.admin.analytics.time_ranges import TimeRange
from app.admin.schemas.analytics import RetentionReport, RetentionRow
from app.admin.schemas.analytics_queries import RetentionQuery
from app.core.exceptions import InvalidFieldError
from app.database.connection import Database
from app.database.repositories.analytics import cohorts
from app.database.repositories.analytics.cohorts import CohortActivity

_MAX_COHORTS = 60


async def get_retention_report(database: Database, query: RetentionQuery, span: TimeRange) -> RetentionReport:
    """Return the activity of each weekly or monthly cohort in its own period and in each later one.

    The range is extended to the start of its first week or month, so that the first cohort is complete.

    Raises:
        InvalidFieldError: the range contains more than `_MAX_COHORTS` cohorts.

    """
    span = span.extended_to_start_of(query.cohort)
    edges = span.edges_within(query.cohort, _MAX_COHORTS)
    if edges is None:
        raise InvalidFieldError(
            "query.cohort", "too_many_cohorts", f"must not divide the range into more than {_MAX_COHORTS} cohorts"
        )
    async with database.read_only() as session:
        activity = {(row.cohort, row.period): row for row in await cohorts.read_activity(session, edges)}
    buckets = span.local_buckets(edges)
    rows = []
    for cohort, (start, end) in enumerate(buckets):
        for period in range(cohort, len(buckets)):
            row = activity.get((cohort, period), CohortActivity(cohort, period, 0, 0))
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
