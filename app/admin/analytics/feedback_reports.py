"""Feedback report: ratings of answers by time, model and reason."""

from typing import Any

from app.admin.analytics.report_fields import report_fields, share
from app.admin.analytics.time_ranges import MAX_ROWS, TimeRange
from app.admin.schemas.analytics import FeedbackFigures, FeedbackReport, FeedbackRow
from app.admin.schemas.analytics_queries import FeedbackQuery
from app.core.exceptions import InvalidFieldError
from app.database.connection import Database
from app.database.repositories.analytics import feedback_reports
from app.database.repositories.analytics.feedback_reports import FeedbackGroup, RatingCounts

_TOTAL = FeedbackGroup(None, None)


async def get_feedback_report(database: Database, query: FeedbackQuery, span: TimeRange) -> FeedbackReport:
    """Return the ratings in each bucket, in total or by group.

    Raises:
        InvalidFieldError: the report would have too many buckets or rows.

    """
    edges = span.edges(query.bucket)
    async with database.read_only() as session:
        counts = await feedback_reports.ratings_by_bucket(session, edges, query.group_by)
    totals = counts.pop(_TOTAL, RatingCounts())
    names = {group.name for group in counts} if query.group_by != "none" else {None}
    if (len(edges) - 1) * len(names) > MAX_ROWS:
        raise InvalidFieldError(
            "query.bucket", "too_many_rows", f"must not result in more than {MAX_ROWS} rows of groups and buckets"
        )
    rows = [
        FeedbackRow(start=start, end=end, group=name, **_figures(counts.get(FeedbackGroup(number, name))))
        for number, (start, end) in enumerate(span.local_buckets(edges))
        for name in sorted(names, key=lambda name: (name is None, name))
    ]
    return FeedbackReport(
        **report_fields(span),
        bucket=query.bucket,
        group_by=query.group_by,
        totals=FeedbackFigures(**_figures(totals)),
        rows=rows,
    )


def _figures(counts: RatingCounts | None) -> dict[str, Any]:
    """Return the fields of `FeedbackFigures`."""
    up, down = counts or RatingCounts()
    return {"ratings": up + down, "up": up, "down": down, "share_up": share(up, up + down) if up + down else None}
