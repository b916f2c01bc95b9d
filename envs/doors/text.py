"""Text: prose in, prose out, for anybody's own language-model code. Needs numpy only.

`Conversation` deals, asks and reads; the model is whoever answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ludus.core.agent import Agent, Request
from ludus.core.errors import IllegalMove
from ludus.core.game import Game, Options, Seat
from ludus.core.match import Illegal
from ludus.core.reading import instruction
from ludus.core.registry import make
from ludus.envs.doors.host import Door, Hosted, host

Message: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class Turn:
    """A seat is asked.

    Attributes:
        seat: who.
        messages: the seat's chat so far, in the form that chat models take: the rules as the system's
            message, then views and replies in turn, the last of them this turn's view.
        options: what may be replied, for those who look deeper.
    """

    seat: Seat
    messages: tuple[Message, ...]
    options: Options

    @property
    def prompt(self) -> str:
        """The last message alone: the view, and how to answer."""
        return self.messages[-1]["content"]


class Conversation(Door[Hosted]):
    r"""A game of which one seat, or every player's, is played by replies in prose.

    Args:
        game: a game, or the name of one that is made with `params`.
        seat: the seat to play; None for every player's seat, asked one after the other.
        opponents: who plays the other players' seats: the name of an agent, an agent, or either by seat or role.
        crew: agents for crew seats or roles, instead of those that the game names.
        illegal: what happens to replies that cannot be used; a forfeit at once by default.
        max_steps: after so many decisions of all seats the game is cut.
        params: what the game is made with.

    The loop is `turn = talk.reset(seed=1)`, then `while turn: turn = talk.reply(my_model(turn.messages))`.

    Example:
        >>> talk = Conversation("kuhn_poker", seat="player_0")
        >>> print(talk.reset(seed=1).prompt)
        Your card is Q. No moves so far.
        Answer with exactly one of [pass], [bet].
        >>> talk.reply("I would not bet on this: [pass]").prompt
        'Your card is Q. Moves so far: pass, bet.\nAnswer with exactly one of [pass], [bet].'
    """

    def __init__(
        self,
        game: str | Game[Any],
        seat: Seat | None = None,
        opponents: str | Agent | Mapping[Seat, Agent | str] = "uniform",
        *,
        crew: Mapping[Seat, Agent | str] | None = None,
        illegal: Illegal | None = None,
        max_steps: int = 1000,
        **params: Any,
    ) -> None:
        made = make(game, **params) if isinstance(game, str) else game
        outside = made.players if seat is None else (seat,)
        if isinstance(opponents, Mapping):
            inside = dict(opponents)
        else:
            inside = {other: opponents for other in made.players if other not in outside}
        left: Mapping[str, Any] = params if made is game else {}
        settings = {"illegal": illegal or Illegal(), "max_steps": max_steps}
        self.host = host(made, outside, {**inside, **(crew or {})}, left, **settings)
        self.game = made
        self.redeals = 0
        self._chats: dict[Seat, list[Message]] = {}
        self._shown: dict[Seat, Request] = {}

    def reset(self, seed: int = 0) -> Turn:
        """Deal until a seat is asked; the same seed deals the same cards as `Match(seed=seed)`."""
        if self._live is not None:
            self._live.close()
        self._live, self.redeals = self.host.deal(seed, np.random.default_rng(seed))
        self._chats = {s: [{"role": "system", "content": self.game.rules(s)}] for s in self.host.outside}
        self._shown = {}
        turn = self.turn
        assert turn is not None, "a deal stands where somebody is asked"
        return turn

    @property
    def turn(self) -> Turn | None:
        """Who is asked now, and what; None once the game has ended."""
        request = next(iter(self.live.open.values()), None)
        if request is None:
            return None
        chat = self._chats[request.seat]
        if self._shown.get(request.seat) is not request:
            self._shown[request.seat] = request
            complaint = f"Your reply could not be used: {request.complaint}\n" if request.complaint else ""
            content = f"{complaint}{request.view.text}\n{instruction(request.options)}"
            chat.append({"role": "user", "content": content})
        return Turn(request.seat, tuple(dict(message) for message in chat), request.options)

    def reply(self, text: str) -> Turn | None:
        """Answer the present turn; return the next one, or None once the game has ended.

        Raises:
            IllegalMove: nobody is asked.
            TypeError: the reply is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"a reply is a string, not {type(text).__name__}")
        turn = self.turn
        if turn is None:
            raise IllegalMove(f"{self.game.id}: the game has ended; reset() deals a new one")
        self._chats[turn.seat].append({"role": "assistant", "content": text})
        self.live.answer(turn.seat, text)
        return self.turn

    @property
    def returns(self) -> dict[Seat, float]:
        """What every player has earned so far."""
        return {seat: self.live.table.returns[seat] for seat in self.game.players}

    def account(self, seat: Seat) -> dict[str, Any]:
        """How the seat's last reply was read, and how the game ended: see the PettingZoo door's `info`."""
        return self.live.account(seat)
