"""What counts as one client where nobody has logged in."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

_IPV6_PREFIX = 64
"""What one subscriber has of IPv6: counting single addresses would count nothing."""


@lru_cache(maxsize=4096)
def client_network(host: str | None) -> str | None:
    """Return the network of an address: an IPv4 address, or 64 bits of an IPv6 one.

    None: it is no address, as on a Unix socket.
    """
    try:
        address = ip_address(host or "")
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:  # noqa: PLR2004 - the protocol's number
        address = address.ipv4_mapped
    prefix = _IPV6_PREFIX if address.version == 6 else 32  # noqa: PLR2004 - likewise
    return str(ip_network((address, prefix), strict=False))
