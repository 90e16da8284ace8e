"""What no page may do, whatever a test does with it: fail, ask other servers, open dialogs or break its own policy."""

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

_REPORT_VIOLATIONS = """
    addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) =>
        console.error(`CSP violation: ${effectiveDirective} ${blockedURI}`))
"""
# Chromium reports each response with an error status; those of the API are handled by the page.
_FAILED_RESPONSE = "Failed to load resource"


class Watch:
    """Collects the faults of all pages in a context. Public: `faults`, `requests` (URLs)."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.faults: list[str] = []
        self.requests: list[str] = []
        self._origin = origin
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("request", self._on_request)
        context.on("response", self._on_response)
        context.on("dialog", self._on_dialog)

    def _on_console(self, message: ConsoleMessage) -> None:
        is_api = urlsplit(message.location["url"]).path.startswith("/api/")
        if message.type == "error" and not (is_api and message.text.startswith(_FAILED_RESPONSE)):
            self.faults.append(f"console: {message.text}")

    def _on_error(self, error: WebError) -> None:
        self.faults.append(f"exception: {error.error}")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        if not request.url.startswith((self._origin, "data:", "blob:")):
            self.faults.append(f"request to another origin: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status == 500:
            self.faults.append(f"internal error: {response.url}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()
