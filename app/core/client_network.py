"""Network of a client address, the unit of limits per client that do not depend on its account."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

_IPV6_PREFIX = 64
"""Prefix length that an IPv6 subscriber usually gets. A subscriber can use any address within it."""


@lru_cache(maxsize=4096)
def client_network(host: str | None) -> str | None:
    """Return the IPv4 address, or the /64 network of an IPv6 address; None if `host` is not an IP address."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:  # noqa: PLR2004 - IP version 6
        address = address.ipv4_mapped
    prefix = _IPV6_PREFIX if address.version == 6 else 32  # noqa: PLR2004 - as above
    return str(ip_network((address, prefix), strict=False))
