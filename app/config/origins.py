"""Origins of pages and applications that may call the API (RFC 6454)."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import idna

from app.core.text import is_blank

_DEFAULT_PORTS = {"http": 80, "https": 443}
_APPLICATION_SCHEMES = (
    "app",
    "capacitor",
    "chrome-extension",
    "ionic",
    "moz-extension",
    "safari-web-extension",
    "tauri",
)
"""Schemes of packaged applications and browser extensions."""
_SCHEMES = (*_DEFAULT_PORTS, *_APPLICATION_SCHEMES)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
_NOT_IN_ORIGINS = frozenset("?#@%\\")


def normalize_origin(origin: str) -> str:
    """Return an origin as browsers send it: in lower case, in ASCII, without a default port or a slash at the end.

    Raises:
        ValueError: it is not an origin.

    """
    if "*" in origin:
        raise ValueError("'*' cannot be combined with credentials; list the origins")
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        raise _invalid() from None
    has_more = parts.path not in {"", "/"} or any(map(is_blank, origin)) or not _NOT_IN_ORIGINS.isdisjoint(origin)
    if has_more or not parts.hostname or port == 0:
        raise _invalid()
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"an origin must start with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    host = _normalize_host(parts.hostname)
    has_port = port is not None and port != _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}:{port}" if has_port else f"{parts.scheme}://{host}"


def nginx_map_entries(origins: Iterable[str]) -> str:
    """Return the entries of the map of allowed origins in `nginx.conf`. Normalized origins need no escaping."""
    return "".join(f'"{origin}" "{origin}";\n' for origin in origins)


def _normalize_host(host: str) -> str:
    try:
        if ":" in host:
            return f"[{IPv6Address(host)}]"
        if not host.isascii() or "xn--" in host:
            host = idna.encode(host, uts46=True, std3_rules=True).decode()
        if host.rpartition(".")[2].isdecimal():
            return str(IPv4Address(host))
    except ValueError:  # `idna.IDNAError` is one
        raise _invalid() from None
    if not _ASCII_HOST.fullmatch(host):
        raise _invalid()
    return host


def _invalid() -> ValueError:
    return ValueError("an origin must be scheme://host[:port] without a path")
