"""Routes for email verification and password reset."""

from fastapi import APIRouter

from app.auth.dependencies import ServicesDep
from app.auth.refresh_cookie import RefreshCookieDep
from app.auth.schemas.accounts import Done
from app.auth.schemas.email_links import EmailVerification, MailRequest, PasswordReset
from app.http.dependencies import RequestOriginDep
from app.http.errors import responses

router = APIRouter()


@router.post("/password/forgot", status_code=202, responses=responses(400, 413, 422))
async def forgot_password(request: MailRequest, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Send a password reset link to the address, if it has an account. The response does not reveal whether it has."""
    await services.email_links.request_email("reset_password", request.email, origin)
    return Done(message="If this address has an account, an email is sent to it.")


@router.post("/password/reset", responses=responses(400, 413, 422))
async def reset_password(
    reset: PasswordReset, services: ServicesDep, origin: RequestOriginDep, cookie: RefreshCookieDep
) -> Done:
    """Set a new password with the token of a reset link.

    All logins and API keys of the account end, and its address counts as verified.
    """
    await services.email_links.reset_password(reset.token, reset.new_password.get_secret_value(), origin)
    cookie.clear()
    return Done(message="Password changed. Log in with the new password.")


@router.post("/email/verify", responses=responses(400, 413, 422))
async def verify_email(verification: EmailVerification, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Verify the address of an account with the token of a verification link."""
    got_username = await services.email_links.verify_email(verification.token, origin)
    return Done(
        message="Address verified."
        if got_username
        else "Address verified. The user name is taken: log in with the address and choose another user name."
    )


@router.post("/email/verify/resend", status_code=202, responses=responses(400, 413, 422))
async def resend_verification(request: MailRequest, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Send another verification link, if the address has an unverified account.

    The response does not reveal whether it has.
    """
    await services.email_links.request_email("verify_email", request.email, origin)
    return Done(message="If this address has an account that is not verified, an email is sent to it.")
