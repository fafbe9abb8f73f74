"""Prices."""

from typing import Annotated

from pydantic import BaseModel, Field
from stock import STOCK


class Line(BaseModel):
    """One line of a quote."""

    sku: str
    pieces: Annotated[int, Field(ge=1, le=100)] = 1


def create_price_quote(lines: list[Line], discount_percent: Annotated[int, Field(ge=0, le=20)] = 0) -> str:
    """Says what things cost together.

    Args:
        lines: What is wanted, and how many pieces.
        discount_percent: Discount on the sum.
    """
    total = sum(STOCK[line.sku].price * line.pieces for line in lines) * (100 - discount_percent) / 100
    return f"{total:.2f} EUR for {sum(line.pieces for line in lines)} pieces"
