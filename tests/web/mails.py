"""Links in the emails of the local stack."""

import re

from local.stack import Stack
from tests.fixtures.mail import read_mail
from tests.support.waiting import wait_until


def link_from_mail(stack: Stack, recipient: str, subject: str) -> str:
    """Wait for an email, and return the path and fragment of the link in it."""
    directory = stack.mail_directory
    assert directory is not None

    def bodies() -> list[str]:
        mails = map(read_mail, sorted(directory.glob("*.eml"), reverse=True))
        return [mail.get_content() for mail in mails if mail["To"] == recipient and subject in mail["Subject"]]

    wait_until(bodies)
    match = re.search(rf"{re.escape(stack.url)}(/\S+)", bodies()[0])
    assert match is not None
    return match[1]
