"""Addresses of the alerts app, to be included below ``/api/v1/``."""

from django.urls import path

from alerts import delivery_views, incident_views, views

urlpatterns = [
    path("subscriptions", views.SubscriptionsView.as_view(), name="subscriptions"),
    path("subscriptions/<uuid:subscription_id>", views.SubscriptionView.as_view(), name="subscription"),
    path("subscriptions/<uuid:subscription_id>/test", delivery_views.SubscriptionTestView.as_view()),
    path("subscriptions/<uuid:subscription_id>/rotate-secret", delivery_views.SubscriptionSecretView.as_view()),
    path("deliveries", delivery_views.DeliveriesView.as_view(), name="deliveries"),
    path("deliveries/resend", delivery_views.DeliveriesResendView.as_view()),
    path("deliveries/<int:delivery_id>", delivery_views.DeliveryView.as_view(), name="delivery"),
    path("deliveries/<int:delivery_id>/resend", delivery_views.DeliveryResendView.as_view()),
    path("evidence/<uuid:evidence_id>", views.EvidenceView.as_view(), name="evidence"),
    path("admin/stats", views.StatsView.as_view(), name="admin-stats"),
    path("incidents", incident_views.IncidentsView.as_view(), name="incidents"),
    path("incidents/<uuid:incident_id>", incident_views.IncidentView.as_view(), name="incident"),
    path("incidents/<uuid:incident_id>/review", incident_views.IncidentReviewView.as_view(), name="incident-review"),
    path("schemas/alert-<str:version>.json", views.AlertSchemaView.as_view(), name="alert-schema"),
    path("schemas/notice-1.0.json", views.NoticeSchemaView.as_view(), name="notice-schema"),
]
