"""A small build of a web application, and an Nginx without services that serves it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local.frontend import Frontend
from local.nginx import Nginx
from local.ports import Ports
from tests.e2e.conftest import free_gateway_port

PAGE = "<!doctype html><title>Chat Bot System</title>" + "<!-- -->" * 200
SCRIPT = "console.log('the same text again and again')\n" * 100
ASSET = "/assets/index-B3KJPTwJ.js"


@contextmanager
def running_gateway(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve the build from a directory whose name has characters with a meaning in configurations; yield the URL."""
    dist = home / 'built "$uri"; files'
    (dist / "assets").mkdir(parents=True)
    (dist / "fonts").mkdir()
    (dist / "index.html").write_text(PAGE)
    (dist / ASSET.removeprefix("/")).write_text(SCRIPT)
    (dist / "assets" / "KaTeX_Main.woff2").write_bytes(b"wOF2" + bytes(2000))
    (dist / "favicon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (dist / "robots.txt").write_text("User-agent: *\nDisallow: /\n")
    (dist / ".secret").write_text("hidden")
    (home / "outside.txt").write_text("outside")
    replicas = int((environment or {}).get("CHAT_REPLICAS", "1"))
    ports = Ports.of(free_gateway_port(), chat_replicas=replicas)
    frontend = Frontend(home, {"FRONTEND_DIST": str(dist)})
    frontend.start()
    server = Nginx(home, ports, frontend, environment)
    try:
        server.start()
        yield f"http://localhost:{ports.gateway}"
    finally:
        server.stop()
