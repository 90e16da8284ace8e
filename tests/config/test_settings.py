"""Settings: names, parsing, validation."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.config import ConfigurationError, Settings, get_database_settings, get_settings

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a"
GOOD = {
    "DATABASE_URL": "postgresql://user@localhost/chat",
    "SECRET_KEY": "a key of the test run, of no use elsewhere",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
}
SERVICES = ["app.auth_main", "app.main", "app.admin_main"]

BAD = [
    pytest.param("SECRET_KEY", CANARY, "SECRET_KEY: must have at least 32 bytes", id="short key"),
    pytest.param("CORS_ORIGINS", "*", "CORS_ORIGINS: '*' cannot be combined", id="any origin"),
    pytest.param("CORS_ORIGINS", '["https://a.example", "https://*.b.example"]', "CORS_ORIGINS", id="wildcard origin"),
    pytest.param("CORS_ORIGINS", f"https://a.example/{CANARY}", "CORS_ORIGINS: an origin", id="origin with a path"),
    pytest.param("CORS_ORIGINS", "[", "CORS_ORIGINS: not a valid JSON list", id="broken list"),
    pytest.param(
        "DATABASE_URL", f"mysql://u:{CANARY}@h/d", "DATABASE_URL: must start with postgresql://", id="dialect"
    ),
    pytest.param(
        "DATABASE_URL", f"postgresql://u:{CANARY}@h", "DATABASE_URL: must contain the name of a database", id="no name"
    ),
    pytest.param("DATABASE_URL", f"postgresql://u:{CANARY}@h:x/d", "DATABASE_URL: not a valid URL", id="port"),
    pytest.param("REDIS_URL", f"redis+sentinel://:{CANARY}@h/m", "REDIS_URL: one server only", id="sentinel"),
    pytest.param("REDIS_URL", f"redis://:{CANARY}@h:26379,i:26379/0", "REDIS_URL: one server only", id="redis hosts"),
    pytest.param("REDIS_URL", f"redis://h/{CANARY}", "REDIS_URL: the path must be the number", id="redis path"),
    pytest.param("REDIS_URL", f"redis://h?timeout={CANARY}", "REDIS_URL: timeout: is not supported", id="redis name"),
    pytest.param("REDIS_URL", f"redis://h?db={CANARY}", "REDIS_URL: the value of a parameter", id="redis value"),
    pytest.param("REDIS_URL", "redis://h?ssl_cert_reqs=none", "REDIS_URL: ssl_cert_reqs: is not", id="redis tls"),
    pytest.param(
        "DATABASE_URL", f"postgresql://u:{CANARY}@x@h/d", "DATABASE_URL: not a valid URL: an @ in a user", id="at sign"
    ),
    pytest.param(
        "DATABASE_URL",
        f"postgresql://u:{CANARY}@h/d?channel_binding=require",
        "DATABASE_URL: channel_binding: only disable, prefer are supported",
        id="channel binding",
    ),
    pytest.param(
        "DATABASE_URL", f"postgresql://u:{CANARY}@h/d?pgbouncer=true", "DATABASE_URL: pgbouncer: is not", id="unknown"
    ),
    pytest.param(
        "DATABASE_URL",
        f"postgresql://u@h/d?sslrootcert=/{CANARY}",
        "DATABASE_URL: sslrootcert: there is no such file",
        id="certificate",
    ),
    pytest.param("REDIS_URL", f"http://:{CANARY}@h", "REDIS_URL: must start with redis://", id="redis scheme"),
    pytest.param("REDIS_URL", "redis://", "REDIS_URL: not a valid URL", id="redis without a host"),
    pytest.param("OPENAI_BASE_URL", f"ftp://{CANARY}", "OPENAI_BASE_URL: must start with http://", id="base url"),
    pytest.param(
        "OPENAI_BASE_URL", "http://h/v1/chat/completions/", "OPENAI_BASE_URL: must be the base URL", id="whole url"
    ),
    pytest.param("OPENAI_BASE_URL", f"http://u:{CANARY}@h/v1", "OPENAI_BASE_URL: must have neither", id="user"),
    pytest.param("OPENAI_API_KEY", f"{CANARY}\n{CANARY}", "OPENAI_API_KEY: must consist of", id="key of two lines"),
    pytest.param("OPENAI_API_KEY", f"Bearer {CANARY}", "OPENAI_API_KEY: must consist of", id="key with a space"),
    pytest.param("OPENAI_API_KEY", f'"{CANARY}"', "OPENAI_API_KEY: must consist of", id="key in quotes"),
    pytest.param("OPENAI_API_KEY", f"{CANARY}\u2026", "OPENAI_API_KEY: must consist of", id="key beyond ASCII"),
    pytest.param("ALGORITHM", "none", "ALGORITHM: Input should be 'HS256', 'HS384' or 'HS512'", id="algorithm"),
    pytest.param("LOG_LEVEL", "LOUD", "LOG_LEVEL: Input should be", id="log level"),
    pytest.param("LLM_TEMPERATURE", "nan", "LLM_TEMPERATURE: Input should be a finite number", id="nan"),
    pytest.param("LLM_TURN_TIMEOUT", "0", "LLM_TURN_TIMEOUT: Input should be greater than 0", id="no time"),
    pytest.param("LLM_ATTEMPT_TIMEOUT", "61", "LLM_ATTEMPT_TIMEOUT: must not exceed LLM_TURN_TIMEOUT", id="attempt"),
    pytest.param("LLM_MAX_TOKENS", "many", "LLM_MAX_TOKENS: Input should be a valid integer", id="no number"),
    pytest.param("LLM_MODELS", "gpt-4o", "LLM_MODELS: not a valid JSON list", id="models"),
    pytest.param("LLM_MODELS", '{"name": "a"}', "LLM_MODELS: not a valid JSON list", id="one model"),
    pytest.param("LLM_MODELS", '["a", {"name": "a"}]', "LLM_MODELS: a model is listed twice", id="model twice"),
    pytest.param("LLM_MODELS", '[""]', "LLM_MODELS.0.name: String should match pattern", id="model without a name"),
    pytest.param("LLM_MODELS", '[{"name": "a", "window": 1}]', "LLM_MODELS.0.window: Extra inputs", id="odd field"),
    pytest.param(
        "LLM_MODELS",
        '[{"name": "a", "prompt_price": 1}]',
        "LLM_MODELS.0: prompt_price and completion_price",
        id="a price",
    ),
    pytest.param("LLM_MODELS", '[{"name": "a", "context_window": 0}]', "LLM_MODELS.0.context_window", id="window"),
    pytest.param("LLM_MODELS", '[{"name": "a", "temperature": true}]', "LLM_MODELS.0.temperature: must be", id="true"),
    pytest.param("LLM_MODELS", '[{"name": "a", "system_role": "boss"}]', "LLM_MODELS.0.system_role:", id="role"),
    pytest.param(
        "LLM_MODELS", '[{"name": "a", "extra_body": {"stream": 1}}]', "LLM_MODELS.0.extra_body: must not", id="extra"
    ),
    pytest.param(
        "LLM_MODELS", '[{"name": "a", "provider": "x"}]', "LLM_MODELS: a: there is no provider x", id="no provider"
    ),
    pytest.param("LLM_PROVIDERS", '{"name": "a"}', "LLM_PROVIDERS: not a valid JSON list", id="providers"),
    pytest.param("LLM_PROVIDERS", '["a", "a"]', "LLM_PROVIDERS: a provider is listed twice: a", id="provider twice"),
    pytest.param(
        "LLM_PROVIDERS", '[{"name": "a", "base_url": ""}]', "LLM_PROVIDERS.0.base_url: must start", id="empty URL"
    ),
    pytest.param("LLM_PROVIDERS", '["default"]', "LLM_PROVIDERS: default: is the name", id="default provider"),
    pytest.param("LLM_PROVIDERS", '[{"base_url": "http://h"}]', "LLM_PROVIDERS.0.name: is required", id="unnamed"),
    pytest.param(
        "LLM_PROVIDERS",
        '[{"name": "a", "base_url": "http://h/v1/chat/completions?x=1"}]',
        "LLM_PROVIDERS.0.base_url: must be the base URL",
        id="whole URL of a provider",
    ),
    pytest.param(
        "LLM_PROVIDERS",
        '[{"name": "a", "api_key_env": "NOT_SET"}]',
        "LLM_PROVIDERS: a: the key is missing: the environment variable NOT_SET",
        id="missing key",
    ),
    pytest.param(
        "LLM_PROVIDERS",
        '[{"name": "a", "api_key_file": "/not/there"}]',
        "LLM_PROVIDERS: a: the key is missing: the file /not/there",
        id="missing key file",
    ),
    pytest.param(
        "LLM_PROVIDERS", f'[{{"name": "a", "api_key": "{CANARY}"}}]', "LLM_PROVIDERS.0.api_key: Extra", id="key itself"
    ),
    *(
        pytest.param(
            "LLM_PROVIDERS",
            json.dumps([{"name": "a", "headers": {name: value}}]),
            f"LLM_PROVIDERS.0.headers: {why}",
            id=why,
        )
        for name, value, why in [
            ("X-A", f"{CANARY}\n", "X-A: must consist of ASCII"),
            ("X-A", f"{CANARY}ü", "X-A: must consist of ASCII characters"),
            ("a b", CANARY, "one of the names is not"),
            ("Content-Length", "1", "Content-Length: is set by"),
        ]
    ),
    pytest.param(
        "WEBHOOK_ALLOWED_HOSTS", f"http://{CANARY}", "WEBHOOK_ALLOWED_HOSTS: each entry must be", id="allowed URL"
    ),
    pytest.param("WEBHOOK_SECRET", CANARY, "WEBHOOK_SECRET: must be whsec_ and 24 to 64 bytes", id="webhook secret"),
    pytest.param("WEBHOOK_SECRET", " ", "WEBHOOK_SECRET: must not be blank", id="no webhook secret"),
    pytest.param("API_V1_STR", "api", "API_V1_STR: String should match pattern", id="prefix"),
]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a directory without a developer's `.env`
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def refusal(read: Callable[[], object] = get_settings) -> str:
    """Return the line of the refusal."""
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError) as error:
        read()
    get_settings.cache_clear()
    return str(error.value)


def test_names_and_defaults_match_specification() -> None:
    settings = Settings()
    assert settings.API_V1_STR == "/api/v1"
    assert settings.PROJECT_NAME == "Chat Bot System"
    assert settings.VERSION == "1.0.0"
    assert settings.DEBUG is False
    assert settings.DATABASE_POOL_SIZE == 20
    assert settings.DATABASE_MAX_OVERFLOW == 30
    assert settings.REDIS_DB == 0
    assert settings.ALGORITHM == "HS256"
    assert settings.ACCESS_TOKEN_EXPIRE_MINUTES == 30
    assert settings.REFRESH_TOKEN_EXPIRE_DAYS == 7
    assert settings.LLM_MODEL == "gpt-4"
    assert settings.LLM_FALLBACK_MODEL == "gpt-3.5-turbo"
    assert settings.LLM_MAX_TOKENS == 2048
    assert settings.LLM_TEMPERATURE == 0.7
    assert settings.LLM_CACHE_TTL == 3600
    assert settings.RATE_LIMIT_REQUESTS == 100
    assert settings.RATE_LIMIT_WINDOW == 60
    assert settings.WEBHOOK_TIMEOUT == 30


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_models_are_a_json_list_of_names_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    models = '["a", {"name": "b", "context_window": 9, "prompt_price": 0.1, "completion_price": "0.2"}]'
    monkeypatch.setenv("LLM_MODELS", models)
    first, second = Settings().LLM_MODELS
    assert (first.name, first.context_window, first.prompt_price) == ("a", None, None)
    assert (second.context_window, second.prompt_price, second.completion_price) == (9, Decimal("0.1"), Decimal("0.2"))
    monkeypatch.setenv("LLM_MODELS", "")
    assert Settings().LLM_MODELS == []


@pytest.mark.parametrize(("text", "models"), [("", ()), ("a", ("a",)), (" a , b,a,", ("a", "b", "a"))])
def test_fallback_models_are_comma_separated(
    monkeypatch: pytest.MonkeyPatch, text: str, models: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LLM_FALLBACK_MODEL", text)
    assert Settings().fallback_models == models


@pytest.mark.parametrize(
    "text", ["https://a.example, http://b.example:81", '["https://a.example","http://b.example:81"]']
)
def test_origins_are_a_comma_separated_or_json_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", text)
    assert Settings().CORS_ORIGINS == ["https://a.example", "http://b.example:81"]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTPS://App.Example/", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("https://app.example:8443", "https://app.example:8443"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("http://[0:0::1]:3000", "http://[::1]:3000"),
        ("http://my_app:3000", "http://my_app:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("Tauri://LOCALHOST/", "tauri://localhost"),
        ("chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb", "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb"),
    ],
)
def test_origins_are_normalized(monkeypatch: pytest.MonkeyPatch, text: str, origin: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{text},{origin}")
    assert [origin] == Settings().CORS_ORIGINS


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "app.example",
        "//app.example",
        "https:app.example",
        "https://",
        "https://app.example/path",
        "https://app.example//",
        "https://app.example?",
        "https://app.example#",
        "https://u@app.example",
        "https://app .example",
        "https://app.example:0",
        "https://app.example:99999",
        "https://app..example",
        "https://1.2.3",
        "http://[::1",
        "http://[::1%25eth0]",
        "https://a;b",
        'https://a"b',
        "ftp://app.example",
        "file:///app",
        "data:text/html,x",
        "capacitor://",
        "htps://app.example",
    ],
)
def test_what_is_no_origin_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", json.dumps([text]))
    assert re.fullmatch(r"configuration: CORS_ORIGINS: an origin must .+", refusal())


@pytest.mark.parametrize("text", ["localhost, .Local,bücher.corp", '["localhost", ".local", "xn--bcher-kva.corp"]'])
def test_local_domains_are_normalized(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EMAIL_LOCAL_DOMAINS", text)
    assert Settings().EMAIL_LOCAL_DOMAINS == ["localhost", ".local", "xn--bcher-kva.corp"]


@pytest.mark.parametrize("text", [".", "a b", "ada@localhost", "*.local"])
def test_invalid_local_domains_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EMAIL_LOCAL_DOMAINS", text)
    assert refusal() == "configuration: EMAIL_LOCAL_DOMAINS: must be domains, such as localhost or .local"


@pytest.mark.parametrize("text", ["hooks.local, 10.1.0.0/16", '["hooks.local", "10.1.0.0/16"]'])
def test_allowed_hosts_are_a_comma_separated_or_json_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WEBHOOK_ALLOWED_HOSTS", text)
    assert Settings().WEBHOOK_ALLOWED_HOSTS == ["hooks.local", "10.1.0.0/16"]


def test_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Settings().model_dump()
    for name in Settings.model_fields.keys() - GOOD.keys() - {"LLM_FALLBACK_MODEL"}:
        monkeypatch.setenv(name, "")
    assert Settings().model_dump() == expected
    Path(".env").write_text("LLM_MODEL=from-file\nPROJECT_NAME=\n")
    assert (Settings().LLM_MODEL, Settings().PROJECT_NAME) == ("from-file", "Chat Bot System")
    monkeypatch.setenv("DATABASE_URL", "")
    assert refusal() == "configuration: DATABASE_URL: is required"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "sk-key"),
        ("OPENAI_BASE_URL", "https://h/v1"),
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("REDIS_URL", "redis://h"),
        ("MAIL_URL", "smtp://h"),
        ("PUBLIC_URL", "https://h"),
    ],
)
def test_keys_and_urls_are_stripped(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, f" {value}\r\n")
    setting = getattr(Settings(), name)
    assert (setting.get_secret_value() if isinstance(setting, SecretStr) else setting) == value


def test_base_url_keeps_its_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://h/v1/?api-version=2024-10-21")
    assert Settings().OPENAI_BASE_URL == "https://h/v1?api-version=2024-10-21"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_env_file_in_another_encoding_is_refused(encoding: str) -> None:
    Path(".env").write_text(f"PROJECT_NAME=Gr\u00fc\u00dfe {CANARY}\n", encoding=encoding)
    line = "configuration: .env: is not text in UTF-8; save the file in this encoding"
    assert refusal() == refusal(get_database_settings) == line


def test_env_file_may_begin_with_a_byte_order_mark() -> None:
    Path(".env").write_text("PROJECT_NAME=Gr\u00fc\u00dfe\n", encoding="utf-8-sig")
    assert Settings().PROJECT_NAME == "Gr\u00fc\u00dfe"


def test_representation_contains_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", CANARY * 4)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{CANARY}@h/d")
    monkeypatch.setenv("REDIS_URL", f"redis://:{CANARY}@h")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    assert CANARY not in repr(Settings())


@pytest.mark.parametrize(("name", "value", "line"), BAD)
def test_error_names_invalid_setting_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(f"configuration: {line}")
    assert CANARY not in text
    assert "\n" not in text


def test_validation_error_does_not_contain_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", CANARY)
    monkeypatch.setenv("DATABASE_URL", CANARY)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert "SECRET_KEY" in str(error.value)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("service", SERVICES)
def test_invalid_setting_ends_process_with_one_line(service: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SECRET_KEY": CANARY}
    command = [sys.executable, "-m", "uvicorn", f"{service}:app", "--uds", "never.sock"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == (
        "configuration: SECRET_KEY: must have at least 32 bytes; `openssl rand -hex 32` generates one\n"
    )
