"""What customer service looks up."""

from typing import TypedDict


class Customer(TypedDict):
    name: str
    tier: str
    phone: str


_CUSTOMERS = {
    "C-1001": Customer(name="Ann Shaw", tier="gold", phone="+44 20 7946 0001"),
    "C-1002": Customer(name="Bob Cole", tier="standard", phone="+44 20 7946 0002"),
}
_ORDERS = {"O-77": "shipped, arrives on Tuesday", "O-78": "waits for payment"}


def lookup_customer(customer_id: str) -> Customer:
    """Looks a customer up.

    Args:
        customer_id: Number of the customer, such as C-1001.
    """
    if customer_id not in _CUSTOMERS:
        raise ValueError(f"there is no customer {customer_id}")
    return _CUSTOMERS[customer_id]


def lookup_order_status(order_id: str) -> str:
    """Tells where an order is.

    Args:
        order_id: Number of the order, such as O-77.
    """
    return _ORDERS.get(order_id, f"there is no order {order_id}")
