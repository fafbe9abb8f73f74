"""cli/table.py."""

import pytest

from agentfleet.cli.table import data_size, fields, number, seconds, span, table


def test_columns_are_as_wide_as_their_contents() -> None:
    assert table(("A", "LONG"), [("xxx", "1"), ("y", "")]) == "A     LONG\nxxx   1\ny"


def test_values_stand_below_each_other() -> None:
    assert fields([("a", "1"), ("long", "2")]) == "a     1\nlong  2"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0/s"), (0.00123, "0.00123/s"), (3.14159, "3.14/s"), (99.96, "100/s"), (1234567.0, "1234567/s")],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value, "/s") == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0123, "12 ms"), (0.9996, "1.00 s"), (12.345, "12.35 s")])
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (2**20, "1 MiB"), (1.5 * 2**30, "1.5 GiB")])
def test_data_size(value: float | None, text: str) -> None:
    assert data_size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(-3, "0s"), (59.9, "59s"), (60, "1m"), (200, "3m20s"), (3600, "1h"), (93784, "1d2h"), (86400 * 9, "9d")],
)
def test_span(value: float, text: str) -> None:
    assert span(value) == text
