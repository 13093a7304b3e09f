"""What every request must be and every answer must say, before any of the viewer's own code runs."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

HEADERS = {
    # everything from this server, nothing inline: an injected script or a link to elsewhere would do nothing
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",  # an image must not outlive its session in the browser's cache
}


class Guard:
    """ASGI middleware. host: the name or address that the viewer listens on. served: other names that lead to it, of a
    reverse proxy say, which may pass its own name on or not."""

    def __init__(self, app, host: str, served: Sequence[str] = ()):
        self.app = app
        self.served = {name.lower() for name in served}
        self.names = {"localhost", socket.gethostname().lower(), host.lower(), *self.served}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_guarded(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self.refusal(scope["method"], headers)
        answer = JSONResponse({"error": refusal}, 403) if refusal else self.app
        await answer(scope, receive, send_guarded)

    def refusal(self, method: str, headers: Headers) -> str | None:
        """Why a request is not answered; None where it is."""
        host = headers.get("host", "")
        if not self.known(host):
            return f"this viewer does not serve {host[:80]!r}; start it with --name and that name"
        if method in ("GET", "HEAD"):
            return None
        site = headers.get("sec-fetch-site", "same-origin")
        foreign = "origin" in headers and not self.own(headers["origin"], host)
        return "the request came from another site" if foreign or site not in ("same-origin", "none") else None

    def own(self, origin: str, host: str) -> bool:
        try:
            page = urlsplit(origin)
            return page.netloc.lower() == host.lower() or page.hostname in self.served
        except ValueError:
            return False

    def known(self, host: str) -> bool:
        """A name of a stranger that leads here is DNS rebinding; an address cannot be one."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            if name in self.names:
                return True
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return False
