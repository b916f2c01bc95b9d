"""The clauses of the contract of games, one function each.

A clause is given a game and the moments of some random play. It raises `ContractError` where it is
broken and `Skip` where it does not concern the game. Its docstring's first line is what it promises.
"""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import random  # noqa: TID251 - to see that no game draws from it
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.core.agent import Agent, Uniform, information
from ludus.core.episode import Episode
from ludus.core.errors import ROUNDING, ContractError
from ludus.core.game import CHANCE, Choice, Forfeit, Form, Game, Move, Seat, Text, View
from ludus.core.play import play
from ludus.core.registry import AGENTS, GAMES, make
from ludus.core.verify import verify


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A state that random play came to, and what was played there."""

    seed: int
    number: int
    state: Any
    moves: dict[Seat, Move]
    after: Any
    past: dict[Seat, tuple[tuple[View, Move], ...]]


class Skip(Exception):
    """A clause that does not concern this game."""


GLOBAL_DRAWS = (
    r"\b(np|numpy)\.random\.(?!Generator|default_rng|SeedSequence)\w+"
    r"|\brandom\.(random|choice|randint|shuffle|sample|seed)\("
)
Clause = Callable[[Game[Any], Sequence[Moment]], None]
CLAUSES: dict[str, Clause] = {}


def clause(function: Clause) -> Clause:
    """Enter a clause under its name."""
    CLAUSES[function.__name__.removeprefix("clause_").replace("_", " ")] = function
    return function


def require(holds: object, game: Game[Any], moment: Moment | None, message: str) -> None:
    """Raise ContractError, with where it was seen, unless something holds."""
    if not holds:
        where = f"seed {moment.seed}, turn {moment.number}: " if moment is not None else ""
        raise ContractError(f"{game.id or type(game).__name__}, {where}{message}")


@clause
def clause_seats(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Seats are named role_index, each once; crew are among them and registered."""
    require(len(set(game.seats)) == len(game.seats), game, None, f"seats {game.seats} repeat a name")
    for seat in game.seats:
        require(
            re.fullmatch(r"[a-z]+(_[a-z]+)*_[0-9]+", seat),
            game,
            None,
            f"seat {seat!r} is not named role_index",
        )
    for seat, agent in game.crew().items():
        require(seat in game.seats, game, None, f"crew seat {seat!r} is not one of {game.seats}")
        name = agent.removeprefix("ludus/")
        require(name in AGENTS, game, None, f"crew {agent!r} is not a registered agent")
    require(game.players, game, None, "nobody plays: every seat is crew")


