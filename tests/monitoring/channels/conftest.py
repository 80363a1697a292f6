"""Receivers that a test may use; each stops with its test."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitoring.channels.receivers import (
    MailReceiver,
    Receiver,
    mail_receiver,
    receiver,
    self_made_certificate,
)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return self_made_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def http() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


@pytest.fixture
def https(certificate: tuple[Path, ssl.SSLContext]) -> Iterator[Receiver]:
    with receiver(certificate[1]) as one:
        yield one


@pytest.fixture
def mailbox(certificate: tuple[Path, ssl.SSLContext]) -> Iterator[MailReceiver]:
    """Offers STARTTLS."""
    with mail_receiver(certificate[1]) as one:
        yield one
