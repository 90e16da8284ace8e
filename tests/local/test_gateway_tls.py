"""TLS at the gateway, and the gateway behind another proxy: a real Nginx with a certificate of a test authority."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx
import pytest
import trustme

from local.frontend import Frontend
from local.nginx import Nginx
from local.paths import PROJECT
from local.ports import Ports
from local.process import ComponentFailedError
from tests.e2e.conftest import free_gateway_port
from tests.fixtures.processes import free_port
from tests.fixtures.servers import temporary_home
from tests.local.gateway_site import PAGE, running_gateway

HSTS = "max-age=31536000"


@dataclass(frozen=True)
class TlsGateway:
    """URLs of a gateway with TLS, and what trusts it."""

    plain: str
    tls: str
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options with a certificate for `localhost`."""
    directory = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(directory / "tls.key")
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(directory / "tls.crt", append=number > 0)
    return {"GATEWAY_TLS_CERTIFICATE": str(directory / "tls.crt"), "GATEWAY_TLS_KEY": str(directory / "tls.key")}


@pytest.fixture(scope="module")
def gateway(authority: trustme.CA, certificate: dict[str, str]) -> Iterator[TlsGateway]:
    port = free_port()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    options = certificate | {"GATEWAY_TLS_LISTEN": f"127.0.0.1:{port}", "PUBLIC_URL": "https://chat.example:8443/"}
    with temporary_home() as home, running_gateway(home, options) as url:
        yield TlsGateway(url, f"https://localhost:{port}", trust)


