"""Fixtures of more than one file."""

from collections.abc import Iterator

import pytest

from e2e.support import redis
from tests.runtime.keeping import PASSWORD, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis."""
    with redis.running(tmp_path_factory.mktemp("redis"), PASSWORD) as address:
        yield address
