"""Recognition of public addresses, and the allow-list of internal hosts."""

from ipaddress import ip_address

import pytest

from app.core.public_addresses import AllowedHosts, is_public

PUBLIC_ADDRESSES = ["1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
TRANSLATED_PUBLIC_ADDRESSES = ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
INTERNAL_ADDRESSES = [
    "0.0.0.0",  # noqa: S104 - nothing is bound
    "10.0.0.1",
    "100.64.0.1",  # shared address space (carrier-grade NAT)
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # a cloud's metadata, in public space
    "169.254.169.254",  # most clouds' metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.0.192",  # a cloud's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # compatible
    "::1.1.1.1",  # compatible, with a public address: not routed
    "::ffff:10.0.0.1",  # mapped
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  # translated
    "64:ff9b::10.0.0.1",  # NAT64
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1.1.1.1",  # NAT64 with a local prefix
    "100::1",  # discarded
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4
    "2002:101:101::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # a cloud's metadata
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC_ADDRESSES + TRANSLATED_PUBLIC_ADDRESSES)
def test_internet_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", INTERNAL_ADDRESSES)
def test_special_addresses_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address", "is_permitted"),
    [
        pytest.param("hooks.local", "hooks.local", 8000, "10.0.0.1", True, id="host"),
        pytest.param("hooks.local", "other.local", 8000, "10.0.0.1", False, id="another host"),
        pytest.param("hooks.local", "sub.hooks.local", 8000, "10.0.0.1", False, id="host below"),
        pytest.param("HOOKS.local.", "hooks.local", 8000, "10.0.0.1", True, id="host in another spelling"),
        pytest.param("hooks.local:8000", "hooks.local", 8000, "10.0.0.1", True, id="host and port"),
        pytest.param("hooks.local:8000", "hooks.local", 8001, "10.0.0.1", False, id="another port"),
        pytest.param("10.0.0.1", "hooks.local", 80, "10.0.0.1", True, id="address"),
        pytest.param("10.0.0.1", "hooks.local", 80, "::ffff:10.0.0.1", True, id="mapped address"),
        pytest.param("10.0.0.1", "hooks.local", 80, "10.0.0.2", False, id="another address"),
        pytest.param("10.1.0.0/16", "hooks.local", 80, "10.1.2.3", True, id="network"),
        pytest.param("10.1.0.0/16", "hooks.local", 80, "10.2.0.1", False, id="another network"),
        pytest.param("fd00::/8", "hooks.local", 80, "fd12::1", True, id="network of IPv6"),
        pytest.param("10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1", True, id="address and port"),
        pytest.param("10.0.0.1:80", "10.0.0.1", 81, "10.0.0.1", False, id="address, another port"),
        pytest.param("10.0.0.1:80", "hooks.local", 80, "10.0.0.1", False, id="address and port, by a name"),
        pytest.param("[fd00::1]:80", "fd00::1", 80, "fd00::1", True, id="address of IPv6 and port"),
    ],
)
def test_internal_hosts_need_an_entry(entry: str, host: str, port: int, address: str, *, is_permitted: bool) -> None:
    allowed = AllowedHosts.parse([entry])
    assert allowed.permits(host, port, ip_address(address)) is is_permitted
    assert not AllowedHosts().permits(host, port, ip_address(address))


def test_public_hosts_need_no_entry() -> None:
    assert AllowedHosts().permits("example.com", 443, ip_address("93.184.216.34"))


@pytest.mark.parametrize(
    "entry", ["", " ", "a b", "http://host", "host/path", "user@host", "host:", "host:0", "host:99999", "10.0.0.1/8"]
)
def test_malformed_entries_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="each entry must be"):
        AllowedHosts.parse([entry])
