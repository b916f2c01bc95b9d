"""Goods, offers, and the tokens in which two traders speak of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

_TOKEN = re.compile(r"\[\s*(accept|deny|offer\b[^\[\]]*)\s*\]", re.IGNORECASE)
_OFFER = re.compile(
    r"offer\s*:?\s*(?:I\s+(?:give|offer)\s+)?(.*?)\s*->\s*(.*?)[\s.,!?]*", re.IGNORECASE | re.DOTALL
)
_ITEM = re.compile(r"([0-9]{1,6})\s+([a-z]+)", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,\s*and\b|,|\band\b)\s*", re.IGNORECASE)

Goods: TypeAlias = tuple[int, ...]  # by resource (R,)


class Offer(NamedTuple):
    """What the maker of the offer gives, and what it wants for it."""

    gives: Goods
    wants: Goods


class Unusable(ValueError):
    """A message that breaks the rules; the text says how."""


class Message(NamedTuple):
    """Whether a message accepts, whether it denies, and the offer in it."""

    accepts: bool
    denies: bool
    offer: Offer | None


@dataclass(frozen=True)
class Market:
    """The resources that are traded, and how they are written and read.

    Attributes:
        names: of the resources (R).
        example: an offer, without its brackets.
    """

    names: tuple[str, ...]
    example: str

    @functools.cached_property
    def plurals(self) -> Mapping[str, int]:
        """Resources by every spelling of their names, in lower case."""
        return {name.lower() + end: i for i, name in enumerate(self.names) for end in ("", "s", "es")}

    def one(self, resource: int, count: int = 1) -> Goods:
        """Some pieces of one resource."""
        return tuple(count * (i == resource) for i in range(len(self.names)))

    def listed(self, goods: Goods) -> str:
        """Goods in words.

        >>> Market(("Wood", "Gold"), "3 Wood -> 2 Gold").listed((3, 2))
        '3 Wood, 2 Gold'
        """
        return ", ".join(f"{n} {name}" for n, name in zip(goods, self.names, strict=True) if n)

    def write(self, offer: Offer) -> str:
        """An offer as it stands in its token."""
        return f"{self.listed(offer.gives)} -> {self.listed(offer.wants)}"

    def menu(self, most: int) -> tuple[Offer, ...]:
        """Every offer of one to `most` pieces of a resource for one to `most` pieces of another."""
        kinds, counts = range(len(self.names)), range(1, most + 1)
        return tuple(
            Offer(self.one(a, gives), self.one(b, wants))
            for a in kinds for b in kinds if a != b
            for gives in counts for wants in counts
        )  # fmt: skip

    def read(self, message: str) -> Message:
        """What the tokens of a message say.

        Raises:
            Unusable: it accepts and denies, holds two offers, or one that cannot be read.

        >>> Market(("Wood", "Gold"), "3 Wood -> 2 Gold").read("Fine. [accept] [Offer: 2 woods -> 3 Gold]")
        Message(accepts=True, denies=False, offer=Offer(gives=(2, 0), wants=(0, 3)))
        """
        tokens = [" ".join(token.split()) for token in _TOKEN.findall(message)]
        accepts, denies = (any(token.lower() == word for token in tokens) for word in ("accept", "deny"))
        offers = [token for token in tokens if token.lower().startswith("offer")]
        if accepts and denies:
            raise Unusable("the message both accepts and denies")
        if len(offers) > 1:
            raise Unusable("the message holds two offers")
        return Message(accepts, denies, self._offer(offers[0]) if offers else None)

    def _offer(self, token: str) -> Offer:
        parts = _OFFER.fullmatch(token)
        if parts is None:
            raise Unusable(f"[{token}] is no offer; write one like [Offer: {self.example}]")
        return Offer(self._goods(parts[1]), self._goods(parts[2]))

    def _goods(self, text: str) -> Goods:
        """Quantities by resource, from a list such as "3 Sheep, 2 Ore and 1 wood"."""
        goods = [0] * len(self.names)
        for piece in _AND.split(text.strip()):
            item = _ITEM.fullmatch(piece)
            if item is None or item[2].lower() not in self.plurals or int(item[1]) == 0:
                raise Unusable(f"{piece!r} is no quantity of {', '.join(self.names)}")
            goods[self.plurals[item[2].lower()]] += int(item[1])
        return tuple(goods)


def lacks(held: Goods, needed: Goods) -> bool:
    """Whether something needed is not held."""
    return any(n > h for h, n in zip(held, needed, strict=True))


def moved(held: Goods, gained: Goods, lost: Goods) -> Goods:
    """What is held after a trade."""
    return tuple(h + g - w for h, g, w in zip(held, gained, lost, strict=True))
