"""Addresses about candidates, below ``/api/v1/``."""

from django.urls import path

from enrollment.duplicate_views import DuplicatesView

urlpatterns = [
    path("duplicates", DuplicatesView.as_view(), name="duplicates"),
]
