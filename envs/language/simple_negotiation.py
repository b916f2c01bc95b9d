"""Simple negotiation: two traders talk, offer, accept and deny."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import UnknownName
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Interface, Move, Options, Seat, Text, View
from ludus.core.registry import register
from ludus.envs.language.trade import Goods, Market, Offer, Unusable, lacks, moved

BASE = (5, 10, 15, 25, 40)
LOW, HIGH = 5, 40  # of values
QUANTITIES = range(5, 26)
LAPSE = {
    "silence": "[Deny] refuses it; so does making an offer of your own, or saying anything else.",
    "deny": "[Deny] refuses it; so does making an offer of your own. Until then it stands.",
    "never": "[Deny] refuses it, and yet it can be accepted until another offer takes its place.",
}


@dataclass(frozen=True, slots=True)
class Talk:
    """The state.

    Attributes:
        draws: nature's outcomes: for each player five quantities and five values.
        held: what each player has now.
        said: messages so far: who said it, what, what came of it, and a fault that only the speaker is told.
        pending: an offer that stands.
        maker: who made it.
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
    maker: int = 0
    turns: int = 0
    mover: int = 0
    errors: int = 0
    loser: int | None = None
    moves: tuple[int, ...] = ()


@register("simple_negotiation")
class SimpleNegotiation(Game[Talk]):
    """Two traders with five resources talk, offer, accept and deny; whoever gains more value wins.

    Quantities and values are drawn for each player and known to nobody else. An offer is answered
    by the next message of the player it was made to. See `rules` for the whole, as players read it.

    Source: TextArena's SimpleNegotiation-v0 (Guertler et al., 2025, arXiv 2504.11442), with two
    faults repaired: an offer that is not accepted at once is gone, and only the player it was made
    to can accept it. `lapse="never", self_accept=True` brings them back. Also refused are messages
    that accept and deny, or hold two offers.

    Args:
        max_turns: turns of both players together.
        allowance: messages in a row that may break the rules before the next one loses.
        menu: a finite choice: accept, deny, talk, or offer a few pieces of one for a few of another.
        lapse: when an offer that is not accepted is gone: after any other answer ("silence"), when
            it is denied or answered by an offer ("deny"), or only when another one is made ("never").
        self_accept: whether a player may accept its own offer, by which nothing changes hands.
        fault: what the player earns that breaks the rules once too often, and what the other earns.
    """

    seats = ("player_0", "player_1")
    view_is_complete = True
    market: ClassVar[Market] = Market(("Wheat", "Wood", "Sheep", "Brick", "Ore"), "3 Wood -> 2 Ore")
    most: ClassVar[int] = 1  # pieces of a resource in an offer of the menu
    goods: ClassVar[str] = (
        "Two players hold Wheat, Wood, Sheep, Brick and Ore. Each knows its own quantities and what each "
        "resource is worth to itself, and neither knows the other's."
    )
    sample_offer: ClassVar[str] = "3 Sheep, 2 Ore -> 5 Brick"

    def __init__(
        self,
        max_turns: int = 10,
        allowance: int = 1,
        menu: bool = False,
        lapse: str = "silence",
        self_accept: bool = False,
        fault: Sequence[float] = (-1.0, 1.0),
    ) -> None:
        if max_turns < 1 or allowance < 0:
            raise ValueError(f"at least one turn and no negative allowance, not {max_turns=}, {allowance=}")
        if lapse not in LAPSE:
            raise UnknownName("way for offers to lapse", lapse, LAPSE)
        if len(fault) != 2 or not (np.isfinite(fault).all() and fault[0] <= 0):
            raise ValueError(f"fault={fault!r}: two numbers, what the loser earns, at most 0, and the other")
        self.max_turns, self.allowance, self.menu = max_turns, allowance, menu
        self.lapse, self.self_accept = lapse, self_accept
        self.fault = float(fault[0]), float(fault[1])
        self.stake, self.zero_sum = max(1.0, -self.fault[0]), sum(self.fault) == 0
        self.offers = self.market.menu(self.most)
        self.names = ("Accept", "Deny", "Talk", *(f"Offer: {self.market.write(o)}" for o in self.offers))

    # --------------------------------------------------------------------------------- order
    def start(self, rng: np.random.Generator) -> Talk:
        return Talk()

    def turn(self, state: Talk) -> tuple[Seat, ...]:
        if not state.held[0]:
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
        i, held, pending, maker, outcome = state.mover, state.held, state.pending, state.maker, ""
        accepts, denies, offer = self.market.read(message)
        if accepts:
            held, pending = self._trade(state), None
            outcome = f"player_{i} accepted the offer."
        elif pending is not None and maker != i:
            answered = denies or offer is not None
            if answered or self.lapse == "silence":
                outcome = f"player_{i} {'denied' if denies else 'did not accept'} the offer."
            if self.lapse == "silence" or (answered and self.lapse == "deny"):
                pending = None
        if offer is not None:
            if lacks(held[i], offer.gives):
                raise Unusable(f"you offer {self.market.listed(offer.gives)} and do not have it")
            outcome = f"{outcome} player_{i} offers {self.market.write(offer)}.".strip()
            pending, maker = offer, i
        return replace(
            state, held=held, said=(*state.said, (i, message, outcome, "")), pending=pending, maker=maker,
            turns=state.turns + 1, mover=1 - i, errors=0,
        )  # fmt: skip

    def _trade(self, state: Talk) -> tuple[Goods, Goods]:
        """What both hold after the player on turn takes the pending offer.

        Whoever made it still has what it offers: every trade settles the one offer that there is.
        """
        i, offer = state.mover, state.pending
        if offer is None or (state.maker == i and not self.self_accept):
            raise Unusable("you accept, and no offer is made to you")
        if lacks(state.held[i], offer.wants):
            raise Unusable(f"you accept, and do not have {self.market.listed(offer.wants)}")
        if state.maker == i:
            return state.held
        mine = moved(state.held[i], offer.gives, offer.wants)
        other = moved(state.held[1 - i], offer.wants, offer.gives)
        return (mine, other) if i == 0 else (other, mine)

    def _refuse(self, state: Talk, message: str, fault: str) -> Talk:
        lost = state.errors >= self.allowance
        said = (*state.said, (state.mover, message, "This breaks the rules.", fault))
        return replace(state, said=said, errors=state.errors + 1, loser=state.mover if lost else None)

    # ----------------------------------------------------------------------------------- pay
    def payoff(self, state: Talk) -> Mapping[Seat, float]:
        if self.turn(state):
            return {}
        if state.loser is not None:
            return self._priced(self.seats[state.loser])
        won = float(np.sign(self.gain(state, 0) - self.gain(state, 1)))
        return {"player_0": won, "player_1": -won}

    def _priced(self, loser: Seat) -> dict[Seat, float]:
        own, other = self.fault
        return {seat: own if seat == loser else other for seat in self.seats}

    def forfeit(self, state: Talk, losers: Mapping[Seat, Forfeit]) -> Mapping[Seat, float]:
        (loser,) = losers
        return self._priced(loser)

    def _dealt(self, state: Talk, i: int) -> tuple[Goods, Goods]:
        """The quantities that player i was dealt, and what a piece of each is worth to it."""
        r = len(self.market.names)
        own = state.draws[2 * r * i : 2 * r * (i + 1)]
        return own[:r], own[r:]

    def gain(self, state: Talk, i: int) -> int:
        """By how much the goods of player i have gained in value, at its own values."""
        first, values = self._dealt(state, i)
        return sum(
            value * (now - then) for value, now, then in zip(values, state.held[i], first, strict=True)
        )

    # --------------------------------------------------------------------------------- seats
    def rules(self, seat: Seat) -> str:
        just = "just " if self.lapse == "silence" else ""
        tokens = (
            f"[Offer: {self.sample_offer}] offers what stands before the arrow for what stands after it.",
            f"[Accept] takes the offer that the other player has {just}made to you.",
            LAPSE[self.lapse],
            *(["You may accept your own offer, by which nothing changes hands."] if self.self_accept else []),
        )
        intro = (
            f"{self.goods} They take turns; a turn is one message. Say what you like, and use these tokens."
        )
        outcome = (
            "When the turns are used up, the player whose goods have gained more in value, each at its own "
            "values, wins 1 and the other loses 1; equal gains are a draw. You cannot offer what you do not "
            f"have, accept what you cannot pay for, or accept when no offer is made to you. {self._broken()}"
        )
        return "\n".join([intro, "", *tokens, "", outcome])

    def _broken(self) -> str:
        """What breaking the rules leads to."""
        loses = "loses the game"
        if self.fault != (-1.0, 1.0):
            loses = f"ends the game: you earn {self.fault[0]:g} by it, the other {self.fault[1]:g}"
        if not self.allowance:
            return f"A message that breaks the rules {loses}."
        last = "the next one" if self.allowance == 1 else f"number {self.allowance + 1}"
        return (
            "A message that breaks the rules takes no turn and is answered with the reason; "
            f"{last} in a row {loses}."
        )

    def options(self, state: Talk, seat: Seat) -> Options:
        if not self.menu:
            return Text(2000)
        i = self.seats.index(seat)
        held = state.held[i] or (0,) * len(self.market.names)
        pending = state.pending
        mine = pending is not None and state.maker == i
        denies = pending is not None and not mine
        accepts = denies or (mine and self.self_accept)
        payable = pending is not None and not lacks(held, pending.wants)
        offers = [not lacks(held, offer.gives) for offer in self.offers]
        return Choice(self.names, np.array([accepts and payable, denies, True, *offers]))

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
        values = self._dealt(state, i)[1]
        goods = zip(self.market.names, state.held[i], values, strict=True)
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
            else f"\nAnswer with a message. Tokens: [Offer: {self.market.example}], [Accept], [Deny]."
        )
        offer = self._standing(state, i)
        return "\n".join([*lines, f"{offer}It is your turn. Turns left: {left}.{how}"])

    def _standing(self, state: Talk, i: int) -> str:
        """The offer that stands, as player i is told of it."""
        if state.pending is None:
            return ""
        who = "Your offer stands:" if state.maker == i else f"player_{1 - i} offers you"
        return f"{who} {self.market.write(state.pending)}. "

    def _features(self, state: Talk, i: int) -> NDArray[np.float32]:
        """Which player (2); own quantities and values, and quantities at first, all over 40 (3R); then the moves so
        far, one of A each, at most max_turns of them: a menu holds no move that breaks the rules.
        """
        begin = 2 + 3 * len(self.market.names)
        out = np.zeros(begin + self.max_turns * len(self.names), np.float32)
        out[i] = 1
        if state.held[i]:
            first, values = self._dealt(state, i)
            out[2:begin] = np.array([*state.held[i], *values, *first]) / 40
        for turn, move in enumerate(state.moves):
            out[begin + turn * len(self.names) + move] = 1
        return out

    def sample(self, state: Talk, seat: Seat, rng: np.random.Generator) -> Move:
        """A message within the rules: an answer to what is offered, an offer of a few pieces, or mere words."""
        if self.menu:
            return super().sample(state, seat, rng)
        held = state.held[self.seats.index(seat)]
        words = ["Let us trade.", "What do you need?", "I can do better.", "No, thank you."]
        said = [str(rng.choice(words))] if rng.random() < 0.3 else []
        if state.pending is not None and state.maker != self.seats.index(seat):
            payable = not lacks(held, state.pending.wants)
            said.append("[Accept]" if payable and rng.random() < 0.5 else "[Deny]")
        owned = np.flatnonzero(np.array(held) > 0)
        if len(owned) and (not said or said[-1] == "[Deny]"):
            gives = int(rng.choice(owned))
            wants = int(rng.choice([r for r in range(len(held)) if r != gives]))
            count = int(rng.integers(1, min(4, held[gives] + 1)))
            offer = Offer(self.market.one(gives, count), self.market.one(wants, int(rng.integers(1, 4))))
            said.append(f"[Offer: {self.market.write(offer)}]")
        return " ".join(said) or words[0]


def _line(entry: tuple[int, str, str, str], reader: int) -> str:
    """A message as a player reads it, on one line, so that none can pass for what the game says."""
    who, message, came, fault = entry
    told = f"{came[:-1]}: {fault}." if fault and who == reader else came
    return f"player_{who}: {' '.join(message.split())}" + (f"\n{told}" if told else "")
