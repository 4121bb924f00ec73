"""Addresses of the alerts app, to be included below ``/api/v1/``."""

from django.urls import path

from alerts import views

urlpatterns = [
    path("subscriptions", views.SubscriptionsView.as_view(), name="subscriptions"),
    path("subscriptions/<uuid:subscription_id>", views.SubscriptionView.as_view(), name="subscription"),
    path("evidence/<uuid:evidence_id>", views.EvidenceView.as_view(), name="evidence"),
    path("admin/stats", views.StatsView.as_view(), name="admin-stats"),
    path("schemas/alert-1.0.json", views.AlertSchemaView.as_view(), name="alert-schema"),
]
