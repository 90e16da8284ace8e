"""The one hierarchy of errors that become an answer to the client.

Services and repositories raise these; `app.http.errors` turns them into RFC 9457 problems. What they say is
written for the client: never an exception's text, never the client's own input.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: `field` is a dotted path, `code` is stable, `message` is for people."""

    field: str
    code: str
    message: str


class AppError(Exception):
    """An expected refusal. Subclasses fix the status; `code` tells clients which of its reasons applies."""

    status: ClassVar[int]
    code: str
    detail: str

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        errors: tuple[FieldError, ...] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Override the class's texts; `extra` adds members to the problem document, `headers` to the response."""
        self.detail = detail or type(self).detail
        self.code = code or type(self).code
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.code)


class BadRequestError(AppError):
    """The request contradicts what is already stored (the specification's 400 for a taken address)."""

    status = 400
    code = "bad_request"
    detail = "The request cannot be processed."


class UnauthorizedError(AppError):
    """One answer for every bad credential, so that it tells an attacker nothing."""

    status = 401
    code = "unauthorized"
    detail = "Could not validate credentials."

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        """RFC 9110, section 11.6.1: a 401 names the scheme."""
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(AppError):
    """The caller is known and may not."""

    status = 403
    code = "forbidden"
    detail = "You may not do this."


class NotFoundError(AppError):
    """It does not exist, or it is somebody else's: the answer is the same."""

    status = 404
    code = "not_found"
    detail = "Not found."


class ConflictError(AppError):
    """The resource is in a state that forbids the action now."""

    status = 409
    code = "conflict"
    detail = "The resource is in use."


class TooManyRequestsError(AppError):
    """The client has done this too often. It may again after `Retry-After` seconds."""

    status = 429
    code = "too_many_requests"
    detail = "Too many requests."

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after: int,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """RFC 6585, section 4."""
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)}, extra=extra)


class UnprocessableError(AppError):
    """The request is well-formed, and cannot be meant so."""

    status = 422
    code = "unprocessable"
    detail = "The request cannot be processed as it is."


class InvalidFieldError(UnprocessableError):
    """One field that its schema lets pass is wrong all the same. The answer is as for those that it does not."""

    code = "validation_error"
    detail = "The request is not valid."

    def __init__(self, field: str, code: str, message: str) -> None:
        """See `FieldError`."""
        super().__init__(errors=(FieldError(field, code, message),))


class ServiceUnavailableError(AppError):
    """Something the service needs is away. The client should come back after `Retry-After` seconds."""

    status = 503
    code = "service_unavailable"
    detail = "The service is temporarily unavailable."

    def __init__(self, detail: str | None = None, *, code: str | None = None, retry_after: int = 2) -> None:
        """RFC 9110, section 10.2.3: `Retry-After` in seconds."""
        super().__init__(detail, code=code, headers={"Retry-After": str(retry_after)})


class DatabaseUnavailableError(ServiceUnavailableError):
    """PostgreSQL refused, dropped or did not answer in time."""

    code = "database_unavailable"
    detail = "The database is temporarily unavailable."


class StartupError(Exception):
    """The service must not start. Its text, one line, is what the operator sees."""
