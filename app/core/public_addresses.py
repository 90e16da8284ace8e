"""Public IP addresses, and the allow-list of internal hosts that outgoing requests may reach (SSRF protection)."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self
from urllib.parse import urlsplit

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
"""Prefix under which NAT64 maps IPv4 addresses into IPv6 (RFC 6052, section 2.1)."""
_SPECIAL_NETWORKS: tuple[IpNetwork, ...] = (
    # From the IANA special-purpose address registries; some Python versions treat them as global.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
    IPv6Network("fec0::/10"),
    # In no registry: the virtual address of the Azure platform services.
    IPv4Network("168.63.129.16/32"),
)


def is_public(address: IpAddress) -> bool:
    """Return whether the address is reachable from the internet.

    False for private, loopback, link-local (such as cloud metadata services), shared (CGNAT), multicast, reserved and
    tunnel (Teredo, 6to4) addresses. IPv4-mapped and NAT64 addresses count as the IPv4 address that they contain.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved)
        and not any(address in network for network in _SPECIAL_NETWORKS)
    )


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Internal hosts and networks to which requests are permitted."""

    networks: tuple[IpNetwork, ...] = ()
    names: frozenset[tuple[str, int | None]] = frozenset()
    """Pairs of host name and port; None stands for any port."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Parse entries: `host`, `host:port`, an address or a network in CIDR notation.

        Raises:
            ValueError: an entry has none of these forms.

        """
        networks: list[IpNetwork] = []
        names: set[tuple[str, int | None]] = set()
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                names.add(_host_and_port(entry))
        return cls(tuple(networks), frozenset(names))

    def permits(self, host: str, port: int, address: IpAddress) -> bool:
        """Return whether requests to `host:port` are permitted if the host resolves to `address`."""
        if is_public(address) or (host, port) in self.names or (host, None) in self.names:
            return True
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{entry}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    has_only_netloc = parts.netloc == entry and "@" not in entry
    has_invalid_character = "/" in entry or any(map(str.isspace, entry))
    if not host or not has_only_netloc or has_invalid_character or port == 0 or entry.endswith(":"):
        raise ValueError("each entry must be a host, host:port, an address or a network")
    return host.rstrip("."), port
