from collections.abc import Iterator

import jax
import pytest

_compiled: list[str] = []


def _note(event: str, seconds: float, **about: str) -> None:
    del seconds
    if event == "/jax/core/compile/backend_compile_duration":
        _compiled.append(about["fun_name"])


@pytest.fixture(scope="session", autouse=True)
def _listen() -> None:
    jax.monitoring.register_event_duration_secs_listener(_note)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of the functions that were compiled since the test began."""
    _compiled.clear()
    yield _compiled


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Every download fails at once."""

    def refuse(url: str, start: int) -> None:
        raise OSError("no network here")

    monkeypatch.setattr("train.data.storage.download._open", refuse)
