"""Which addresses of the network are outside, and which inside are meant to be reached all the same."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self
from urllib.parse import urlsplit

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: where only IPv6 is spoken, a server that has only IPv4 is seen here."""
_NOT_PUBLIC: tuple[IpNetwork, ...] = (
    # What Python, depending on its version, takes for global. From the IANA registries of special-purpose addresses:
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
    IPv6Network("fec0::/10"),
    # In nobody's registry: what Microsoft's cloud tells its machines, and takes from them.
    IPv4Network("168.63.129.16/32"),
)


def is_public(address: IpAddress) -> bool:
    """Whether anybody on the internet can reach the address, so that reaching it from here tells nothing.

    False: private, loopback, link-local (with it the metadata of clouds), shared (CGNAT), multicast, reserved, or one
    that holds another which a translator on the way might take out.
    """
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
    return (
        address.is_global
        and not (address.is_multicast or address.is_reserved)
        and not any(address in network for network in _NOT_PUBLIC)
    )


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Places that may be reached although they are inside."""

    networks: tuple[IpNetwork, ...] = ()
    names: frozenset[tuple[str, int | None]] = frozenset()
    """Host as a URL spells it, and port; None: any."""

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read `host`, `host:port`, an address or a network in CIDR notation.

        Raises:
            ValueError: an entry is none of them.

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
        """Whether the host of a URL may be reached at this address of it."""
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
    is_all = parts.netloc == entry and "@" not in entry
    if not host or not is_all or port == 0 or entry.endswith(":") or "/" in entry or any(map(str.isspace, entry)):
        raise ValueError("an entry is a host, host:port, an address or a network")
    return host.rstrip("."), port
