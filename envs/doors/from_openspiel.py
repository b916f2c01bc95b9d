"""Any game of OpenSpiel as a game of ours: for the loop, the arenas, training, tables and search.

    ludus.make("openspiel", game="leduc_poker(players=3)")

A state is what was played so far; OpenSpiel's own states are a cache beside it, and any other is reached by playing
again. Chance must be explicit, so that its outcomes are moves with odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, IllegalMove, MissingExtra, UnknownName
from ludus.core.game import CHANCE, Choice, Game, Interface, Seat, View
from ludus.core.registry import register

Action: TypeAlias = "int | tuple[int, ...]"
KEPT = 4096  # of OpenSpiel's states
NAMED = 20_000  # moves; games with more have numbers for names
NOTHING = -1  # what a seat plays that has no move where the others move


@dataclass(frozen=True, slots=True)
class Line:
    """A state: moves and outcomes so far, joint moves as tuples. `paid` is what the last one earned each seat."""

    actions: tuple[Action, ...] = ()
    paid: tuple[float, ...] = ()


@register("openspiel")
class FromOpenSpiel(Game[Line]):
    """A game of OpenSpiel's.

    Args:
        game: as OpenSpiel writes it, with parameters: "kuhn_poker", "goofspiel(num_cards=4,imp_info=True)".
        features: whether views hold OpenSpiel's tensors: those of information states, or else of observations.

    Raises:
        MissingExtra: OpenSpiel is not installed.
        UnknownName: it has no such game.
        ConfigError: its chance is hidden, or it is a mean-field game.

    Source: Lanctot et al. 2019, arXiv:1908.09453.
    """

    def __init__(self, game: str, features: bool = True) -> None:
        try:
            import pyspiel
        except ImportError as absent:
            raise MissingExtra("a game of OpenSpiel", "openspiel") from absent
        name = game.partition("(")[0]
        if name not in pyspiel.registered_names():
            raise UnknownName("game of OpenSpiel", name, pyspiel.registered_names())
        try:
            self.theirs: Any = pyspiel.load_game(game)
        except (pyspiel.SpielError, RuntimeError) as fault:
            raise ConfigError(f"OpenSpiel cannot load {game!r}: {fault}") from fault
        kind = self.theirs.get_type()
        if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
            raise ConfigError(f"{game!r} draws its chance by itself, and says no odds: it cannot be replayed")
        if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
            raise ConfigError(f"{game!r} is a mean-field game: it has a crowd, and no seats")
        self.seats = tuple(f"player_{k}" for k in range(self.theirs.num_players()))
        self.zero_sum = kind.utility == pyspiel.GameType.Utility.ZERO_SUM
        self.perfect_information = kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION
        self.view_is_complete = kind.provides_information_state_string or self.perfect_information
        self.stake = _stake(self.theirs)
        self.moves = _names(self.theirs)
        self._tensor = _tensor(kind, whole=self.perfect_information) if features else ""
        self.shape = tuple(getattr(self.theirs, f"{self._tensor}_shape")()) if self._tensor else None
        self._told = _told(kind, whole=self.perfect_information)
        self._kept: dict[tuple[Action, ...], Any] = {}

    # ------------------------------------------------------------------------------- the rules
    def start(self, rng: np.random.Generator) -> Line:
        return Line()

    def turn(self, state: Line) -> tuple[Seat, ...]:
        at = self._at(state.actions)
        if at.is_terminal():
            return ()
        if at.is_chance_node():
            return (CHANCE,)
        if at.is_simultaneous_node():
            return tuple(seat for k, seat in enumerate(self.seats) if at.legal_actions(k))
        return (self.seats[at.current_player()],)

    def chance(self, state: Line) -> Sequence[tuple[int, float]]:
        return [(int(outcome), float(share)) for outcome, share in self._at(state.actions).chance_outcomes()]

    def options(self, state: Line, seat: Seat) -> Choice:
        legal = np.zeros(len(self.moves), np.bool_)
        legal[self._at(state.actions).legal_actions(self.seats.index(seat))] = True
        return Choice(self.moves, legal)

    def fingerprint(self) -> str:
        import pyspiel

        return f"{super().fingerprint()}-openspiel-{pyspiel.__version__}"

    def view(self, state: Line, seat: Seat) -> View:
        at, k = self._at(state.actions), self.seats.index(seat)
        text = getattr(at, self._told)(k) if self._told else str(at)
        return View(f"You are {seat}.\n{text}", self._features(at, k))

    def play(self, state: Line, moves: Mapping[Seat, Any]) -> Line:
        before = self._at(state.actions)
        turn = self.turn(state)
        if set(moves) != set(turn):
            raise IllegalMove(
                f"{self.id}: it is the turn of {', '.join(turn) or 'nobody'}, not of {', '.join(moves)}"
            )
        after = before.clone()
        if turn == (CHANCE,) or not before.is_simultaneous_node():
            action: Action = self._checked(before, turn[0], moves[turn[0]])
            after.apply_action(action)
        else:
            laid = [
                self._checked(before, seat, moves[seat]) if seat in moves else NOTHING for seat in self.seats
            ]
            action = tuple(laid)
            after.apply_actions([a if a != NOTHING else 0 for a in laid])
        actions = (*state.actions, action)
        self._keep(actions, after)
        paid = np.asarray(after.returns()) - np.asarray(before.returns())
        return Line(actions, tuple(paid.tolist()))

    def payoff(self, state: Line) -> Mapping[Seat, float]:
        return {seat: paid for seat, paid in zip(self.seats, state.paid, strict=False) if paid}

    def interface(self, seat: Seat) -> Interface:
        return Interface(Choice(self.moves, np.ones(len(self.moves), np.bool_)), self.shape, "float32")

    def rules(self, seat: Seat) -> str:
        told = self.theirs.get_type().long_name
        return (
            f"{told}, as OpenSpiel has it: {self.theirs}. You are {seat}, one of {len(self.seats)} players."
        )

    # ----------------------------------------------------------------------------- the other side
    def _checked(self, at: Any, seat: Seat, move: Any) -> int:
        whole = isinstance(move, (int, np.integer)) and not isinstance(move, bool)
        if seat == CHANCE:
            legal = [outcome for outcome, _ in at.chance_outcomes()]
        else:
            legal = at.legal_actions(self.seats.index(seat))
        if not whole or int(move) not in legal:
            raise IllegalMove(f"{self.id}: {seat} cannot play {move!r} here; legal are {legal[:20]}")
        return int(move)

    def _features(self, at: Any, k: int) -> NDArray[np.float32] | None:
        if not self._tensor:
            return None
        seen = np.asarray(getattr(at, self._tensor)(k), np.float32).reshape(self.shape or (-1,))
        seen.flags.writeable = False
        return seen

    def _at(self, actions: tuple[Action, ...]) -> Any:
        """OpenSpiel's state after these actions; nobody may change it."""
        if actions in self._kept:
            return self._kept[actions]
        known = next((n for n in range(len(actions) - 1, 0, -1) if actions[:n] in self._kept), 0)
        at = self._kept[actions[:known]].clone() if known else self.theirs.new_initial_state()
        for action in actions[known:]:
            if isinstance(action, tuple):
                at.apply_actions([a if a != NOTHING else 0 for a in action])
            else:
                at.apply_action(action)
        self._keep(actions, at)
        return at

    def _keep(self, actions: tuple[Action, ...], at: Any) -> None:
        if len(self._kept) >= KEPT:
            for oldest in list(self._kept)[: KEPT // 2]:
                del self._kept[oldest]
        self._kept[actions] = at

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("theirs", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__init__(**self.params)  # type: ignore[misc]


def _stake(theirs: Any) -> float:
    low, high = float(theirs.min_utility()), float(theirs.max_utility())
    stake = max(abs(low), abs(high))
    return stake if np.isfinite(stake) and stake > 0 else 1.0


def _names(theirs: Any, *, games: int = 5, most: int = 200) -> tuple[str, ...]:
    """What OpenSpiel calls the moves in some random games, where that is always the same and no two are; else numbers."""
    count, rng = theirs.num_distinct_actions(), np.random.default_rng(0)
    said: dict[int, set[str]] = {}
    for _ in range(games if count <= NAMED else 0):
        at = theirs.new_initial_state()
        for _ in range(most):
            if at.is_terminal():
                break
            if at.is_chance_node():
                at.apply_action(int(rng.choice([outcome for outcome, _ in at.chance_outcomes()])))
                continue
            asked = range(theirs.num_players()) if at.is_simultaneous_node() else [at.current_player()]
            legal = [at.legal_actions(k) for k in asked]
            for k, actions in zip(asked, legal, strict=True):
                for action in actions:
                    said.setdefault(action, set()).add(at.action_to_string(k, action).strip())
            drawn = [int(rng.choice(actions)) if actions else 0 for actions in legal]
            at.apply_actions(drawn) if at.is_simultaneous_node() else at.apply_action(drawn[0])
    once = {action: names.pop() for action, names in said.items() if len(names) == 1}
    alone = {
        name for name in once.values() if list(once.values()).count(name) == 1 and name and not name.isdigit()
    }
    return tuple(name if (name := once.get(a, "")) in alone else str(a) for a in range(count))


def _tensor(kind: Any, *, whole: bool) -> str:
    """The tensor that a seat sees: where nothing is hidden, what is on the board, and else all that it knows."""
    if kind.provides_information_state_tensor and not (whole and kind.provides_observation_tensor):
        return "information_state_tensor"
    return "observation_tensor" if kind.provides_observation_tensor else ""


def _told(kind: Any, *, whole: bool) -> str:
    """The same in prose; where there is none, and nothing is hidden, the position as it is printed."""
    if kind.provides_information_state_string and not whole:
        return "information_state_string"
    return "observation_string" if kind.provides_observation_string else ""
