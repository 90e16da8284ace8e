"""Errors that become HTTP responses, and the error of a failed start.

Services and repositories raise them; `app.http.errors` converts them to RFC 9457 problem documents. Clients see their
texts, so these contain neither texts of other exceptions nor input of the client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field: its dotted path, a stable code for programs, and a human-readable message."""

    field: str
    code: str
    message: str


class AppError(Exception):
    """Base class of expected errors. Each subclass has a status; `code` identifies the reason."""

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
        """Override the code and detail of the class.

        `errors` and `extra` become members of the problem document, `headers` are added to the response.
        """
        self.detail = detail or type(self).detail
        self.code = code or type(self).code
        self.errors = errors
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.code)


class BadRequestError(AppError):
    """The request conflicts with stored data (the specification requires 400 for a registered address)."""

    status = 400
    code = "bad_request"
    detail = "The request cannot be processed."


class UnauthorizedError(AppError):
    """The credentials are missing or invalid. The response is the same for all reasons."""

    status = 401
    code = "unauthorized"
    detail = "Could not validate credentials."

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        """Add the `WWW-Authenticate` header that RFC 9110, section 11.6.1, requires."""
        super().__init__(detail, code=code, headers={"WWW-Authenticate": "Bearer"})


class ForbiddenError(AppError):
    """The caller is authenticated but lacks the permission."""

    status = 403
    code = "forbidden"
    detail = "You do not have permission for this operation."


class NotFoundError(AppError):
    """The resource does not exist or belongs to another account; the response is the same."""

    status = 404
    code = "not_found"
    detail = "Not found."


class RequestTimeoutError(AppError):
    """The request was not received completely in time."""

    status = 408
    code = "request_timeout"
    detail = "The request was received too slowly."


class ConflictError(AppError):
    """The current state of the resource does not permit the operation."""

    status = 409
    code = "conflict"
    detail = "The resource is in use."


class RetryableError(AppError):
    """The same request may succeed later. The response has the header `Retry-After`."""

    retry_after: int
    """Default of the header, in seconds."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        code: str | None = None,
        retry_after: int | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Add the `Retry-After` header (RFC 9110, section 10.2.3), in seconds."""
        seconds = self.retry_after if retry_after is None else retry_after
        super().__init__(detail, code=code, headers={"Retry-After": str(seconds)}, extra=extra)


class TooManyRequestsError(RetryableError):
    """The client has exceeded a limit."""

    status = 429
    code = "too_many_requests"
    detail = "Too many requests."
    retry_after = 1


class UnprocessableError(AppError):
    """The request is well-formed but semantically invalid."""

    status = 422
    code = "unprocessable"
    detail = "The request cannot be processed in this form."


class InvalidFieldError(UnprocessableError):
    """A field is invalid for a reason that its schema cannot express. The response is that of a schema violation."""

    code = "validation_error"
    detail = "The request is not valid."

    def __init__(self, field: str, code: str, message: str) -> None:
        """Take the fields of a `FieldError`."""
        super().__init__(errors=(FieldError(field, code, message),))


class UnsupportedMediaTypeError(AppError):
    """The body has a media type that the operation does not accept."""

    status = 415
    code = "unsupported_media_type"
    detail = "The body must be JSON, with the header Content-Type: application/json."


class BadGatewayError(AppError):
    """The model's provider sent no response that can be used."""

    status = 502
    code = "bad_gateway"
    detail = "No model gave a usable answer."


class GatewayTimeoutError(AppError):
    """The model's provider did not respond in time."""

    status = 504
    code = "gateway_timeout"
    detail = "The model did not answer in time."


class ServiceUnavailableError(RetryableError):
    """A dependency of the service is unavailable."""

    status = 503
    code = "service_unavailable"
    detail = "The service is temporarily unavailable."
    retry_after = 2


class DatabaseUnavailableError(ServiceUnavailableError):
    """PostgreSQL refused or dropped the connection, or did not respond in time."""

    code = "database_unavailable"
    detail = "The database is temporarily unavailable."


class StatementTimeoutError(DatabaseUnavailableError):
    """PostgreSQL is available, and has cancelled a statement that took too long. Its transaction is rolled back."""

    code = "database_timeout"
    detail = "The database took too long for this request."


class OverloadedError(ServiceUnavailableError):
    """The process has more work than it can do in time. All parts of the system may be healthy."""

    code = "overloaded"
    detail = "Too many requests are in progress."
    retry_after = 1


class DatabaseBusyError(OverloadedError, DatabaseUnavailableError):
    """No connection of the pool, or no lock, became free in time, while PostgreSQL responds.

    Clients see an overload. Code that repeats operations while PostgreSQL is unavailable repeats these too.
    """


class StartupError(Exception):
    """The service cannot start. The message is a single line for the operator."""
