"""Check of the `.env` file before it is read: its reader reports neither the file nor the reason."""

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


def check_env_file(file: Path) -> None:
    """Check that a file, if it exists, is text in UTF-8 with one `NAME=value` in each line that is no comment.

    Raises:
        ValueError: it is not; the message is one line with the name of the file.

    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return
    except UnicodeDecodeError:
        text = "\0"
    except OSError:
        raise ValueError(f"{file.name}: cannot be read") from None
    if "\0" in text:  # as in UTF-16
        raise ValueError(f"{file.name}: is not text in UTF-8; save the file in this encoding")
    # The reader leaves out what it does not understand, such as a value whose second quote is missing.
    for statement in parse_stream(StringIO(text)):
        if statement.error:
            raise ValueError(f"{file.name}: line {statement.original.line} is not NAME=value, or a quote is missing")
