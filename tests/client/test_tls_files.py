# SPDX-License-Identifier: Apache-2.0
"""Certificates that are replaced on disk while a client runs."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import ConfigError, Fluvio, RetriesExhaustedError
from fluvio_sync._base.log import get_logger
from fluvio_sync._net.tls_files import TlsFiles
from fluvio_sync.testing import FaultProxy, LocalCluster
from tests.support.client import attempts

if TYPE_CHECKING:
    import ssl

    from fluvio_sync import TlsConfig
    from tests.support.certificates import Certificates

pytestmark = pytest.mark.alone


def put(source: str, place: Path) -> None:
    """Replace a file as renewing programs do: at once, by another."""
    fresh = place.with_suffix(".new")
    shutil.copy(source, fresh)
    fresh.replace(place)


def files_of(tls: TlsConfig) -> TlsFiles:
    files = TlsFiles.read(tls, get_logger("client"))
    assert files is not None
    return files


def authorities(context: ssl.SSLContext) -> list[object]:
    return [authority["serialNumber"] for authority in context.get_ca_certs()]


def test_a_running_client_uses_the_files_as_they_are(certificates: Certificates, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    put(certificates.ca, ca)
    with (
        LocalCluster(in_process=True, **certificates.of_cluster("tls")) as cluster,
        FaultProxy(cluster.endpoint) as sc,
        FaultProxy(cluster.spu_endpoints[5001]) as spu,
        Fluvio.connect(
            sc.endpoint, tls=certificates.verified(ca_cert=ca), spu_address_override={5001: spu.endpoint}
        ) as fluvio,
    ):
        fluvio.create_topic("t")
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(2))  # the first may meet the old connection
        assert producer.send(b"1").result(5).offset == 0
        put(certificates.other_ca, ca)
        assert producer.send(b"2").result(5).offset == 1  # on the connection that there is
        spu.cut(reset=False)
        with pytest.raises(RetriesExhaustedError, match="certificate is not accepted"):
            producer.send(b"3").result(5)
        put(certificates.ca, ca)
        assert producer.send(b"4").result(5).offset == 2
        assert fluvio.topics() == ["t"]


def test_files_that_did_not_change_are_not_read_again(certificates: Certificates) -> None:
    files = files_of(certificates.of_client("mutual"))
    assert files.context() is files.context()
    assert files.check_hostname


def test_a_half_replaced_pair_is_tried_again_and_reported_once(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fluvio_sync")
    cert, key = tmp_path / "client.crt", tmp_path / "client.key"
    put(certificates.client.cert, cert)
    put(certificates.client.key, key)
    files = files_of(certificates.verified(cert=cert, key=key))
    before = files.context()
    put(certificates.stranger.cert, cert)
    assert files.context() is before
    assert files.context() is before
    key.unlink()
    assert files.context() is before
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "tls.files_unusable" in caplog.text
    assert str(cert) in caplog.text
    put(certificates.stranger.key, key)
    after = files.context()
    assert after is not before
    assert files.context() is after
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_file_that_is_written_in_place_is_read_again(certificates: Certificates, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    put(certificates.ca, ca)
    files = files_of(certificates.verified(ca_cert=ca))
    before = files.context()
    text = Path(certificates.other_ca).read_text("ascii")
    ca.write_text(text[:100], "ascii")
    assert files.context() is before
    ca.write_text(text, "ascii")
    assert authorities(files.context()) != authorities(before)


def test_texts_are_never_read_again_and_the_first_files_must_be_usable(
    certificates: Certificates, tmp_path: Path
) -> None:
    text = Path(certificates.ca).read_text("ascii")
    files = files_of(certificates.verified(ca_cert=text))
    assert files.context() is files.context()
    with pytest.raises(ConfigError, match=r"missing\.pem"):
        files_of(certificates.verified(ca_cert=tmp_path / "missing.pem"))
