"""Lists in pages."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """Pages of 50, up to 200."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"


class PageQuerySerializer(serializers.Serializer[Any]):
    """Which page."""

    page = serializers.IntegerField(required=False, min_value=1)
    page_size = serializers.IntegerField(required=False, min_value=1, max_value=200, help_text="50 if left out.")
