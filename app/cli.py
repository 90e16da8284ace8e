"""Command line for operators: `python -m app.cli --help`."""

import argparse
import asyncio
import getpass
import logging
import os
import sys
from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from app.auth import webhook_events
from app.auth.validators import EmailAddress, NewPassword, Username
from app.config import get_database_settings, get_llm_settings
from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.core.password_hashing import PasswordHasher
from app.database import migrations
from app.database.connection import Database
from app.database.repositories.accounts import credentials, users
from app.database.repositories.accounts.users import DuplicateUserError, NewUser
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox


def migrate(_arguments: argparse.Namespace) -> int:
    """Upgrade the database schema to the current revision."""
    migrations.upgrade(get_database_settings().DATABASE_URL)
    print("The schema is up to date.")
    return 0


def check_schema(_arguments: argparse.Namespace) -> int:
    """Compare the database schema with the models; exit with 1 if they differ."""
    difference = migrations.find_drift(get_database_settings().DATABASE_URL)
    print(difference or "The schema matches the models.")
    return 1 if difference else 0


def create_admin(arguments: argparse.Namespace) -> int:
    """Create an admin account. The password is read from ADMIN_PASSWORD or from a prompt."""
    password = os.environ.get("ADMIN_PASSWORD") or getpass.getpass("Password: ")
    try:
        email = TypeAdapter(EmailAddress).validate_python(arguments.email)
        username = TypeAdapter(Username).validate_python(arguments.username)
        new_password = TypeAdapter(NewPassword).validate_python(password)
    except ValidationError as error:
        print(error.errors(include_input=False)[0]["msg"].removeprefix("Value error, "), file=sys.stderr)
        return 2
    return asyncio.run(_create_admin(email, username, new_password.get_secret_value()))


async def _create_admin(email: str, username: str, password: str) -> int:
    database = Database.from_settings(get_database_settings(), application_name="cli")
    password_hash = await PasswordHasher(concurrency=1).hash(password)
    try:
        async with database.transaction() as session:
            admin = await users.create(
                session,
                NewUser(
                    email=email,
                    username=username,
                    password_hash=password_hash,
                    role="admin",
                    is_verified=True,  # confirmed by the operator
                ),
            )
            entry = NewAuditEntry("user.registered", target=admin.uuid, details={"role": "admin", "by": "command line"})
            await audit_log.record(session, entry, RequestOrigin(ip=None, user_agent=None, request_id=None))
            await event_outbox.emit(session, webhook_events.user_registered(admin))
    except DuplicateUserError as error:
        async with database.autocommit() as connection:
            existing = await credentials.find_by_login(connection, email)
        if existing is not None and existing.role == "admin":
            print(f"{email} is already an admin; nothing was changed.")
            return 0
        print(f"An account with this {error.field} already exists.", file=sys.stderr)
        return 1
    finally:
        await database.close()
    print(f"Created the admin {email}.")
    return 0


def doctor(_arguments: argparse.Namespace) -> int:
    """Ask each configured model one question, plain and streamed; exit with 1 if one does not answer."""
    settings = get_llm_settings()
    # Not at the top: the other commands start without the client of the models.
    from app.services.llm.doctor import examine  # noqa: PLC0415

    logging.disable()  # what the log would say is printed
    changes: dict[str, dict[str, str | None]] = {}

    async def ask() -> bool:
        is_healthy = True
        async for finding in examine(settings, changes):
            print(finding, flush=True)
            is_healthy = is_healthy and finding.error is None
        return is_healthy

    is_healthy = asyncio.run(ask())
    for model, parameters in changes.items():
        for name, replacement in parameters.items():
            print(f"{model}: {name}: {f'sent as {replacement}' if replacement else 'not sent'}, as the model requires")
    return 0 if is_healthy else 1


def main() -> int:
    """Parse the arguments, run a command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.cli", description="Operates the Chat Bot System.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        subparser.set_defaults(command=command)
        return subparser

    add_command("migrate", migrate)
    add_command("check-schema", check_schema)
    admin = add_command("create-admin", create_admin)
    admin.add_argument("--email", required=True)
    admin.add_argument("--username", required=True)

    add_command("doctor", doctor)

    arguments = parser.parse_args()
    try:
        return int(arguments.command(arguments))
    except DatabaseUnavailableError:
        print("PostgreSQL is unreachable or refuses the connection: check DATABASE_URL.", file=sys.stderr)
        return 1
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
