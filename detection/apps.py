from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DetectionConfig(AppConfig):
    name = "detection"

    def ready(self) -> None:
        from detection.partitions import ensure_partitions_after_migrate

        post_migrate.connect(ensure_partitions_after_migrate, sender=self)
