"""Addresses of the published contracts, to be included below ``/api/``."""

from django.urls import path

from alerts import contracts

urlpatterns = [
    path("asyncapi/", contracts.asyncapi, name="asyncapi"),
    path("schemas/<str:name>", contracts.schema, name="contract-schema"),
    path("proto/alerts.proto", contracts.proto, name="alerts-proto"),
]
