"""Who gets an answer of the viewer's server, and what the answers forbid.

Four rules keep others away, each of which holds alone: the server listens on this machine only; every request needs a
token that the printed address holds; the `Host` header must name this machine, so that no website can reach the server
through a name of its own (DNS rebinding); and the page may load nothing from elsewhere and runs no script but its own
(Content-Security-Policy).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

TOKEN_HEADER = "X-Phoenix-Ray-Token"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pictures of people stay in no cache on a disk.
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def access_rules(token: str, host: str) -> list[Any]:
    """Return the middlewares that refuse requests, the outermost first.

    Args:
        token: What a request must bring: as `?token=` of the page's address, which sets a cookie, as that cookie, or in
            `TOKEN_HEADER`.
        host: The address that the server listens on.
    """
    return [_read_only, _known_host(host), _with_token(token)]


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - a signal
    """Add to an answer, whatever it is, what it forbids the browser."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.pop("Server", None)


def reachable_name(host: str) -> str:
    """Return the host as a browser of another machine finds it, where the server listens on all addresses."""
    if host in ("", "0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


@web.middleware
async def _read_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method not in ("GET", "HEAD"):
        return web.Response(status=405, headers={"Allow": "GET, HEAD"}, text="This server only shows.")
    return await handler(request)


def _known_host(host: str) -> Any:
    # An IP address in the header is safe: rebinding needs a name.
    names = {"localhost", host.lower(), reachable_name(host).lower()} - {""}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _without_port(request.headers.get("Host", "")).lower()
        if name not in names and not _is_address(name):
            return web.Response(status=403, text="This server does not answer to that name.")
        return await handler(request)

    return check


def _without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_token(token: str) -> Any:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = (request.cookies.get(_cookie_name(request), ""), request.headers.get(TOKEN_HEADER, ""))
        if any(_equal(text, token) for text in given):
            # The address with the token stays out of bookmarks and the browser's history.
            if request.path == "/" and "token" in request.query:
                raise web.HTTPFound("/")
            return await handler(request)
        if request.path == "/" and _equal(request.query.get("token", ""), token):
            response = web.HTTPFound("/")
            response.set_cookie(_cookie_name(request), token, httponly=True, samesite="Strict", path="/")
            raise response
        return web.Response(status=403, text="Open the address that `phoenix-ray view` has printed: it holds a token.")

    return check


def _equal(text: str, token: str) -> bool:
    return secrets.compare_digest(text.encode("utf-8", "replace"), token.encode())


def _cookie_name(request: web.Request) -> str:
    """Return a name of its own for each port: browsers send cookies to all ports of a host."""
    sockname = request.transport.get_extra_info("sockname") if request.transport else None
    return f"phoenix-ray-view-{sockname[1] if sockname else 0}"
