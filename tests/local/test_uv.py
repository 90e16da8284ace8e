"""uv with the configuration of pip."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from local.paths import PROJECT
from local.uv import pip_options, uv_variables

PIP_SETTINGS = """\
:env:.timeout='60'
global.index-url='https://user:secret@packages.example/simple'
global.extra-index-url='\\nfile:///one/simple\\nfile:///two/simple'
global.timeout='15'
install.trusted-host='packages.example'
download.find-links='/ignored'
"""


def wheel(directory: Path) -> Path:
    """Create a wheel of a package that does not exist on any index."""
    file = directory / "chat_bot_system_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("chat_bot_system_probe.py", "")
        archive.writestr(
            "chat_bot_system_probe-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: chat-bot-system-probe\nVersion: 1.0\n",
        )
        archive.writestr(
            "chat_bot_system_probe-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("chat_bot_system_probe-1.0.dist-info/RECORD", "")
    return file


def install(target: Path, **variables: str) -> None:
    """Install the package with uv; pip is configured by the given variables only."""
    unset = ("PIP_", "UV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "UV_CACHE_DIR": str(target.parent / "cache"), **variables}
    arguments = ["pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)]
    command = [sys.executable, "-m", "local.uv", *arguments, "chat-bot-system-probe"]
    subprocess.run(command, check=True, cwd=PROJECT, env=environment, timeout=180)


def test_the_options_of_pip_install_apply_the_environment_before_the_files() -> None:
    assert pip_options(PIP_SETTINGS) == {
        "index-url": "https://user:secret@packages.example/simple",
        "extra-index-url": "\nfile:///one/simple\nfile:///two/simple",
        "timeout": "60",
        "trusted-host": "packages.example",
    }


def test_uv_uses_the_index_of_pip() -> None:
    assert (
        uv_variables(pip_options(PIP_SETTINGS), os.environ | {"SSL_CERT_FILE": "/ca"}).items()
        >= {
            "UV_DEFAULT_INDEX": "https://user:secret@packages.example/simple",
            "UV_INDEX": "file:///one/simple file:///two/simple",
            "UV_INSECURE_HOST": "packages.example",
            "UV_HTTP_TIMEOUT": "60",
        }.items()
    )


def test_an_index_that_is_configured_for_uv_takes_precedence() -> None:
    variables = uv_variables(pip_options(PIP_SETTINGS), {"UV_INDEX_URL": "https://other.example/simple"})
    assert not variables.keys() & {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL"}
    assert "UV_HTTP_TIMEOUT" not in uv_variables({"timeout": "60"}, {"UV_HTTP_TIMEOUT": "5"})


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert uv_variables({}, {"UV_CACHE_DIR": str(tmp_path / "file" / "cache")})["UV_NO_CACHE"] == "true"
    assert "UV_NO_CACHE" not in uv_variables({}, {"UV_CACHE_DIR": str(tmp_path / "cache")})


def test_a_package_is_installed_from_the_index_that_pip_uses(tmp_path: Path) -> None:
    package = tmp_path / "simple" / "chat-bot-system-probe"
    package.mkdir(parents=True)
    file = wheel(package)
    (package / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')
    target = tmp_path / "target"
    install(target, PIP_INDEX_URL=(tmp_path / "simple").as_uri())
    assert (target / "chat_bot_system_probe.py").exists()


def test_a_package_is_installed_without_an_index_where_pip_uses_none(tmp_path: Path) -> None:
    wheel(tmp_path)
    target = tmp_path / "target"
    install(target, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert (target / "chat_bot_system_probe.py").exists()
