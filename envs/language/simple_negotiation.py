"""Simple negotiation: two traders with five resources talk, offer, accept and deny."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.game import CHANCE, Choice, Game, Interface, Move, Options, Seat, Text, View
from ludus.core.registry import register

RESOURCES = ("Wheat", "Wood", "Sheep", "Brick", "Ore")
BASE = (5, 10, 15, 25, 40)
LOW, HIGH = 5, 40  # of values
QUANTITIES = range(5, 26)
PLURALS = {name.lower() + ending: i for i, name in enumerate(RESOURCES) for ending in ("", "s", "es")}

_TOKEN = re.compile(r"\[\s*(accept|deny|offer\b[^\[\]]*)\s*\]", re.IGNORECASE)
_OFFER = re.compile(
    r"offer\s*:?\s*(?:I\s+(?:give|offer)\s+)?(.*?)\s*->\s*(.*?)[\s.,!?]*", re.IGNORECASE | re.DOTALL
)
_ITEM = re.compile(r"([0-9]{1,6})\s+([a-z]+)", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,\s*and\b|,|\band\b)\s*", re.IGNORECASE)

Goods = tuple[int, ...]  # by resource (5,)


class Offer(NamedTuple):
    """What the maker of the offer gives, and what it wants for it."""

    gives: Goods
    wants: Goods

    def __str__(self) -> str:
        return f"{_listed(self.gives)} -> {_listed(self.wants)}"


class Unusable(ValueError):
    """A message that breaks the rules; the text says how."""


@dataclass(frozen=True, slots=True)
class Talk:
    """The state.

    Attributes:
        draws: nature's outcomes: for each player five quantities and five values.
        held: what each player has now.
        said: messages so far: who said it, what, what came of it, and a fault that only the speaker is told.
        pending: an offer that waits for the player on turn.
        turns: how many turns have been taken; a message that breaks the rules takes none.
        mover: who is on turn.
        errors: messages in a row that broke the rules.
        loser: who broke them once too often.
        moves: the moves of a menu, in order.
    """

    draws: tuple[int, ...] = ()
    held: tuple[Goods, Goods] = ((), ())
    said: tuple[tuple[int, str, str, str], ...] = ()
    pending: Offer | None = None
    turns: int = 0
    mover: int = 0
    errors: int = 0
    loser: int | None = None
    moves: tuple[int, ...] = ()


@register("simple_negotiation")
class SimpleNegotiation(Game[Talk]):
    """Two players hold Wheat, Wood, Sheep, Brick and Ore. Each knows its own quantities and what each
    resource is worth to itself, and neither knows the other's. They take turns; a turn is one message.
    Say what you like, and use these tokens.

    [Offer: 3 Sheep, 2 Ore -> 5 Brick] offers what stands before the arrow for what stands after it.
    [Accept] takes the offer that the other player has just made to you.
    [Deny] refuses it; so does making an offer of your own, or saying anything else.

    When the turns are used up, the player whose goods have gained more in value, each at its own
    values, wins 1 and the other loses 1; equal gains are a draw. You cannot offer what you do not
    have, accept what you cannot pay for, or accept when no offer is made to you. A message that
    breaks the rules takes no turn and is answered with the reason; the next one in a row loses the
    game.

    Source: TextArena's SimpleNegotiation-v0 (Guertler et al., 2025, arXiv 2504.11442), with two
    faults repaired: an offer that is not accepted at once is gone, and only the player it was made
    to can accept it. Also refused are messages that accept and deny, or hold two offers.

    Args:
        max_turns: turns of both players together.
        allowance: messages in a row that may break the rules before the next one loses.
        menu: a finite choice: accept, deny, talk, or offer one piece for one.
    """

    seats = ("player_0", "player_1")
    zero_sum = True
    view_is_complete = True

    def __init__(self, max_turns: int = 10, allowance: int = 1, menu: bool = False) -> None:
        if max_turns < 1 or allowance < 0:
            raise ValueError(f"at least one turn and no negative allowance, not {max_turns=}, {allowance=}")
        self.max_turns, self.allowance, self.menu = max_turns, allowance, menu
        pairs = [(a, b) for a in range(5) for b in range(5) if a != b]
        self.offers = tuple(Offer(_one(a), _one(b)) for a, b in pairs)
        self.names = ("Accept", "Deny", "Talk", *(f"Offer: {offer}" for offer in self.offers))

    # --------------------------------------------------------------------------------- order
    def start(self, rng: np.random.Generator) -> Talk:
        return Talk()

    def turn(self, state: Talk) -> tuple[Seat, ...]:
        if len(state.draws) < 20:
            return (CHANCE,)
        over = state.loser is not None or state.turns == self.max_turns
        return () if over else (self.seats[state.mover],)

    def chance(self, state: Talk) -> Sequence[tuple[int, float]]:
        """The next quantity or value: for each player five quantities, then five values."""
        kind, i = divmod(len(state.draws) % 10, 5)
        if kind == 0:
            return [(quantity, 1 / len(QUANTITIES)) for quantity in QUANTITIES]
        spread = BASE[i] // 5
        values = range(max(BASE[i] - spread, LOW), min(BASE[i] + spread, HIGH) + 1)
        return [(value, 1 / len(values)) for value in values]

    def play(self, state: Talk, moves: Mapping[Seat, Move]) -> Talk:
        ((seat, move),) = moves.items()
        if seat == CHANCE:
            draws = (*state.draws, int(move))  # type: ignore[arg-type]
            return replace(
                state, draws=draws, held=(draws[:5], draws[10:15]) if len(draws) == 20 else state.held
            )
        if isinstance(move, (int, np.integer)):
            state = replace(state, moves=(*state.moves, int(move)))
            message = "Let us talk." if self.names[move] == "Talk" else f"[{self.names[move]}]"
        else:
            message = str(move)
        try:
            return self._follow(state, message)
        except Unusable as fault:
            return self._refuse(state, message, str(fault))

    def _follow(self, state: Talk, message: str) -> Talk:
        """A turn: the pending offer is settled, then a new one may be made."""
        i = state.mover
        accepts, denies, offer = read_message(message)
        held, outcome = state.held, ""
        if accepts:
            held = self._trade(state)
            outcome = f"player_{i} accepted the offer."
        elif state.pending is not None:
            outcome = f"player_{i} {'denied' if denies else 'did not accept'} the offer."
        if offer is not None:
            if _lacks(held[i], offer.gives):
                raise Unusable(f"you offer {_listed(offer.gives)} and do not have it")
            outcome = f"{outcome} player_{i} offers {offer}.".strip()
        said = (*state.said, (i, message, outcome, ""))
        return replace(
            state, held=held, said=said, pending=offer, turns=state.turns + 1, mover=1 - i, errors=0
        )

    def _trade(self, state: Talk) -> tuple[Goods, Goods]:
        """What both hold after the player on turn takes the pending offer."""
        i, offer = state.mover, state.pending
        if offer is None:
            raise Unusable("you accept, and no offer is made to you")
        if _lacks(state.held[i], offer.wants):
            raise Unusable(f"you accept, and do not have {_listed(offer.wants)}")
        mine = tuple(h + g - w for h, g, w in zip(state.held[i], offer.gives, offer.wants, strict=True))
        other = tuple(h - g + w for h, g, w in zip(state.held[1 - i], offer.gives, offer.wants, strict=True))
        return (mine, other) if i == 0 else (other, mine)

    def _refuse(self, state: Talk, message: str, fault: str) -> Talk:
        lost = state.errors >= self.allowance
        said = (*state.said, (state.mover, message, "This breaks the rules.", fault))
        return replace(state, said=said, errors=state.errors + 1, loser=state.mover if lost else None)

    # ----------------------------------------------------------------------------------- pay
    def payoff(self, state: Talk) -> Mapping[Seat, float]:
        if self.turn(state):
            return {}
        if state.loser is None:
            lead = self.gain(state, 0) - self.gain(state, 1)
        else:
            lead = 1 if state.loser == 1 else -1
        won = float(np.sign(lead))
        return {"player_0": won, "player_1": -won}

    def gain(self, state: Talk, i: int) -> int:
        """By how much the goods of player i have gained in value, at its own values."""
        first, values = state.draws[10 * i : 10 * i + 5], state.draws[10 * i + 5 : 10 * i + 10]
        return sum(
            value * (now - then) for value, now, then in zip(values, state.held[i], first, strict=True)
        )

    # --------------------------------------------------------------------------------- seats
    def options(self, state: Talk, seat: Seat) -> Options:
        if not self.menu:
            return Text(2000)
        held = state.held[self.seats.index(seat)] or (0,) * 5
        pending = state.pending
        accept = pending is not None and not _lacks(held, pending.wants)
        offers = [not _lacks(held, offer.gives) for offer in self.offers]
        return Choice(self.names, np.array([accept, pending is not None, True, *offers]))

    def interface(self, seat: Seat) -> Interface:
        if seat not in self.seats:
            raise UnknownName(f"seat of {self.id}", seat, self.seats)
        options = self.options(Talk(), seat)
        return Interface(options, self._features(Talk(), 0).shape if self.menu else None, "float32")

    def view(self, state: Talk, seat: Seat) -> View:
        i = self.seats.index(seat)
        return View(self._prose(state, i), self._features(state, i) if self.menu else None)

    def _prose(self, state: Talk, i: int) -> str:
        if not state.held[i]:
            return f"You are player_{i}. The goods are not dealt yet."
        values = state.draws[10 * i + 5 : 10 * i + 10]
        goods = zip(RESOURCES, state.held[i], values, strict=True)
        lines = [
            f"You are player_{i}. You have: {', '.join(f'{n} {name} (worth {v} each)' for name, n, v in goods)}.",
            f"Your goods have gained {self.gain(state, i)} in value.",
            *(_line(entry, i) for entry in state.said),
        ]
        left = self.max_turns - state.turns
        if not self.turn(state):
            return "\n".join([*lines, "The game is over."])
        if state.mover != i:
            return "\n".join([*lines, f"player_{1 - i} is on turn. Turns left: {left}."])
        how = (
            ""
            if self.menu
            else "\nAnswer with a message. Tokens: [Offer: 3 Wood -> 2 Ore], [Accept], [Deny]."
        )
        offer = f"player_{1 - i} offers you {state.pending}. " if state.pending else ""
        return "\n".join([*lines, f"{offer}It is your turn. Turns left: {left}.{how}"])

    def _features(self, state: Talk, i: int) -> NDArray[np.float32]:
        """Which player (2); own quantities and values, and quantities at first, all over 40 (15); then the moves so
        far, one of A each, at most max_turns of them: a menu holds no move that breaks the rules.
        """
        out = np.zeros(17 + self.max_turns * len(self.names), np.float32)
        out[i] = 1
        if state.held[i]:
            out[2:17] = (
                np.array(
                    [
                        *state.held[i],
                        *state.draws[10 * i + 5 : 10 * i + 10],
                        *state.draws[10 * i : 10 * i + 5],
                    ]
                )
                / 40
            )
        for turn, move in enumerate(state.moves):
            out[17 + turn * len(self.names) + move] = 1
        return out

    def sample(self, state: Talk, seat: Seat, rng: np.random.Generator) -> Move:
        """A message within the rules: an answer to what is offered, an offer of a few pieces, or mere words."""
        if self.menu:
            return super().sample(state, seat, rng)
        held = state.held[self.seats.index(seat)]
        words = ["Let us trade.", "What do you need?", "I can do better.", "No, thank you."]
        said = [str(rng.choice(words))] if rng.random() < 0.3 else []
        if state.pending is not None:
            payable = not _lacks(held, state.pending.wants)
            said.append("[Accept]" if payable and rng.random() < 0.5 else "[Deny]")
        owned = np.flatnonzero(np.array(held) > 0)
        if len(owned) and (not said or said[-1] == "[Deny]"):
            gives = int(rng.choice(owned))
            wants = int(rng.choice([r for r in range(5) if r != gives]))
            count = int(rng.integers(1, min(4, held[gives] + 1)))
            offer = Offer(_one(gives, count), _one(wants, int(rng.integers(1, 4))))
            said.append(f"[Offer: {offer}]")
        return " ".join(said) or words[0]


# -------------------------------------------------------------------------------------- messages
def read_message(message: str) -> tuple[bool, bool, Offer | None]:
    """Whether a message accepts, whether it denies, and the offer in it.

    Raises:
        Unusable: it accepts and denies, holds two offers, or one that cannot be read.

    >>> read_message("Fine. [accept] [Offer: 2 woods and 1 Sheep -> 3 Ore]")
    (True, False, Offer(gives=(0, 2, 1, 0, 0), wants=(0, 0, 0, 0, 3)))
    """
    tokens = [" ".join(token.split()) for token in _TOKEN.findall(message)]
    accepts, denies = (any(token.lower() == word for token in tokens) for word in ("accept", "deny"))
    offers = [token for token in tokens if token.lower().startswith("offer")]
    if accepts and denies:
        raise Unusable("the message both accepts and denies")
    if len(offers) > 1:
        raise Unusable("the message holds two offers")
    return accepts, denies, _read_offer(offers[0]) if offers else None


def _read_offer(token: str) -> Offer:
    parts = _OFFER.fullmatch(token)
    if parts is None:
        raise Unusable(f"[{token}] is no offer; write one like [Offer: 3 Wood -> 2 Ore]")
    return Offer(_read_goods(parts[1]), _read_goods(parts[2]))


def _read_goods(text: str) -> Goods:
    """Quantities by resource, from a list such as "3 Sheep, 2 Ore and 1 wood"."""
    goods = [0] * len(RESOURCES)
    for piece in _AND.split(text.strip()):
        item = _ITEM.fullmatch(piece)
        if item is None or item[2].lower() not in PLURALS or int(item[1]) == 0:
            raise Unusable(f"{piece!r} is no quantity of {', '.join(RESOURCES)}")
        goods[PLURALS[item[2].lower()]] += int(item[1])
    return tuple(goods)


def _line(entry: tuple[int, str, str, str], reader: int) -> str:
    """A message as a player reads it, on one line, so that none can pass for what the game says."""
    who, message, came, fault = entry
    told = f"{came[:-1]}: {fault}." if fault and who == reader else came
    return f"player_{who}: {' '.join(message.split())}" + (f"\n{told}" if told else "")


def _one(resource: int, count: int = 1) -> Goods:
    return tuple(count * (i == resource) for i in range(len(RESOURCES)))


def _lacks(held: Goods, needed: Goods) -> bool:
    return any(n > h for h, n in zip(held, needed, strict=True))


def _listed(goods: Goods) -> str:
    return ", ".join(f"{n} {name}" for n, name in zip(goods, RESOURCES, strict=True) if n)
