"""The order desk: a small shop's users and orders, and the tools that work on them.

Pure functions over JSON. The text of this file is also run in the sandbox, where programs call the tools,
so at run time it imports nothing. The rules never take a state from a program, only its calls, and make
them again.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own is True to type checkers by its name alone
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

#: What a program can do, for prompts.
TOOLS = """\
desk.get(id)                 the order or user with this id
desk.set(id, field, value)   change the address of a pending order, or the name or email of a user
desk.list(user)              the ids of a user's orders
desk.search(text)            the ids of orders whose item contains the text
desk.cancel(order)           cancel a pending order
desk.refund(order)           credit the price of a cancelled or delivered order to its user
desk.submit(answer)          hand in an answer and finish"""
STATUSES = ("pending", "delivered", "cancelled")
SETTABLE = {"orders": ("address",), "users": ("name", "email")}


def opened(orders: Mapping[str, Mapping[str, Any]], users: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A desk with these orders, as JSON.

    Args:
        orders: by id: user, item, price, status.
        users: by id: name; two of them if left out.
    """
    people = users or {"u1": "Ada", "u2": "Ben"}
    return {
        "users": {
            key: {"name": name, "email": f"{name.lower()}@example.org", "credit": 0}
            for key, name in people.items()
        },
        "orders": {key: {**order, "address": "1 Oak Lane"} for key, order in orders.items()},
        "answer": "",
    }


def call(desk: dict[str, Any], tool: str, arguments: Sequence[Any]) -> Any:
    """Make one call on a desk, which it changes, and return its result; {"error": why} if it cannot be made."""
    counts = {"get": 1, "set": 3, "list": 1, "search": 1, "cancel": 1, "refund": 1, "submit": 1}
    if tool not in counts:
        return {"error": f"there is no tool {tool}"}
    if len(arguments) != counts[tool] or not all(isinstance(a, (str, int, float)) for a in arguments):
        return {"error": f"{tool} takes {counts[tool]} words or numbers"}
    return _call(desk, tool, [str(argument) for argument in arguments])


def _call(desk: dict[str, Any], tool: str, words: list[str]) -> Any:
    orders, users = desk["orders"], desk["users"]
    first = words[0]
    if tool == "submit":
        desk["answer"] = first
        return first
    if tool == "search":
        return [key for key, order in orders.items() if first.lower() in order["item"].lower()]
    if tool == "list":
        return [key for key, order in orders.items() if order["user"] == first]
    if tool in ("get", "set"):
        kind = "orders" if first in orders else "users"
        if first not in desk[kind]:
            return {"error": f"nothing has the id {first}"}
        return dict(desk[kind][first]) if tool == "get" else _set(desk[kind][first], kind, *words[1:])
    if first not in orders:
        return {"error": f"there is no order {first}"}
    return _settle(orders[first], users, tool)


def _set(record: dict[str, Any], kind: str, field: str, value: str) -> dict[str, Any]:
    if field not in SETTABLE[kind]:
        return {"error": f"{field} cannot be set, only {', '.join(SETTABLE[kind])}"}
    if record.get("status", "pending") != "pending":
        return {"error": f"the order is {record['status']}"}
    record[field] = value
    return dict(record)


def _settle(order: dict[str, Any], users: dict[str, Any], tool: str) -> dict[str, Any]:
    before, after = {
        "cancel": (("pending",), "cancelled"),
        "refund": (("cancelled", "delivered"), "refunded"),
    }[tool]
    if order["status"] not in before:
        return {"error": f"the order is {order['status']}"}
    order["status"] = after
    if tool == "refund" and order["user"] in users:
        users[order["user"]]["credit"] += order["price"]
    return dict(order)
