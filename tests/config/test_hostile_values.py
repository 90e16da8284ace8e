"""Values as people paste them, for every setting: accepted in their clean form, or refused in one line without them."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.config import (
    ConfigurationError,
    Settings,
    get_database_settings,
    get_llm_settings,
    get_migration_url,
    get_registration_settings,
    get_settings,
    get_web_settings,
)
from app.config.secret_files import SUFFIX, secret_names
from tests.config.test_settings import CANARY, GOOD

KEYS = {
    "SECRET_KEY": CANARY * 4,
    "SECRET_KEY_PREVIOUS": CANARY * 5,
    "OPENAI_API_KEY": f"sk-{CANARY}",
    "REDIS_PASSWORD": CANARY,
    "WEBHOOK_SECRET": f"whsec_{'Y2FuYXJ5' * 6}",
}
URLS = {
    "DATABASE_URL": f"postgresql://u:{CANARY}@h/d",
    "MIGRATION_DATABASE_URL": f"postgresql://u:{CANARY}@h/d",
    "REDIS_URL": f"redis://:{CANARY}@h/1",
    "OPENAI_BASE_URL": f"https://h/{CANARY}/v1",
    "MAIL_URL": f"smtp://u:{CANARY}@h",
    "PUBLIC_URL": f"https://h/{CANARY}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://h/{CANARY}",
}
TEXTS = {
    "PROJECT_NAME": CANARY,
    "VERSION": CANARY,
    "MAIL_FROM": f"{CANARY} <a@b.example>",
    "WORKER_METRICS_HOST": CANARY,
    "LLM_MODEL": CANARY,
    "LLM_FALLBACK_MODEL": CANARY,
    "LOG_FORMAT": f"{CANARY} %(message)s",
    "API_V1_STR": f"/{CANARY}",
}
MULTILINE = ["LLM_SYSTEM_PROMPT", "LOGIN_NOTICE"]
LISTS = ["CORS_ORIGINS", "EMAIL_LOCAL_DOMAINS", "WEBHOOK_ALLOWED_HOSTS", "LLM_MODELS", "LLM_PROVIDERS"]
CHOICES = ["ALGORITHM", "REGISTRATION", "LOG_LEVEL", "DATABASE_POOL_MODE", "LLM_CACHE_SCOPE"]
NUMBERS = {
    name: str(field.default)
    for name, field in Settings.model_fields.items()
    if isinstance(field.default, int | float | Decimal) and not isinstance(field.default, bool)
}
FLAGS = {name: "true" for name, field in Settings.model_fields.items() if isinstance(field.default, bool)}
ONE_LINE = KEYS | URLS | TEXTS | NUMBERS | FLAGS

SURROUNDED: dict[str, Callable[[str], str]] = {
    "blanks": lambda value: f"  {value} \t",
    "no-break space": lambda value: f"\N{NO-BREAK SPACE}{value}",
    "line end": lambda value: f"{value}\r\n",
}
DAMAGED: dict[str, Callable[[str], str]] = {
    "line break": lambda value: f"{value[:3]}\n{value[3:]}",
    "carriage return": lambda value: f"{value[:3]}\r{value[3:]}",
    "control character": lambda value: f"{value[:3]}\x01{value[3:]}",
    "delete": lambda value: f"{value}\x7f",
    "line separator": lambda value: f"{value[:3]}\N{LINE SEPARATOR}{value[3:]}",
    "not UTF-8": lambda value: f"{value}\udcff",
}
IN_QUOTES: dict[str, Callable[[str], str]] = {
    "quotes": lambda value: f'"{value}"',
    "single quotes": lambda value: f"'{value}'",
    "typographic quotes": lambda value: f"\N{LEFT DOUBLE QUOTATION MARK}{value}\N{RIGHT DOUBLE QUOTATION MARK}",
    "byte order mark": lambda value: f"\ufeff{value}",
    "zero-width space": lambda value: f"\N{ZERO WIDTH SPACE}{value}",
}


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a directory without a developer's `.env`
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def read() -> Settings | str:
    """Return the settings, or the line of the refusal."""
    get_settings.cache_clear()
    try:
        return get_settings()
    except ConfigurationError as error:
        return str(error)
    finally:
        get_settings.cache_clear()


def plain(value: object) -> Any:  # noqa: ANN401 - any setting
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def check_refusal(line: Settings | str, name: str, kind: str = "") -> None:
    assert isinstance(line, str), (kind, plain(getattr(line, name)))
    assert re.match(rf"configuration: {name}(\.\d+)?(\.[a-z_]+)*: ", line), (kind, line)
    assert line.isprintable()
    assert CANARY not in line


def test_every_setting_has_a_kind() -> None:
    assert {*ONE_LINE, *MULTILINE, *LISTS, *CHOICES} == set(Settings.model_fields)


@pytest.mark.parametrize("name", ONE_LINE)
def test_surrounding_white_space_is_removed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = ONE_LINE[name]
    monkeypatch.setenv("MAIL_URL", URLS["MAIL_URL"])  # another setting requires it
    monkeypatch.setenv(name, value)
    clean = read()
    assert isinstance(clean, Settings)
    for kind, change in SURROUNDED.items():
        monkeypatch.setenv(name, change(value))
        settings = read()
        assert isinstance(settings, Settings), kind
        if name == "SECRET_KEY":
            assert settings.secret_keys == (value, change(value))
        elif name == "WEBHOOK_SECRET":
            assert settings.webhook_secrets == (value,)
        else:
            assert plain(getattr(settings, name)) == plain(getattr(clean, name)), kind


@pytest.mark.parametrize("name", ONE_LINE)
def test_what_cannot_be_in_a_line_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    value = ONE_LINE[name]
    for kind, change in DAMAGED.items():
        if name == "SECRET_KEY_PREVIOUS" and len(change(value).split()) > 1:
            continue  # white space separates keys
        monkeypatch.setenv(name, change(value if len(value) > 3 else f"{value}.000"))
        check_refusal(read(), name, kind)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", *URLS, *NUMBERS, *FLAGS])
def test_quotes_and_invisible_characters_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for kind, change in IN_QUOTES.items():
        monkeypatch.setenv(name, change(ONE_LINE[name]))
        check_refusal(read(), name, kind)


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_in_the_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("nan", "inf", "-inf", "1e400", "-1", "0x10", "1,5", "30s", "5 # five", "9" * 5000, "x"):
        monkeypatch.setenv(name, text)
        check_refusal(read(), name, text)


@pytest.mark.parametrize("name", [*CHOICES, *FLAGS])
def test_what_is_no_choice_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, CANARY)
    check_refusal(read(), name)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, '["a",]', "[1]", "[null]", "[[]]", "[NaN]", '["\\ud800"]', f'["{CANARY}\\n\\u0000"]', "[\udcff]"],
)
def test_what_is_no_list_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    check_refusal(read(), name)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_value_means_unset(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name, raising=False)
    unset = read()
    monkeypatch.setenv(name, "")
    assert name == "LLM_FALLBACK_MODEL" or read() == unset
    Path(".env").write_text(f"{name}=\r\n")
    monkeypatch.delenv(name)
    assert name == "LLM_FALLBACK_MODEL" or read() == unset


@pytest.mark.parametrize("name", secret_names(Settings))
@pytest.mark.parametrize(
    "content", [b"a\0b", b"\xff\xfea\0", "\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode("latin-1")]
)
def test_files_of_secrets_in_another_encoding_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / CANARY
    file.write_bytes(content)
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(name + SUFFIX, str(file))
    check_refusal(read(), name + SUFFIX)


BAD_URLS = [
    ("OPENAI_BASE_URL", f"https://h/{CANARY}/chat/completions"),
    ("OPENAI_BASE_URL", f"https://h/{CANARY}/chat/completions//"),
    ("OPENAI_BASE_URL", f"https://h/chat/completions?key={CANARY}"),
    ("OPENAI_BASE_URL", f"https://h/{CANARY}/chat/completions/?api-version=1"),
    ("OPENAI_BASE_URL", f"https://h/{CANARY}/Chat/Completions"),
    ("OPENAI_BASE_URL", f"https://h/{CANARY}/chat%2Fcompletions"),
    ("OPENAI_BASE_URL", f"https://h/v1#{CANARY}"),
    ("OPENAI_BASE_URL", f"https://h/{CANARY}#"),
    ("OPENAI_BASE_URL", f"https://u:{CANARY}@h/v1"),
    ("OPENAI_BASE_URL", f"https://{CANARY}@h/v1"),
    ("OPENAI_BASE_URL", f"https://@h/{CANARY}"),
    ("OPENAI_BASE_URL", f"h/{CANARY}"),
    ("OPENAI_BASE_URL", f"https:///{CANARY}"),
    ("OPENAI_BASE_URL", f"https://h:0/{CANARY}"),
    ("OPENAI_BASE_URL", f"https://[::1/{CANARY}"),
    ("PUBLIC_URL", f"https://u:{CANARY}@h"),
    ("PUBLIC_URL", f"https://@h/{CANARY}"),
    ("PUBLIC_URL", f"https://h/?{CANARY}"),
    ("PUBLIC_URL", f"https://h/{CANARY}#"),
    ("PUBLIC_URL", f"https://h/{CANARY}?"),
    ("MAIL_URL", f"smtp://h/{CANARY}"),
    ("MAIL_URL", f"smtp://h?{CANARY}"),
    ("MAIL_URL", f"smtp://h#{CANARY}"),
    ("MAIL_URL", f"smtp://u:{CANARY}/x@h"),
    ("MAIL_URL", f"smtp://u:{CANARY}#x@h"),
    ("MAIL_URL", f"file://h/{CANARY}"),
    ("MAIL_URL", f"imap://{CANARY}@h"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{CANARY}@h:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://h:4318/?key={CANARY}"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", f"h:4318/{CANARY}"),
]


@pytest.mark.parametrize(("name", "url"), BAD_URLS)
def test_urls_that_are_half_right_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    check_refusal(read(), name)


@pytest.mark.parametrize("sender", ["a", "a <b>", "<>", "a@", "@b", "a@b, c@d", "a@b c@d", "a@b\nBcc: c@d"])
def test_what_is_no_sender_is_refused(monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
    monkeypatch.setenv("MAIL_FROM", sender)
    check_refusal(read(), "MAIL_FROM")


@pytest.mark.parametrize("line_format", ["%", "%(unknown)s", "%(message)", "{message}", "%(levelno)z"])
def test_what_is_no_format_is_refused(monkeypatch: pytest.MonkeyPatch, line_format: str) -> None:
    monkeypatch.setenv("LOG_FORMAT", line_format)
    check_refusal(read(), "LOG_FORMAT")


@pytest.mark.parametrize(
    "document",
    [
        f'{{"api_key_file": "/not/{CANARY[:3]}\\nthere"}}',
        '{"api_key_file": "/not/\\u0000there"}',
        f'{{"{CANARY}\\n": 1}}',
        f'{{"headers": {{"X\\nY {CANARY}": 1}}}}',
        f'{{"headers": {{"X": "{CANARY}\\u0000"}}}}',
        f'{{"headers": {{"X": " {CANARY}"}}}}',
        f'{{"base_url": "http://h/\\ud800{CANARY}"}}',
        f'{{"base_url": "http://h/\\u0000{CANARY}"}}',
        f'{{"base_url": "http://h/{CANARY}#"}}',
        f'{{"base_url": "\\"http://h/{CANARY}\\""}}',
        f'{{"attempt_timeout": {"9" * 5000}}}',
    ],
)
def test_providers_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    monkeypatch.setenv("LLM_PROVIDERS", f'[{{"name": "a", {document[1:]}]')
    line = read()
    assert isinstance(line, str)
    assert line.startswith("configuration: LLM_PROVIDERS")
    assert line.isprintable()
    assert CANARY not in line


@pytest.mark.parametrize(
    "document", ['{"provider": "x\\ny"}', f'{{"extra_body": {{"a": {"[" * 400}{"]" * 400}}}}}', '{"a\\u0007": 1}']
)
def test_models_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch, document: str) -> None:
    monkeypatch.setenv("LLM_MODELS", f'[{{"name": "a", {document[1:]}]')
    line = read()
    assert isinstance(line, str)
    assert line.startswith("configuration: LLM_MODELS")
    assert line.isprintable()


ENV_FILES = {
    "LF": b"OPENAI_API_KEY=sk-1\nPROJECT_NAME=x\n",
    "CR LF": b"OPENAI_API_KEY=sk-1\r\nPROJECT_NAME=x\r\n",
    "CR": b"OPENAI_API_KEY=sk-1\rPROJECT_NAME=x",
    "byte order mark": b"\xef\xbb\xbfOPENAI_API_KEY=sk-1\r\nPROJECT_NAME=x",
    "export": b"export OPENAI_API_KEY=sk-1\nexport PROJECT_NAME=x\n",
    "export, CR LF": b"export OPENAI_API_KEY=sk-1\r\n export  PROJECT_NAME = x \r\n",
    "quotes": b"OPENAI_API_KEY=\"sk-1\"\nPROJECT_NAME='x'\n",
    "comments": b"# key\nOPENAI_API_KEY=sk-1 # mine\n\nPROJECT_NAME=x\n",
}
BAD_ENV_FILES = {
    **{encoding: f"OPENAI_API_KEY=sk-{CANARY}\n".encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be")},
    "utf-32": f"OPENAI_API_KEY=sk-{CANARY}\n".encode("utf-32"),
    "latin-1": f"PROJECT_NAME=Gr\u00fcn\nOPENAI_API_KEY=sk-{CANARY}\n".encode("latin-1"),
    "NUL": f"OPENAI_API_KEY=sk-{CANARY}\0\n".encode(),
    "quote that is not closed": f'OPENAI_API_KEY="sk-{CANARY}\n'.encode(),
    "colon": f"OPENAI_API_KEY: sk-{CANARY}\n".encode(),
    "set": f"set OPENAI_API_KEY=sk-{CANARY}\n".encode(),
}
READERS: list[Callable[[], object]] = [
    get_settings,
    get_database_settings,
    get_llm_settings,
    get_registration_settings,
    get_web_settings,
    get_migration_url,
]


@pytest.mark.parametrize("content", ENV_FILES.values(), ids=ENV_FILES)
def test_env_files_of_any_editor_are_read(content: bytes) -> None:
    Path(".env").write_bytes(content)
    settings = read()
    assert isinstance(settings, Settings)
    assert (plain(settings.OPENAI_API_KEY), settings.PROJECT_NAME) == ("sk-1", "x")


@pytest.mark.parametrize("content", BAD_ENV_FILES.values(), ids=BAD_ENV_FILES)
def test_env_files_that_cannot_be_read_are_refused_by_every_reader(
    content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(".env").write_bytes(content)
    lines = set()
    for reader in READERS:
        get_settings.cache_clear()
        with pytest.raises(ConfigurationError) as error:
            reader()
        lines.add(str(error.value))
    (line,) = lines
    assert re.match(r"configuration: \.env: (is not text in UTF-8|line 1 is not NAME=value)", line)
    assert CANARY not in line
    assert capfd.readouterr() == ("", "")


def test_an_env_file_that_is_a_directory_is_refused() -> None:
    Path(".env").mkdir()
    assert read() == "configuration: .env: cannot be read"
