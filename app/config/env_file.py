"""Check of the `.env` file before it is read: its reader reports neither the file nor the reason."""

from pathlib import Path


def check_env_file(file: Path) -> None:
    """Check that a file, if it exists, is text in UTF-8.

    Raises:
        ValueError: it is not; the message is one line with the name of the file.

    """
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        text = "\0"
    except OSError:
        raise ValueError(f"{file.name}: cannot be read") from None
    if "\0" in text:  # as in UTF-16
        raise ValueError(f"{file.name}: is not text in UTF-8; save the file in this encoding")
