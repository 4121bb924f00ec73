"""The gateway's HTTP side: WHIP (RFC 9725), health and metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from media_gateway import metrics, metrics_access, sdp
from media_gateway.config import Config, IceServer
from media_gateway.control import Control
from media_gateway.problems import CODES, TABLE_PATH, ProblemError, table
from media_gateway.publisher import Publisher
from media_gateway.registry import Registry
from media_gateway.tokens import JoinClaims, TokenError, verify

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
_EXPOSED = "Location, ETag, Link, Accept-Patch, Retry-After, WWW-Authenticate"
_METHODS = frozenset({"POST", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD", "PUT"})
"""Counted by name; a client may call others whatever it likes, and each name would be kept for ever."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Of every answer: none is a page that does anything, and some carry addresses and credentials."""
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class WhipServer:
    """Handlers of the WHIP endpoint ``/whip/{session}`` and of its peers ``/whip/{session}/{peer}``."""

    def __init__(self, config: Config, *, registry: Registry, control: Control, publisher: Publisher) -> None:
        self._config = config
        self._registry = registry
        self._control = control
        self._publisher = publisher

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=sdp.MAX_BYTES, middlewares=[self._cross_origin, self._problems])
        endpoint, peer = app.router.add_resource("/whip/{session}"), app.router.add_resource("/whip/{session}/{peer}")
        endpoint.add_route(hdrs.METH_POST, self._publish)
        endpoint.add_route(hdrs.METH_OPTIONS, self._options)
        peer.add_route(hdrs.METH_PATCH, self._trickle)
        peer.add_route(hdrs.METH_DELETE, self._hang_up)
        peer.add_route(hdrs.METH_OPTIONS, self._options)
        app.router.add_get("/health", self._health)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get(TABLE_PATH, self._problem_table)
        return app

    async def _publish(self, request: web.Request) -> web.Response:
        claims = self._claims(request)
        _require_type(request, SDP_TYPE, "Accept-Post")
        offer = sdp.check_offer(await _text(request))
        if await self._control.is_revoked(claims.session_id):
            raise ProblemError("session_ended", "The session has ended.")
        peer, answer = await self._registry.join(claims, offer)
        response = web.Response(status=201, text=answer, content_type=SDP_TYPE)
        response.headers[hdrs.LOCATION] = f"/whip/{claims.session_id}/{peer.id}"
        response.headers[hdrs.ETAG] = peer.etag
        response.headers["Accept-Patch"] = FRAGMENT_TYPE
        for link in _links(self._config.ice_servers):
            response.headers.add(hdrs.LINK, link)
        return response

    async def _trickle(self, request: web.Request) -> web.Response:
        claims = self._claims(request)
        peer = self._registry.peer(claims.session_id, request.match_info["peer"])
        _require_type(request, FRAGMENT_TYPE, "Accept-Patch")
        fragment = sdp.parse_fragment(await _text(request))
        match = request.headers.get(hdrs.IF_MATCH)
        if match is None:
            raise ProblemError("etag_missing", "Send If-Match with the ETag of the answer.")
        if match == "*":
            raise ProblemError("ice_restart_unsupported", "ICE cannot be restarted here: publish anew instead.")
        if peer.etag not in [tag.strip() for tag in match.split(",")]:
            raise ProblemError("etag_mismatch", "The ETag is of another ICE session.")
        await peer.add_ice_candidates(fragment)
        return web.Response(status=204, headers={hdrs.ETAG: peer.etag})

    async def _hang_up(self, request: web.Request) -> web.Response:
        claims = self._claims(request)
        peer = self._registry.peer(claims.session_id, request.match_info["peer"])
        self._registry.hang_up(claims.session_id, peer)
        return web.Response(status=200)

    async def _options(self, request: web.Request) -> web.Response:
        """Answer a CORS preflight, and plain OPTIONS with what can be posted or patched."""
        is_endpoint = "peer" not in request.match_info
        accept = {"Accept-Post": SDP_TYPE} if is_endpoint else {"Accept-Patch": FRAGMENT_TYPE}
        response = web.Response(status=204, headers=accept)
        if is_endpoint:
            for link in _links(self._config.ice_servers, with_credentials=False):
                response.headers.add(hdrs.LINK, link)
        if self._is_allowed_origin(request) and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "POST" if is_endpoint else "PATCH, DELETE"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, Content-Type, If-Match"
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = "7200"
        return response

    async def _health(self, request: web.Request) -> web.Response:
        away = self._publisher.is_away
        document = {
            "status": "down" if away else "up",
            "gateway_id": self._config.gateway_id,
            "peers": self._registry.peer_count,
            "redis": "down" if away else "up",
        }
        return web.json_response(document, status=503 if away else 200)

    async def _live(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "up"})

    async def _metrics(self, request: web.Request) -> web.Response:
        forwarded_for = ",".join(request.headers.getall("X-Forwarded-For", []))
        if not metrics_access.is_allowed(request.remote or "", forwarded_for, self._config.metrics_networks):
            return web.Response(status=403, text=metrics_access.REFUSAL)
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def _problem_table(self, request: web.Request) -> web.Response:
        return web.Response(text=table(), content_type="text/html")

    def _claims(self, request: web.Request) -> JoinClaims:
        """Return what the bearer token says; raise ``ProblemError`` unless it opens this address."""
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            headers = {"WWW-Authenticate": 'Bearer realm="whip"'}
            raise ProblemError("token_missing", "Send the join token as a bearer token.", headers=headers)
        try:
            claims = verify(token.strip(), key=self._config.join_token_key)
            claims.require_session(request.match_info["session"])
        except TokenError as error:
            kind = "insufficient_scope" if error.code == "token_wrong_session" else "invalid_token"
            headers = {"WWW-Authenticate": f'Bearer realm="whip", error="{kind}"'}
            raise ProblemError(error.code, str(error), headers=headers) from error
        return claims

    def _is_allowed_origin(self, request: web.Request) -> bool:
        allowed = self._config.allowed_origins
        return "*" in allowed or request.headers.get(hdrs.ORIGIN, "") in allowed

    @web.middleware
    async def _cross_origin(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let pages of the allowed origins read the answers."""
        response = await handler(request)
        response.headers.update(_HEADERS)
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if hdrs.ORIGIN in request.headers and self._is_allowed_origin(request):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        if request.path.startswith("/whip/"):
            method = request.method if request.method in _METHODS else "other"
            metrics.REQUESTS.labels(method, response.status).inc()
        return response

    @web.middleware
    async def _problems(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer every refusal and failure as problem+json."""
        try:
            return await handler(request)
        except ProblemError as error:
            return _problem(error)
        except web.HTTPException as error:
            code = _HTTP_CODES.get(error.status, "bad_request")
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _problem(ProblemError(code, error.reason, headers=allow))
        except Exception:
            logger.exception("%s %s failed.", request.method, request.path)
            return _problem(ProblemError("internal_error", "The gateway failed at this request."))


def _problem(error: ProblemError) -> web.Response:
    return web.json_response(
        error.document(), status=error.status, headers=error.headers, content_type="application/problem+json"
    )


def _require_type(request: web.Request, content_type: str, accept_header: str) -> None:
    if request.content_type != content_type:
        headers = {accept_header: content_type}
        raise ProblemError("content_type_unsupported", f"The body must be {content_type}.", headers=headers)


async def _text(request: web.Request) -> str:
    try:
        return (await request.read()).decode()
    except UnicodeDecodeError as error:
        raise ProblemError("sdp_invalid", "The body is not UTF-8.") from error


def _links(servers: tuple[IceServer, ...], *, with_credentials: bool = True) -> list[str]:
    """Return ``Link`` headers that tell a client its ICE servers (RFC 9725, 4.6)."""
    links = []
    for server in servers:
        secret = ""
        if with_credentials and server.username is not None and server.credential is not None:
            secret = (
                f'; username="{_quoted(server.username)}"; credential="{_quoted(server.credential)}"'
                '; credential-type="password"'
            )
        links += [f'<{url}>; rel="ice-server"{secret}' for url in server.urls]
    return links


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


assert set(_HTTP_CODES.values()) <= set(CODES)
