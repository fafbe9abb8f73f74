import pytest

from tests.scaling.world import ScalingWorld


@pytest.fixture
def world() -> ScalingWorld:
    return ScalingWorld()
