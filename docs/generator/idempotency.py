"""What happens if a POST without idempotency key is repeated, by the id of the operation."""

from collections.abc import Mapping

_SAME = "idempotent: a repetition changes nothing"

_KEY = "with an `Idempotency-Key` the first response is returned again; otherwise the model is asked again"

IDEMPOTENCY: Mapping[str, str] = {
    "archive_sessions": _SAME + ", with `changed` 0",
    "cancel_message": _SAME,
    "create_chat_completion": _KEY,
    "create_api_key": "creates another key; delete one of both",
    "create_webhook": "creates another endpoint; delete one of both",
    "delete_sessions": "idempotent: deleted sessions are in `not_found`",
    "forgot_password": "sends another link, at most [3 in a period](authentication.md#links-in-emails); all links work "
    "until one is used",
    "import_sessions": "idempotent: conversations that are stored already are reported as `already_imported`",
    "invite_user": "sends another invitation, which replaces the first one; after 3 in a period, gets 429",
    "login": "opens another login",
    "logout": "gets 401: the login has ended. With `X-Refresh-Transport: cookie` it gets the same response",
    "logout_all": "gets 401: the logins have ended",
    "read_session": "reads the session again, and is recorded in the audit log again",
    "redeliver_webhook": "schedules one delivery; while it is pending, 409 `delivery_pending`",
    "refresh": "idempotent until the new refresh token is used: the response has the same refresh token",
    "register": "gets 400 `already_registered`; where addresses must be verified, the same 202; with an invitation 400 "
    "`invalid_token`, because it is used up",
    "resend_verification": "sends another link, at most [3 in a period](authentication.md#links-in-emails); all links "
    "work until one is used",
    "reset_password": "gets 400 `invalid_token`: the token is used up",
    "rotate_webhook_secret": "creates another secret; the earlier ones sign until their `grace_hours` end",
    "send_password_reset": "sends another link; after 3 in a period, gets 429",
    "share_session": "takes another snapshot. With `keep_link` the link stays; otherwise only the last one works",
    "test_webhook": "sends another event",
    "verify_email": "gets 400 `invalid_token`: the token is used up",
}
