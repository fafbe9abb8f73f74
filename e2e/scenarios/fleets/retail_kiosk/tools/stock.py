"""The shop's stock, as it was at the last delivery."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    sku: str
    name: str
    kind: str
    pieces: int
    price: float


STOCK = {
    item.sku: item
    for item in (
        Item("LAMP-1", "Desk lamp", "lamp", 4, 39.0),
        Item("LAMP-2", "Floor lamp", "lamp", 0, 89.0),
        Item("LAMP-3", "Clip lamp", "lamp", 11, 19.5),
        Item("DESK-1", "Oak desk", "desk", 1, 349.0),
    )
}


def check_inventory(sku: str) -> Item:
    """Tells how many pieces of a thing are in the shop, and its price.

    Args:
        sku: Number of the thing, such as LAMP-1.
    """
    if sku not in STOCK:
        raise ValueError(f"there is no {sku}; known are {', '.join(STOCK)}")
    return STOCK[sku]


def find_alternatives(sku: str, max_price: float | None = None) -> list[Item]:
    """Finds things of the same kind that are in the shop, the cheapest first.

    Args:
        sku: Number of the thing that is sold out.
        max_price: Most that one may cost.
    """
    wanted = check_inventory(sku)
    fitting = [
        item
        for item in STOCK.values()
        if item.kind == wanted.kind and item.pieces and (max_price is None or item.price <= max_price)
    ]
    return sorted(fitting, key=lambda item: item.price)