def test_pages_and_errors_over_tls_have_hsts(gateway: TlsGateway) -> None:
    with httpx.Client(base_url=gateway.tls, verify=gateway.trust, trust_env=False) as client:
        page, missing, unreachable = client.get("/"), client.get("/api/v1/unknown/x"), client.get("/api/v1/auth/config")
    assert (page.status_code, page.text) == (200, PAGE)
    assert missing.json()["code"] == "not_found"
    assert unreachable.status_code == 502
    for response in (page, missing, unreachable):
        assert response.headers.get_list("Strict-Transport-Security") == [HSTS]


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["http/1.1"]])
def test_http_2_is_negotiated(gateway: TlsGateway, authority: trustme.CA, offered: list[str]) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(offered)
    port = int(gateway.tls.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == offered[0]
        assert connection.version() == "TLSv1.3"


def test_old_protocols_are_refused(gateway: TlsGateway, authority: trustme.CA) -> None:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    port = int(gateway.tls.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="localhost")


def test_requests_without_tls_are_redirected_to_the_public_url(gateway: TlsGateway) -> None:
    with httpx.Client(base_url=gateway.plain, trust_env=False) as client:
        for path in ("/", "/login?next=/x", "/api/v1/auth/config"):
            response = client.request("POST" if "api" in path else "GET", path, headers={"Host": "evil.example"})
            assert response.status_code == 308
            assert response.headers["Location"] == f"https://chat.example:8443{path}"
            assert "Strict-Transport-Security" not in response.headers
        # Health checks in the network of the gateway.
        assert client.get("/index.html").status_code == client.get("/health").status_code == 200


def test_http_on_the_port_of_tls_is_redirected_too(gateway: TlsGateway) -> None:
    response = httpx.get(gateway.tls.replace("https", "http"), trust_env=False)
    assert (response.status_code, response.headers["Location"]) == (308, "https://chat.example:8443/")


BAD_OPTIONS = [
    ({"GATEWAY_TLS_KEY": "/nowhere"}, "GATEWAY_TLS_CERTIFICATE: is required"),
    ({"GATEWAY_TLS_CERTIFICATE": "/nowhere"}, "GATEWAY_TLS_CERTIFICATE: the file cannot be read"),
    ({"GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8; evil"}, "GATEWAY_TRUSTED_PROXIES: must be addresses or networks"),
    ({"GATEWAY_HSTS": 'x"; evil'}, "GATEWAY_HSTS: is not a value"),
]
ANSWER_TIMEOUTS = [
    ({}, "80s"),
    ({"LLM_TURN_TIMEOUT": ""}, "80s"),
    ({"LLM_TURN_TIMEOUT": "0.5"}, "80s"),
    ({"LLM_TURN_TIMEOUT": " 6e1 "}, "80s"),
    ({"LLM_TURN_TIMEOUT": "90.5"}, "110s"),
    ({"LLM_TURN_TIMEOUT": "3600"}, "3620s"),
]


@pytest.mark.parametrize(("options", "reason"), BAD_OPTIONS)
def test_a_bad_option_ends_the_start_with_its_name(tmp_path: Path, options: dict[str, str], reason: str) -> None:
    server = Nginx(
        tmp_path, Ports.of(free_gateway_port()), Frontend(tmp_path, {"FRONTEND_DIST": str(tmp_path)}), options
    )
    with pytest.raises(ComponentFailedError, match=reason):
        server.start()


@pytest.mark.parametrize(("options", "expected"), ANSWER_TIMEOUTS)
def test_gateway_waits_longer_than_a_turn_and_its_storing(options: dict[str, str], expected: str) -> None:
    with temporary_home() as home, running_gateway(home, options):
        configuration = next(home.rglob("gateway.conf")).read_text()
    assert configuration.count(f"proxy_read_timeout {expected};") >= 2
    assert expected == "80s" or configuration.count("proxy_read_timeout 80s;") == 1  # imports


@pytest.mark.parametrize("value", ["6e1", "1.2.3", ".", "60; evil", "-1", "$(id)"])
def test_containers_refuse_a_timeout_that_is_no_decimal_number(value: str) -> None:
    script = PROJECT / "deploy" / "gateway" / "15-options.envsh"
    result = subprocess.run(
        ["/bin/sh", "-euc", f". {script}"], env={"LLM_TURN_TIMEOUT": value}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "configuration: LLM_TURN_TIMEOUT: must be a decimal number\n"


class Upstream:
    """Service behind the gateway that keeps the head of the last request."""

    def __init__(self, port: int) -> None:
        self.head = ""
        self._socket = socket.create_server(("127.0.0.1", port))
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.head = connection.recv(65_536).decode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    def header(self, name: str) -> list[str]:
        lines = (line.partition(": ") for line in self.head.splitlines()[1:])
        return [value for key, _, value in lines if key.lower() == name.lower()]

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize(
    ("trusted", "sent", "address", "scheme"),
    [
        ("", {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}, "127.0.0.1", "http"),
        ("192.0.2.1", {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}, "127.0.0.1", "http"),
        (
            "127.0.0.1, 10.0.0.0/8",
            {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"},
            "203.0.113.9",
            "https",
        ),
        # What a client claims stands before the address that the first trusted proxy saw.
        ("127.0.0.1,10.0.0.0/8", {"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.1.2.3"}, "203.0.113.9", "http"),
        ("127.0.0.1", {"X-Forwarded-For": "2001:db8::7", "X-Forwarded-Proto": "javascript"}, "2001:db8::7", "http"),
        ("127.0.0.0/8,::1", {"X-Forwarded-For": "not an address", "X-Forwarded-Proto": "https"}, "127.0.0.1", "https"),
    ],
)
def test_only_trusted_proxies_name_the_address_and_scheme_of_clients(
    trusted: str, sent: dict[str, str], address: str, scheme: str
) -> None:
    with temporary_home() as home, running_gateway(home, {"GATEWAY_TRUSTED_PROXIES": trusted}) as url:
        upstream = Upstream(int(url.rpartition(":")[2]) - 79)
        try:
            response = httpx.get(
                f"{url.replace('localhost', '127.0.0.1')}/api/v1/auth/config", headers=sent, trust_env=False
            )
        finally:
            upstream.close()
    assert response.status_code == 200
    assert upstream.header("X-Forwarded-For") == [address]
    assert upstream.header("X-Forwarded-Proto") == [scheme]
    assert response.headers.get("Strict-Transport-Security") == (HSTS if scheme == "https" else None)
