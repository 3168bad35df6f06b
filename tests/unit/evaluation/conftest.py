"""Evaluation without a network."""

import pytest


@pytest.fixture
def offline(monkeypatch):
    """No test looks up an address or connects, also where a library would hide that it failed; and there
    are no keys for a judge.
    """
    attempts = []

    def refuse(*args, **kwargs):
        attempts.append(args)
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    for key in ("OPENAI_API_KEY", "API_TYPE", "HF_TOKEN"):
        monkeypatch.delenv(key, raising=False)
    yield
    assert attempts == []
