"""TCP ports of a stack, all derived from the port of Nginx."""

import socket
from dataclasses import dataclass
from typing import Self

MAX_CHAT_REPLICAS = 16
"""Maximum number of replicas of the chat service in a local stack."""


class PortError(Exception):
    """A port cannot be used; the text names it and suggests another."""


@dataclass(frozen=True)
class Ports:
    """The stack's ports, on loopback only. PostgreSQL and Redis use Unix sockets."""

    gateway: int
    auth: int
    chat: int
    admin: int
    model: int
    chat_replicas: tuple[int, ...] = ()
    """Ports of further replicas of the chat service."""

    @classmethod
    def of(cls, gateway: int, *, chat_replicas: int = 1) -> Self:
        """Derive all ports from the port of Nginx, for a number of replicas of the chat service.

        Raises:
            PortError: a derived port would be privileged or above 65535.

        """
        if not 1 <= chat_replicas <= MAX_CHAT_REPLICAS:
            msg = f"CHAT_REPLICAS must be 1 to {MAX_CHAT_REPLICAS}"
            raise PortError(msg)
        further = tuple(gateway - 79 - number for number in range(1, chat_replicas))
        ports = cls(gateway, gateway - 79, gateway - 78, gateway - 77, gateway - 76, further)
        if not 1024 <= min(ports.auth, *further, gateway) <= gateway <= 65535:  # noqa: PLR2004 - unprivileged ports
            msg = f"PORT={gateway} is not possible: choose 1103 to 65535. The services listen on PORT-79 to PORT-76."
            raise PortError(msg)
        return ports

    def check_free(self, *, with_model: bool) -> None:
        """Check that no port is in use.

        Raises:
            PortError: a port is in use.

        """
        ports = {"Nginx": self.gateway, "auth service": self.auth, "chat service": self.chat}
        ports["admin service"] = self.admin
        ports |= {f"chat service {number}": port for number, port in enumerate(self.chat_replicas, 2)}
        if with_model:
            ports["model"] = self.model
        for name, port in ports.items():
            if not is_free(port):
                msg = f"port {port} ({name}) is in use. Choose others: make run PORT={self._suggested_port()}"
                raise PortError(msg)

    def _suggested_port(self) -> int:
        return self.gateway + 100 if self.gateway + 100 <= 65535 else 8080  # noqa: PLR2004 - highest port


def is_free(port: int) -> bool:
    """Return whether a port on loopback is free."""
    with socket.socket() as probe:
        # Servers set it too: connections of an earlier run that are in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
