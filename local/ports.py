"""The TCP ports of a stack, all derived from the gateway's, so that one number moves everything."""

import socket
from dataclasses import dataclass
from typing import Self


class PortError(Exception):
    """A port cannot be used; the text says which and what to do."""


@dataclass(frozen=True)
class Ports:
    """Where the stack listens, on loopback only. PostgreSQL and Redis have no port."""

    gateway: int
    auth: int
    chat: int
    admin: int
    model: int

    @classmethod
    def of(cls, gateway: int) -> Self:
        """Derive the ports from the gateway's.

        Raises:
            PortError: that number leaves no room for the others.

        """
        ports = cls(gateway, gateway - 79, gateway - 78, gateway - 77, gateway - 76)
        if not 1024 <= ports.auth <= gateway <= 65535:  # noqa: PLR2004 - unprivileged ports
            msg = f"PORT={gateway} does not work: choose 1103 to 65535, the services listen on PORT-79 to PORT-76"
            raise PortError(msg)
        return ports

    def check_free(self, *, with_model: bool) -> None:
        """Make sure that nobody listens on them.

        Raises:
            PortError: somebody does.

        """
        wanted = {"gateway": self.gateway, "auth service": self.auth, "chat service": self.chat}
        wanted["admin service"] = self.admin
        if with_model:
            wanted["model"] = self.model
        for name, port in wanted.items():
            if not is_free(port):
                msg = f"port {port} (for the {name}) is in use; choose others: make run PORT={self._alternative()}"
                raise PortError(msg)

    def _alternative(self) -> int:
        return self.gateway + 100 if self.gateway + 100 <= 65535 else 8080  # noqa: PLR2004 - the last port


def is_free(port: int) -> bool:
    """Tell whether nobody listens there."""
    with socket.socket() as probe:
        # As servers do, so that connections of the run before that have not expired yet are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
