# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests of applications; pytest finds them where fluvio-sync is installed.

They are made when a test asks for them; until then nothing of `fluvio_sync.testing` is imported.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.testing import FakeFluvio, LocalCluster


@pytest.fixture(scope="session")
def fluvio_cluster() -> Iterator[LocalCluster]:
    """A development cluster with one SPU for the whole run, in a process of its own."""
    from fluvio_sync.testing import LocalCluster  # noqa: PLC0415 - see the module

    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture
def fluvio_producer(fluvio_cluster: LocalCluster) -> Iterator[TopicProducer]:
    """A producer for a new topic of that cluster, `fluvio_producer.topic`; the topic is deleted in the end."""
    from fluvio_sync import Fluvio  # noqa: PLC0415 - see the module

    topic = f"test-{uuid.uuid4().hex[:12]}"
    with Fluvio.connect(fluvio_cluster.endpoint) as fluvio:
        fluvio.create_topic(topic)
        yield fluvio.topic_producer(topic)
    fluvio_cluster.delete_topic(topic)


@pytest.fixture
def fluvio_fake() -> FakeFluvio:
    """A `FakeFluvio`, for code that is given its client."""
    from fluvio_sync.testing import FakeFluvio  # noqa: PLC0415 - see the module

    return FakeFluvio()
