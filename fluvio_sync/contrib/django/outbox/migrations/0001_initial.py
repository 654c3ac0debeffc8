# SPDX-License-Identifier: Apache-2.0
"""The outbox's table."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """As `makemigrations` wrote it."""

    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="OutboxRecord",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("alias", models.CharField(max_length=100)),
                ("topic", models.CharField(max_length=63)),
                ("key", models.BinaryField(null=True)),
                ("value", models.BinaryField()),
                ("timestamp", models.BigIntegerField(help_text="milliseconds since the epoch")),
                ("order_key", models.CharField(max_length=32)),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("delivered", "Delivered"),
                            ("failed", "Failed"),
                            ("skipped", "Skipped"),
                        ],
                        default="pending",
                        max_length=9,
                    ),
                ),
                ("due", models.DateTimeField(default=django.utils.timezone.now)),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("claimed_by", models.CharField(blank=True, default="", max_length=64)),
                ("done", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True, default="")),
            ],
            options={
                "verbose_name": "record",
                "db_table": "fluvio_outbox",
                "indexes": [
                    models.Index(fields=["state", "due", "id"], name="fluvio_outbox_due"),
                    models.Index(fields=["order_key", "state", "id"], name="fluvio_outbox_order"),
                    models.Index(fields=["done"], name="fluvio_outbox_done"),
                ],
            },
        ),
    )
