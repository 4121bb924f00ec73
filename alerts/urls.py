"""Addresses of the alerts app, to be included below ``/api/v1/``."""

from django.urls import path

from alerts import incident_views, views

urlpatterns = [
    path("subscriptions", views.SubscriptionsView.as_view(), name="subscriptions"),
    path("subscriptions/<uuid:subscription_id>", views.SubscriptionView.as_view(), name="subscription"),
    path("evidence/<uuid:evidence_id>", views.EvidenceView.as_view(), name="evidence"),
    path("admin/stats", views.StatsView.as_view(), name="admin-stats"),
    path("incidents", incident_views.IncidentsView.as_view(), name="incidents"),
    path("incidents/<uuid:incident_id>", incident_views.IncidentView.as_view(), name="incident"),
    path("incidents/<uuid:incident_id>/review", incident_views.IncidentReviewView.as_view(), name="incident-review"),
    path("schemas/alert-<str:version>.json", views.AlertSchemaView.as_view(), name="alert-schema"),
]