@clause
def clause_start(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The first state is a function of the generator alone."""
    for seed in {moment.seed for moment in walk}:
        states = [game.start(np.random.default_rng(seed)) for _ in range(2)]
        require(
            states[0] == states[1], game, None, f"start(seed {seed}) gave {states[0]!r} and {states[1]!r}"
        )


@clause
def clause_rules(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Every player can read the rules."""
    for seat in game.players:
        require(
            game.rules(seat).strip(), game, None, f"{seat} has no rules to read: write the class's docstring"
        )


@clause
def clause_turn(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Only seats of the game move; chance moves alone."""
    for m in walk:
        turn = game.turn(m.state)
        require(isinstance(turn, tuple), game, m, f"turn is {turn!r}, not a tuple")
        require(set(turn) <= {*game.seats, CHANCE}, game, m, f"{turn} are not all among {game.seats}")
        require(len(set(turn)) == len(turn), game, m, f"{turn} names a seat twice")
        require(CHANCE not in turn or turn == (CHANCE,), game, m, f"chance moves together with {turn}")


@clause
def clause_chance(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Chance outcomes are distinct whole numbers whose probabilities are positive and sum to one."""
    for m in walk:
        if game.turn(m.state) != (CHANCE,):
            continue
        outcomes, odds = zip(*game.chance(m.state), strict=True)
        require(all(isinstance(o, (int, np.integer)) for o in outcomes), game, m, f"outcomes {outcomes}")
        require(len(set(outcomes)) == len(outcomes), game, m, f"outcomes {outcomes} repeat")
        require(
            min(odds) > 0 and abs(sum(odds) - 1) < ROUNDING,
            game,
            m,
            f"probabilities {odds} sum to {sum(odds)}",
        )


def _asked(game: Game[Any], walk: Sequence[Moment]) -> list[tuple[Moment, Seat]]:
    return [(m, seat) for m in walk for seat in game.turn(m.state) if seat != CHANCE]


@clause
def clause_options(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Whoever is asked has options, of the kind and width that `interface` announces."""
    for m, seat in _asked(game, walk):
        options = game.options(m.state, seat)
        require(isinstance(options, (Choice, Text, Form)), game, m, f"{seat} has options {options!r}")
        if isinstance(options, Choice):
            require(
                len(options.names) == len(options.legal), game, m, f"{seat}: names and legal differ in length"
            )
            require(
                options.legal.dtype == np.bool_, game, m, f"{seat}: legal is {options.legal.dtype}, not bool"
            )
            require(options.legal.any(), game, m, f"{seat} has no legal move")
            allowed = options.allowed
            require(len(set(allowed)) == len(allowed), game, m, f"{seat}: legal names repeat: {allowed}")
        if seat in game.players:
            static = game.interface(seat).options
            alike = isinstance(static, Choice) == isinstance(
                options, Choice
            )  # text and forms are both written
            require(alike, game, m, f"{seat}: interface says {type(static).__name__}")
            if isinstance(options, Choice) and isinstance(static, Choice):
                count = len(static.names)
                require(len(options.names) == count, game, m, f"{seat}: interface says {count} moves")


@clause
def clause_sample(game: Game[Any], walk: Sequence[Moment]) -> None:
    """`sample` draws legal replies, and from the given generator only."""
    for m, seat in _asked(game, walk):
        draws = [game.sample(m.state, seat, np.random.default_rng(7)) for _ in range(2)]
        require(
            draws[0] in game.options(m.state, seat), game, m, f"{seat} drew {draws[0]!r}, which is not legal"
        )
        require(draws[0] == draws[1], game, m, f"{seat}: one generator drew {draws[0]!r} and {draws[1]!r}")


@clause
def clause_view(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Every player sees text at every turn; features have the announced shape and type and are finite."""
    for m in walk:
        for seat in game.players:
            view = game.view(m.state, seat)
            require(view.text.strip(), game, m, f"{seat} sees no text")
            static = game.interface(seat)
            shape = None if view.features is None else view.features.shape
            require(
                shape == static.shape, game, m, f"{seat}: features of shape {shape}, interface {static.shape}"
            )
            if view.features is not None:
                require(
                    str(view.features.dtype) == static.dtype, game, m, f"{seat}: dtype {view.features.dtype}"
                )
                require(static.dtype in ("uint8", "int16", "float32"), game, m, f"dtype {static.dtype}")
                require(np.isfinite(view.features).all(), game, m, f"{seat}: features are not finite")


@clause
def clause_view_is_pure(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The same state looks the same twice, and looking changes nothing."""
    for m in walk:
        for seat in game.seats:
            before = pickle.dumps(m.state)
            first, second = game.view(m.state, seat), game.view(m.state, seat)
            third = copy.copy(game).view(m.state, seat)  # a copy remembers nothing
            same = first.digest() == second.digest() == third.digest()
            require(same, game, m, f"{seat} sees different views of one state")
            require(pickle.dumps(m.state) == before, game, m, f"the view of {seat} changed the state")


@clause
def clause_views_agree(game: Game[Any], walk: Sequence[Moment]) -> None:
    """For one seat, two views have equal text exactly if they have equal features."""
    if all(game.interface(seat).shape is None for seat in game.players):
        raise Skip("no features")
    texts: dict[tuple[Seat, str], bytes] = {}
    features: dict[tuple[Seat, bytes], str] = {}
    for m, seat in _asked(game, walk):
        view = game.view(m.state, seat)
        if view.features is None:
            continue
        raw = view.features.tobytes()
        known = texts.setdefault((seat, view.text), raw)
        require(known == raw, game, m, f"{seat}: two features for the text {view.text!r}")
        text = features.setdefault((seat, raw), view.text)
        require(text == view.text, game, m, f"{seat}: one features for {text!r} and {view.text!r}")


@clause
def clause_complete_views(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Where `view_is_complete` is claimed, equal views follow equal views and moves of the seat."""
    if not game.view_is_complete or game.perfect_information:
        raise Skip("not claimed, or the position is all there is to know")
    histories: dict[tuple[Seat, str], str] = {}
    for m, seat in _asked(game, walk):
        if seat not in game.players:  # crew reads the job at hand and nothing else
            continue
        view = game.view(m.state, seat)
        history = information(seat, view, m.past[seat])
        known = histories.setdefault((seat, view.text), history)
        require(known == history, game, m, f"{seat} came to {view.text!r} by two ways it could tell apart")


@clause
def clause_play_is_pure(game: Game[Any], walk: Sequence[Moment]) -> None:
    """`play` changes nothing it is given and is a function of it."""
    for m in walk:
        if m.moves:
            before, moves = pickle.dumps(m.state), copy.deepcopy(m.moves)
            again = copy.copy(game).play(m.state, m.moves)  # a copy remembers nothing
            require(pickle.dumps(m.state) == before, game, m, "play changed the state it was given")
            require(m.moves == moves, game, m, "play changed the moves it was given")
            require(again == m.after, game, m, "play gave two states for the same moves")


@clause
def clause_states_are_values(game: Game[Any], walk: Sequence[Moment]) -> None:
    """A state survives pickling."""
    for m in walk:
        require(pickle.loads(pickle.dumps(m.state)) == m.state, game, m, "the state changes by pickling")  # noqa: S301


@clause
def clause_payoff(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Players only are paid, in finite numbers; nobody loses more than `stake`; zero sums where claimed."""
    totals: dict[int, dict[Seat, float]] = {}
    for m in walk:
        if not m.moves:
            continue
        payoff = game.payoff(m.after)
        require(set(payoff) <= set(game.players), game, m, f"payoff names {set(payoff) - set(game.players)}")
        require(
            all(math.isfinite(x) for x in payoff.values()), game, m, f"payoff {dict(payoff)} is not finite"
        )
        total = totals.setdefault(m.seed, dict.fromkeys(game.players, 0.0))
        for seat, amount in payoff.items():
            total[seat] += amount
    for seed, total in totals.items():
        where = f"seed {seed}: returns {total}"
        require(
            not game.zero_sum or abs(sum(total.values())) < 1e-5, game, None, f"{where} do not sum to zero"
        )
        require(
            min(total.values()) >= -game.stake - 1e-6,
            game,
            None,
            f"{where} lose more than stake={game.stake}",
        )


@clause
def clause_forfeit(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Whoever is asked may forfeit: the price is finite and sums to zero where claimed, or play goes on."""
    for m, seat in _asked(game, walk):
        if seat not in game.players:
            continue
        loser = {seat: Forfeit("contract test")}
        price = game.forfeit(m.state, loser)
        if price is None:
            game.play(m.state, {**m.moves, **loser})
            continue
        require(set(price) <= set(game.players), game, m, f"the price of a forfeit names {set(price)}")
        require(all(math.isfinite(x) for x in price.values()), game, m, f"price {dict(price)} is not finite")
        require(price.get(seat, 0.0) <= 0, game, m, f"{seat} gains by a forfeit: {dict(price)}")
        total = sum(price.values())
        require(not game.zero_sum or abs(total) < 1e-6, game, m, f"the price of a forfeit sums to {total}")


@clause
def clause_independent(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Where `independent` is claimed, seats that move together come to the same in any order."""
    if not game.independent:
        raise Skip("not claimed")
    for m in walk:
        if len(m.moves) < 2:
            continue
        first, second = (_outcome(game, m, order) for order in (list(m.moves), list(reversed(m.moves))))
        require(
            first == second,
            game,
            m,
            f"laid down in turn {list(m.moves)} come to {first}, reversed to {second}",
        )


def _outcome(game: Game[Any], m: Moment, order: Sequence[Seat]) -> tuple[Any, ...]:
    """Whose turn it is, what everybody sees and what everybody has earned, after moves one by one."""
    state, earned = m.state, dict.fromkeys(game.players, 0.0)
    for seat in order:
        state = game.play(state, {seat: m.moves[seat]})
        for player, amount in game.payoff(state).items():
            earned[player] += amount
    return game.turn(state), [game.view(state, seat).digest() for seat in game.seats], earned


@clause
def clause_randomness(game: Game[Any], walk: Sequence[Moment]) -> None:
    """No rule touches the global generators."""
    for m in walk:
        before = _global_generators()
        _ask_everything(copy.copy(game), m)  # a copy remembers nothing
        same = _global_generators() == before
        require(same, game, m, "a rule draws from a global generator: draw from a given one")
    # What these moments did not come to may still be read.
    own = [c for c in type(game).__mro__ if issubclass(c, Game) and not c.__module__.startswith("ludus.core")]
    found = re.search(GLOBAL_DRAWS, "".join(map(_source, own)))
    seen = found.group() if found else ""
    require(found is None, game, None, f"the source uses {seen}: draw from a given generator")


def _global_generators() -> tuple[object, bytes]:
    return random.getstate(), pickle.dumps(np.random.get_state())  # noqa: NPY002 - looked at, not drawn from


def _ask_everything(game: Game[Any], m: Moment) -> None:
    """Call every rule at a moment."""
    game.start(np.random.default_rng(m.seed))
    turn = game.turn(m.state)
    for seat in game.seats:
        game.view(m.state, seat)
        game.out(m.state, seat)
    for seat in turn:
        if seat == CHANCE:
            game.chance(m.state)
            continue
        game.options(m.state, seat)
        game.sample(m.state, seat, np.random.default_rng(m.seed))
        if seat in game.players:
            game.forfeit(m.state, {seat: Forfeit("contract test")})
    if turn:
        game.payoff(game.play(m.state, m.moves))
    else:
        game.cut(m.state)


def _source(rules: type) -> str:
    """The text of a class; of one that was typed in, nothing is to be had."""
    try:
        return inspect.getsource(rules)
    except (OSError, TypeError):
        return ""


@clause
def clause_name(game: Game[Any], walk: Sequence[Moment]) -> None:
    """A registered game is made again by its name and parameters."""
    if game.id not in GAMES:
        raise Skip("not registered")
    again = make(game.id, **game.params)
    require(again.fingerprint() == game.fingerprint(), game, None, f"make({game.id!r}) gives another game")


@clause
def clause_replay(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Episodes of uniform play go through JSON and are verified by the rules."""
    if game.id not in GAMES:
        raise Skip("not registered")
    lineup: dict[Seat, Agent | str] = dict.fromkeys(game.players, Uniform())
    seeds = sorted({moment.seed for moment in walk})[:5]
    episodes = [Episode.from_json(e.to_json()) for e in play(game, lineup, seeds)]
    faults = [e.fault for e in episodes if e.end == "error"]
    if len(faults) == len(episodes):
        raise Skip(f"crew cannot work here: {faults[0]}")
    for verdict in verify(episodes):
        require(verdict.ok, game, None, f"episode {verdict.index}: {dict(verdict.notes)}")
