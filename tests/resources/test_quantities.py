"""Quantities have one spelling: the API server's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentfleet.resources.base import _thousandths, canonical_quantity


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1000m", "1"), ("1500m", "1500m"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1Gi", "1Gi"), ("1.5Gi", "1536Mi"),
        ("1000", "1k"), ("1024", "1024"), (2, "2"), ("0", "0"), ("0Gi", "0"), ("1.5G", "1500M"), ("0.0001", "1m"),
        ("2000000000", "2G"), ("0.5Ki", "512"),
    ],
)  # fmt: skip
def test_canonical_form(written: str | int, stored: str) -> None:
    assert canonical_quantity(written) == stored


@pytest.mark.parametrize("nonsense", ["", "8 Gi", "-1", "1e3", "Gi", "1.2.3", "1KiB"])
def test_nonsense_is_refused_with_examples(nonsense: str) -> None:
    with pytest.raises(ValueError, match="write for example 500m, 2, 512Mi or 80Gi"):
        canonical_quantity(nonsense)


@given(st.integers(0, 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_means_the_same_and_is_final(number: int, suffix: str) -> None:
    written = f"{number}{suffix}"
    stored = canonical_quantity(written)
    assert _thousandths(stored)[0] == _thousandths(written)[0]
    assert canonical_quantity(stored) == stored
