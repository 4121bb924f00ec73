"""In which zone the admin shows and reads times. The API speaks UTC whatever is set here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

Answer = HttpResponseBase | Awaitable[HttpResponseBase]
_PREFIX = "/admin/"


class AdminTimeZone:
    """Middleware: pages below ``/admin/`` are in ``ADMIN_TIME_ZONE``."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self._get_response = get_response
        self._zone = ZoneInfo(settings.ADMIN_TIME_ZONE)
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        if not request.path_info.startswith(_PREFIX):
            return self._get_response(request)
        if self._asynchronous:
            return self._within(request)
        with timezone.override(self._zone):
            return self._get_response(request)

    async def _within(self, request: HttpRequest) -> HttpResponseBase:
        with timezone.override(self._zone):
            answer = self._get_response(request)
            assert isinstance(answer, Awaitable)
            return await answer
