"""The transport that writes emails to a directory."""

import asyncio
from pathlib import Path

import pytest

from app.services.email.transport import Email, FileTransport
from tests.services.email.smtp_server import MAIL, SENDER, assert_refused, parse_message


async def test_files_are_complete_private_and_sorted_by_time(tmp_path: Path) -> None:
    directory = tmp_path / "mail"
    transport = FileTransport(directory, sender=SENDER, max_seconds=60)
    await asyncio.gather(*(transport.send(MAIL) for _ in range(20)))
    await transport.send(Email(MAIL.recipient, "The last", "x\n"))
    files = sorted(directory.iterdir())
    assert len(files) == 21
    assert {file.suffix for file in files} == {".eml"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert parse_message(files[-1].read_bytes())["Subject"] == "The last"


async def test_an_unwritable_directory_is_temporary(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    await assert_refused(FileTransport(tmp_path / "mail", sender=SENDER, max_seconds=60), is_permanent=False)


async def test_an_incomplete_file_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "replace", fail)
    await assert_refused(FileTransport(tmp_path, sender=SENDER, max_seconds=60), is_permanent=False)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - one look at an empty directory
