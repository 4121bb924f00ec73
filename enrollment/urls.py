"""Addresses about candidates, below ``/api/v1/``."""

from django.urls import path

from enrollment.duplicate_views import DuplicatesView
from enrollment.views import EnrollView

urlpatterns = [
    path("enroll", EnrollView.as_view(), name="enroll"),
    path("duplicates", DuplicatesView.as_view(), name="duplicates"),
]
