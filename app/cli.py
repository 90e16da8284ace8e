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
from app.auth.email_policy import EmailPolicy
from app.auth.validators import NewEmailAddress, NewPassword, Username
from app.config import (
    get_database_settings,
    get_llm_settings,
    get_migration_url,
    get_registration_settings,
    get_web_settings,
)
from app.config.origins import nginx_map_entries
from app.config.secret_files import environment_secret
from app.core.exceptions import DatabaseUnavailableError, StartupError, StatementTimeoutError
from app.core.password_hashing import PasswordHasher
from app.database import derived_forms, migrations, service_role
from app.database.connection import Database
from app.database.driver_errors import translate_driver_errors
from app.database.repositories.accounts import credentials, users
from app.database.repositories.accounts.users import DuplicateUserError, NewUser
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox
from app.observability.exception_text import install_excepthook


def migrate(_arguments: argparse.Namespace) -> int:
    """Upgrade the database schema to the current revision, and grant the rights of the role of the services."""
    owner_url = get_migration_url()
    migrations.upgrade(owner_url)
    with translate_driver_errors():
        service_role.grant_rights(owner_url, get_database_settings().DATABASE_URL)
    # Also of rows that the previous release has written since the revision that determined them.
    collisions = derived_forms.fill_database(owner_url)
    print("The schema is up to date.")
    if collisions:
        print(f"Accounts that collide with others: {len(collisions)}. List them with account-collisions.")
    return 0


def list_account_collisions(_arguments: argparse.Namespace) -> int:
    """List accounts whose address or user name has the canonical form of another account's; exit with 1 if any."""
    collisions = derived_forms.fill_database(get_migration_url())
    for collision in collisions:
        print(f"{collision}: {collision.value}")
    if not collisions:
        print("No accounts collide.")
    return 1 if collisions else 0


def check_schema(_arguments: argparse.Namespace) -> int:
    """Compare the database schema with the models; exit with 1 if they differ."""
    difference = migrations.find_drift(get_migration_url())
    print(difference or "The schema matches the models.")
    return 1 if difference else 0


def print_gateway_origins(_arguments: argparse.Namespace) -> int:
    """Print the origins of CORS_ORIGINS for the gateway, as a file in cors-origins/ beside nginx.conf."""
    print(nginx_map_entries(get_web_settings().CORS_ORIGINS), end="")
    return 0


def create_admin(arguments: argparse.Namespace) -> int:
    """Create an admin account. The password is read from ADMIN_PASSWORD, ADMIN_PASSWORD_FILE or a prompt.

    With `--first`, which starts of the system use, it is created only if there has never been an admin. What became of
    the first one stops no start: whether its account exists does not matter then.
    """
    if arguments.first and asyncio.run(_has_had_admin()):
        print("There is an admin, or there has been one; nothing was changed.")
        return 0
    try:
        password = environment_secret(os.environ, "ADMIN_PASSWORD") or getpass.getpass("Password: ")
    except ValueError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return 2
    try:
        email = TypeAdapter(NewEmailAddress).validate_python(arguments.email)
        username = TypeAdapter(Username).validate_python(arguments.username)
        new_password = TypeAdapter(NewPassword).validate_python(password)
    except ValidationError as error:
        print(error.errors(include_input=False)[0]["msg"].removeprefix("Value error, "), file=sys.stderr)
        return 2
    if not EmailPolicy(get_registration_settings().EMAIL_LOCAL_DOMAINS).accepts(email):
        print("must be at a domain of the internet, or of EMAIL_LOCAL_DOMAINS", file=sys.stderr)
        return 2
    return asyncio.run(_create_admin(email, username, new_password.get_secret_value(), is_first=arguments.first))


async def _has_had_admin() -> bool:
    database = Database.from_settings(get_database_settings(), application_name="cli")
    try:
        async with database.read_only() as session:
            return await users.has_had_admin(session)
    finally:
        await database.close()


async def _create_admin(email: str, username: str, password: str, *, is_first: bool) -> int:
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
        print(f"An account with this {error.field} already exists; nothing was changed.", file=sys.stderr)
        return 0 if is_first else 1
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


def chat(arguments: argparse.Namespace) -> int:
    """Chat in the terminal, through the HTTP API. The answers are streamed, and resumed if the connection is cut."""
    # Not at the top: the other commands start without the client and the terminal library.
    from app.terminal_chat import ChatError  # noqa: PLC0415
    from app.terminal_chat import chat as run  # noqa: PLC0415

    try:
        return run(
            arguments.url,
            username=arguments.username,
            session=arguments.session,
            model=arguments.model,
            message=" ".join(arguments.message) or None,
            as_json=arguments.json,
        )
    except ChatError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def main() -> int:
    """Parse the arguments, run a command and return its exit code."""
    install_excepthook()
    parser = argparse.ArgumentParser(prog="python -m app.cli", description="Operates the Chat Bot System.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(name: str, command: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        subparser.set_defaults(command=command)
        return subparser

    add_command("migrate", migrate)
    add_command("check-schema", check_schema)
    add_command("account-collisions", list_account_collisions)
    add_command("gateway-origins", print_gateway_origins)
    admin = add_command("create-admin", create_admin)
    admin.add_argument("--email", required=True)
    admin.add_argument("--username", required=True)
    admin.add_argument(
        "--first", action="store_true", help="only if there has never been an admin; otherwise the exit code is 0, too"
    )

    add_command("doctor", doctor)
    terminal = add_command("chat", chat)
    terminal.add_argument("message", nargs="*", help="one question; without it, questions are typed")
    terminal.add_argument("--url", default="http://localhost:8080", help="URL of the gateway")
    terminal.add_argument("--username", help="log in; the password is CHAT_PASSWORD or asked for")
    terminal.add_argument("--session", help="continue this session; without it, a new one is created")
    terminal.add_argument("--model", help="model of a new session")
    terminal.add_argument("--json", action="store_true", help="print each answer as one line of JSON")

    arguments = parser.parse_args()
    try:
        return int(arguments.command(arguments))
    except StatementTimeoutError:
        print("PostgreSQL has cancelled a statement that took too long: check `statement_timeout`.", file=sys.stderr)
        return 1
    except DatabaseUnavailableError:
        print(
            "PostgreSQL is unreachable or refuses the connection: check DATABASE_URL and MIGRATION_DATABASE_URL.",
            file=sys.stderr,
        )
        return 1
    except StartupError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
