"""Runs uv with the package index, proxy and certificates that pip is configured for: `python -m local.uv ARGUMENT...`.

uv does not read pip's configuration. Variables that uv reads itself take precedence over it. The only required package
is uv.
"""

import ast
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from uv import find_uv_bin

_UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
_INDEX_VARIABLES = {"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE"}
_TRUE = {"1", "true", "yes", "on", "y", "t"}
_SECTIONS = ("global", "install", ":env:")  # from the weakest to the strongest, as pip applies them


def pip_options(listing: str) -> dict[str, str]:
    """Return the options that apply to `pip install`, by name, from the output of `pip config list`."""
    lines = (line.partition("=") for line in listing.splitlines())
    settings = {name: str(ast.literal_eval(value)) for name, _, value in lines if value}
    found: dict[str, str] = {}
    for section in _SECTIONS:
        prefix = f"{section}."
        found |= {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}
    return found


def uv_variables(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's options into the variables of uv that the environment does not set.

    If the environment sets an index for uv, pip's indexes are omitted.
    """
    found = {
        variable: " ".join(options[option].split()) for option, variable in _UV_VARIABLES.items() if options.get(option)
    }
    # As pip does: the best version of all indexes. What is installed is verified by hash.
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if not _INDEX_VARIABLES.isdisjoint(environment):
        found = {variable: value for variable, value in found.items() if variable not in _INDEX_VARIABLES}
    if "SSL_CERT_FILE" not in found and _system_certificates_exist():
        found["UV_SYSTEM_CERTS"] = "true"  # as current versions of pip do
    if not _cache_is_writable(environment):
        found["UV_NO_CACHE"] = "true"
    return {variable: value for variable, value in found.items() if variable not in environment}


def _system_certificates_exist() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))


def _cache_is_writable(environment: Mapping[str, str]) -> bool:
    command = [find_uv_bin(), "cache", "dir", "--color", "never"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(environment))
    if listed.returncode != 0:
        return False
    directory = Path(listed.stdout.strip())
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def main() -> int:
    """Run uv with the arguments of this program, and return its exit code."""
    listing = [sys.executable, "-m", "pip", "config", "list"]
    options = pip_options(subprocess.run(listing, capture_output=True, text=True, check=True).stdout)
    no_index = ["--no-index"] if options.get("no-index", "").lower() in _TRUE else []
    command = [find_uv_bin(), *sys.argv[1:], *no_index]
    return subprocess.run(command, check=False, env=os.environ | uv_variables(options, os.environ)).returncode


if __name__ == "__main__":
    sys.exit(main())
