"""Page with the OpenAPI document of all services: Swagger UI with its files from a package, without other requests."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "openapi" / "openapi.json"
_ASSETS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>API documentation</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
  <div id="page"></div>
  <script src="/docs/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_SCRIPT: Final = """SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  docExpansion: "none",
  filter: true,
  syntaxHighlight: false,
});
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def add_documentation(app: FastAPI, prefix: str) -> None:
    """Serve the page below a path prefix, which the gateway serves as `/docs`."""
    # Routes of Starlette, which are not in the OpenAPI document.
    app.router.routes.append(Route(prefix, _page, methods=["GET"]))
    app.router.routes.append(Route(f"{prefix}/{{name}}", _file, methods=["GET"]))


async def _page(_request: Request) -> Response:
    return Response(_PAGE, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name == "start.js":
        return Response(_SCRIPT, media_type="text/javascript")
    if name == "openapi.json" and DOCUMENT.is_file():
        return Response(DOCUMENT.read_bytes(), media_type="application/json")
    if name in _ASSETS:
        content = (files("fastapi_offline") / "static" / name).read_bytes()
        return Response(content, media_type=_ASSETS[name])
    raise HTTPException(404)
