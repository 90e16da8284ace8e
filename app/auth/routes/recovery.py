"""By mail: verifying an address, and choosing a new password."""

from fastapi import APIRouter

from app.auth.dependencies import ServicesDep
from app.auth.schemas.accounts import Done
from app.auth.schemas.recovery import EmailVerification, MailRequest, PasswordReset
from app.http.dependencies import RequestOriginDep
from app.http.errors import responses

router = APIRouter()


@router.post("/password/forgot", status_code=202, responses=responses(400, 413, 422))
async def forgot_password(wanted: MailRequest, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Have a link for choosing a new password sent to the address, if it has an account. The answer never tells."""
    await services.recovery.ask_for_mail("reset_password", wanted.email, origin)
    return Done(message="If this address has an account, a mail is on its way.")


@router.post("/password/reset", responses=responses(400, 413, 422))
async def reset_password(reset: PasswordReset, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Choose a new password by a link from a mail. All logins of the account end, and its address is verified."""
    await services.recovery.reset_password(reset.token, reset.new_password.get_secret_value(), origin)
    return Done(message="Password changed. Log in with the new one.")


@router.post("/email/verify", responses=responses(400, 413, 422))
async def verify_email(verification: EmailVerification, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Verify the address of an account by a link from a mail."""
    has_its_name = await services.recovery.verify_email(verification.token, origin)
    return Done(
        message="Address verified."
        if has_its_name
        else "Address verified. The user name is taken: log in with the address, and choose another name."
    )


@router.post("/email/verify/resend", status_code=202, responses=responses(400, 413, 422))
async def resend_verification(wanted: MailRequest, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Have the link for verifying the address sent again, if an account needs it. The answer never tells."""
    await services.recovery.ask_for_mail("verify_email", wanted.email, origin)
    return Done(message="If this address has an account that is not verified, a mail is on its way.")
