"""The contracts, for us and for plug-ins: what every game and every agent promises.

`examine(game)` returns a report with one line a clause; `check_game(game)` raises on the first
clause that is broken. A clause is a function below named `clause_...`; its docstring's first line
is what the report prints.
"""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ludus.core.agent import Agent, Decision, Failure, Request, Uniform, information
from ludus.core.array_game import ArrayGame, Position
from ludus.core.episode import Episode
from ludus.core.errors import ContractError, LudusError
from ludus.core.game import CHANCE, Choice, Forfeit, Form, Game, Move, Seat, Text, View
from ludus.core.play import play
from ludus.core.registry import AGENTS, GAMES, make
from ludus.core.replay import verify
from ludus.core.table import draw
from ludus.core.tables import expand

MAX_TURNS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A state that random play came to, and what was played there."""

    seed: int
    number: int
    state: Any
    moves: dict[Seat, Move]
    after: Any
    past: dict[Seat, tuple[tuple[View, Move], ...]]


@dataclass(frozen=True, slots=True)
class Line:
    """One clause of a report: `problem` is empty if it holds, `skipped` says why it was not tried."""

    name: str
    promise: str
    problem: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What `examine` found.

    Attributes:
        game: the game's repr.
        lines: one a clause.
        steps_per_second: decisions a second of the scalar rules under random play.
    """

    game: str
    lines: tuple[Line, ...]
    steps_per_second: float

    @property
    def broken(self) -> tuple[Line, ...]:
        """The clauses that do not hold."""
        return tuple(line for line in self.lines if line.problem)


class Skip(Exception):
    """A clause that does not concern this game."""


def check_game(game: Game[Any], *, episodes: int = 20, seed: int = 0) -> Report:
    """Play random games and check every clause of the contract of `Game`.

    Raises:
        ContractError: naming the broken clause, the seed and the turn.

    Example:
        >>> check_game(make("nim"), episodes=2).broken
        ()
    """
    report = examine(game, episodes=episodes, seed=seed)
    for line in report.broken:
        raise ContractError(f"{report.game} breaks {line.name!r} ({line.promise}): {line.problem}")
    return report


def examine(game: Game[Any], *, episodes: int = 20, seed: int = 0) -> Report:
    """The same as a report: every clause, broken or not."""
    begun = time.perf_counter()
    walk: list[Moment] = []
    trouble = ""
    try:
        for deal in range(seed, seed + episodes):
            walk += _walk(game, deal)
    except ContractError as fault:
        trouble = str(fault)
    except Exception as fault:  # noqa: BLE001 - whatever a game raises is what it is told
        trouble = f"random play raised {fault!r}"
    speed = sum(len(m.moves) for m in walk) / (time.perf_counter() - begun)
    lines = [Line("random play", "random games come to an end without an error", trouble)]
    if walk:
        lines += [_try(name, clause, game, walk) for name, clause in CLAUSES.items()]
    return Report(repr(game), tuple(lines), speed)


def _try(name: str, clause: Clause, game: Game[Any], walk: list[Moment]) -> Line:
    promise = (clause.__doc__ or "").strip().splitlines()[0].rstrip(".")
    try:
        clause(game, walk)
    except Skip as reason:
        return Line(name, promise, skipped=str(reason))
    except ContractError as fault:
        return Line(name, promise, str(fault))
    except Exception as fault:  # noqa: BLE001 - as above
        return Line(name, promise, f"raised {fault!r}")
    return Line(name, promise)


def _walk(game: Game[Any], seed: int) -> list[Moment]:
    """One random game, crew played by `sample`."""
    rng = np.random.default_rng(seed)
    state = game.start(np.random.default_rng(seed))
    past: dict[Seat, tuple[tuple[View, Move], ...]] = dict.fromkeys(game.seats, ())
    moments: list[Moment] = []
    for number in range(MAX_TURNS):
        turn = game.turn(state)
        if not turn:
            return [*moments, Moment(seed, number, state, {}, None, dict(past))]
        moves: dict[Seat, Move] = {}
        seen = dict(past)
        for seat in turn:
            if seat == CHANCE:
                outcomes, odds = zip(*game.chance(state), strict=True)
                moves[seat] = outcomes[draw(rng, odds)]
            else:
                moves[seat] = game.sample(state, seat, rng)
                past[seat] = (*past[seat], (game.view(state, seat), moves[seat]))
        after = game.play(state, moves)
        moments.append(Moment(seed, number, state, moves, after, seen))
        state = after
    raise ContractError(f"seed {seed}: no end after {MAX_TURNS} turns")


# ------------------------------------------------------------------------------- the clauses
Clause = Callable[[Game[Any], Sequence[Moment]], None]
CLAUSES: dict[str, Clause] = {}


def _clause(function: Clause) -> Clause:
    CLAUSES[function.__name__.removeprefix("clause_").replace("_", " ")] = function
    return function


def _require(holds: object, game: Game[Any], moment: Moment | None, message: str) -> None:
    if not holds:
        where = f"seed {moment.seed}, turn {moment.number}: " if moment is not None else ""
        raise ContractError(f"{game.id or type(game).__name__}, {where}{message}")


@_clause
def clause_seats(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Seats are named role_index, each once; crew are among them and registered."""
    _require(len(set(game.seats)) == len(game.seats), game, None, f"seats {game.seats} repeat a name")
    for seat in game.seats:
        _require(
            re.fullmatch(r"[a-z]+(_[a-z]+)*_[0-9]+", seat),
            game,
            None,
            f"seat {seat!r} is not named role_index",
        )
    for seat, agent in game.crew().items():
        _require(seat in game.seats, game, None, f"crew seat {seat!r} is not one of {game.seats}")
        name = agent.removeprefix("ludus/")
        _require(name in AGENTS.names(), game, None, f"crew {agent!r} is not a registered agent")
    _require(game.players, game, None, "nobody plays: every seat is crew")


@_clause
def clause_start(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The first state is a function of the generator alone."""
    for seed in {moment.seed for moment in walk}:
        states = [game.start(np.random.default_rng(seed)) for _ in range(2)]
        _require(
            states[0] == states[1], game, None, f"start(seed {seed}) gave {states[0]!r} and {states[1]!r}"
        )


@_clause
def clause_rules(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Every player can read the rules."""
    for seat in game.players:
        _require(
            game.rules(seat).strip(), game, None, f"{seat} has no rules to read: write the class's docstring"
        )


@_clause
def clause_turn(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Only seats of the game move; chance moves alone."""
    for m in walk:
        turn = game.turn(m.state)
        _require(isinstance(turn, tuple), game, m, f"turn is {turn!r}, not a tuple")
        _require(set(turn) <= {*game.seats, CHANCE}, game, m, f"{turn} are not all among {game.seats}")
        _require(len(set(turn)) == len(turn), game, m, f"{turn} names a seat twice")
        _require(CHANCE not in turn or turn == (CHANCE,), game, m, f"chance moves together with {turn}")


@_clause
def clause_chance(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Chance outcomes are distinct whole numbers whose probabilities are positive and sum to one."""
    for m in walk:
        if game.turn(m.state) != (CHANCE,):
            continue
        outcomes, odds = zip(*game.chance(m.state), strict=True)
        _require(all(isinstance(o, (int, np.integer)) for o in outcomes), game, m, f"outcomes {outcomes}")
        _require(len(set(outcomes)) == len(outcomes), game, m, f"outcomes {outcomes} repeat")
        _require(
            min(odds) > 0 and abs(sum(odds) - 1) < 1e-9, game, m, f"probabilities {odds} sum to {sum(odds)}"
        )


def _asked(game: Game[Any], walk: Sequence[Moment]) -> list[tuple[Moment, Seat]]:
    return [(m, seat) for m in walk for seat in game.turn(m.state) if seat != CHANCE]


@_clause
def clause_options(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Whoever is asked has options, of the kind and width that `interface` announces."""
    for m, seat in _asked(game, walk):
        options = game.options(m.state, seat)
        _require(isinstance(options, (Choice, Text, Form)), game, m, f"{seat} has options {options!r}")
        if isinstance(options, Choice):
            _require(
                len(options.names) == len(options.legal), game, m, f"{seat}: names and legal differ in length"
            )
            _require(
                options.legal.dtype == np.bool_, game, m, f"{seat}: legal is {options.legal.dtype}, not bool"
            )
            _require(options.legal.any(), game, m, f"{seat} has no legal move")
            allowed = options.allowed
            _require(len(set(allowed)) == len(allowed), game, m, f"{seat}: legal names repeat: {allowed}")
        if seat in game.players:
            static = game.interface(seat).options
            alike = isinstance(static, Choice) == isinstance(options, Choice)  # text and forms are both written
            _require(alike, game, m, f"{seat}: interface says {type(static).__name__}")
            if isinstance(options, Choice) and isinstance(static, Choice):
                count = len(static.names)
                _require(len(options.names) == count, game, m, f"{seat}: interface says {count} moves")


@_clause
def clause_sample(game: Game[Any], walk: Sequence[Moment]) -> None:
    """`sample` draws legal replies, and from the given generator only."""
    for m, seat in _asked(game, walk):
        draws = [game.sample(m.state, seat, np.random.default_rng(7)) for _ in range(2)]
        _require(
            draws[0] in game.options(m.state, seat), game, m, f"{seat} drew {draws[0]!r}, which is not legal"
        )
        _require(draws[0] == draws[1], game, m, f"{seat}: one generator drew {draws[0]!r} and {draws[1]!r}")


@_clause
def clause_view(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Every player sees text at every turn; features have the announced shape and type and are finite."""
    for m in walk:
        for seat in game.players:
            view = game.view(m.state, seat)
            _require(view.text.strip(), game, m, f"{seat} sees no text")
            static = game.interface(seat)
            shape = None if view.features is None else view.features.shape
            _require(
                shape == static.shape, game, m, f"{seat}: features of shape {shape}, interface {static.shape}"
            )
            if view.features is not None:
                _require(
                    str(view.features.dtype) == static.dtype, game, m, f"{seat}: dtype {view.features.dtype}"
                )
                _require(static.dtype in ("uint8", "int16", "float32"), game, m, f"dtype {static.dtype}")
                _require(np.isfinite(view.features).all(), game, m, f"{seat}: features are not finite")


@_clause
def clause_view_is_pure(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The same state looks the same twice, and looking changes nothing."""
    for m in walk:
        for seat in game.seats:
            before = pickle.dumps(m.state)
            first, second = game.view(m.state, seat), game.view(m.state, seat)
            _require(first.digest() == second.digest(), game, m, f"{seat} sees two different views")
            _require(pickle.dumps(m.state) == before, game, m, f"the view of {seat} changed the state")


@_clause
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
        _require(known == raw, game, m, f"{seat}: two features for the text {view.text!r}")
        text = features.setdefault((seat, raw), view.text)
        _require(text == view.text, game, m, f"{seat}: one features for {text!r} and {view.text!r}")


@_clause
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
        _require(known == history, game, m, f"{seat} came to {view.text!r} by two ways it could tell apart")


@_clause
def clause_play_is_pure(game: Game[Any], walk: Sequence[Moment]) -> None:
    """`play` changes nothing it is given and is a function of it."""
    for m in walk:
        if m.moves:
            before, moves = pickle.dumps(m.state), copy.deepcopy(m.moves)
            again = game.play(m.state, m.moves)
            _require(pickle.dumps(m.state) == before, game, m, "play changed the state it was given")
            _require(m.moves == moves, game, m, "play changed the moves it was given")
            _require(again == m.after, game, m, "play gave two states for the same moves")


@_clause
def clause_states_are_values(game: Game[Any], walk: Sequence[Moment]) -> None:
    """A state survives pickling."""
    for m in walk:
        _require(pickle.loads(pickle.dumps(m.state)) == m.state, game, m, "the state changes by pickling")  # noqa: S301


@_clause
def clause_payoff(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Players only are paid, in finite numbers; nobody loses more than `stake`; zero sums where claimed."""
    totals: dict[int, dict[Seat, float]] = {}
    for m in walk:
        if not m.moves:
            continue
        payoff = game.payoff(m.after)
        _require(set(payoff) <= set(game.players), game, m, f"payoff names {set(payoff) - set(game.players)}")
        _require(
            all(math.isfinite(x) for x in payoff.values()), game, m, f"payoff {dict(payoff)} is not finite"
        )
        total = totals.setdefault(m.seed, dict.fromkeys(game.players, 0.0))
        for seat, amount in payoff.items():
            total[seat] += amount
    for seed, total in totals.items():
        where = f"seed {seed}: returns {total}"
        _require(
            not game.zero_sum or abs(sum(total.values())) < 1e-5, game, None, f"{where} do not sum to zero"
        )
        _require(
            min(total.values()) >= -game.stake - 1e-6,
            game,
            None,
            f"{where} lose more than stake={game.stake}",
        )


@_clause
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
        _require(set(price) <= set(game.players), game, m, f"the price of a forfeit names {set(price)}")
        _require(all(math.isfinite(x) for x in price.values()), game, m, f"price {dict(price)} is not finite")
        _require(price.get(seat, 0.0) <= 0, game, m, f"{seat} gains by a forfeit: {dict(price)}")
        total = sum(price.values())
        _require(not game.zero_sum or abs(total) < 1e-6, game, m, f"the price of a forfeit sums to {total}")


@_clause
def clause_independent(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Where `independent` is claimed, seats that move together come to the same in any order."""
    if not game.independent:
        raise Skip("not claimed")
    for m in walk:
        if len(m.moves) < 2:
            continue
        first, second = (_outcome(game, m, order) for order in (list(m.moves), list(reversed(m.moves))))
        _require(
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


@_clause
def clause_randomness(game: Game[Any], walk: Sequence[Moment]) -> None:
    """No rule touches the global generators."""
    own = [c for c in type(game).__mro__ if issubclass(c, Game) and not c.__module__.startswith("ludus.core")]
    source = "".join(inspect.getsource(c) for c in own)
    found = re.search(
        r"\bnp\.random\.(?!Generator|default_rng|SeedSequence)\w+|\brandom\.(random|choice|randint|shuffle|sample|seed)\(",
        source,
    )
    _require(
        found is None,
        game,
        None,
        f"the source uses {found.group() if found else ''}: draw from a given generator",
    )


@_clause
def clause_name(game: Game[Any], walk: Sequence[Moment]) -> None:
    """A registered game is made again by its name and parameters."""
    if game.id not in GAMES.names():
        raise Skip("not registered")
    again = make(game.id, **game.params)
    _require(again.fingerprint() == game.fingerprint(), game, None, f"make({game.id!r}) gives another game")


@_clause
def clause_replay(game: Game[Any], walk: Sequence[Moment]) -> None:
    """Episodes of uniform play go through JSON and are verified by the rules."""
    if game.id not in GAMES.names():
        raise Skip("not registered")
    lineup: dict[Seat, Agent | str] = dict.fromkeys(game.players, Uniform())
    seeds = sorted({moment.seed for moment in walk})[:5]
    episodes = [Episode.from_json(e.to_json()) for e in play(game, lineup, seeds)]
    faults = [e.fault for e in episodes if e.end == "error"]
    if len(faults) == len(episodes):
        raise Skip(f"crew cannot work here: {faults[0]}")
    for verdict in verify(episodes):
        _require(verdict.ok, game, None, f"episode {verdict.index}: {dict(verdict.notes)}")


@_clause
def clause_arrays(game: Game[Any], walk: Sequence[Moment]) -> None:
    """The compiled rules of an array game do what the scalar rules do, for every move."""
    if not isinstance(game, ArrayGame):
        raise Skip("not an array game")
    unique = {m.state.record: m for m in walk}
    records = np.frombuffer(b"".join(unique), game.record).copy()
    after, pay, _, mask, _ = expand(game, records)
    for i, m in enumerate(unique.values()):
        turn = game.turn(m.state)
        if len(turn) != 1:
            continue
        moves = (
            [o for o, _ in game.chance(m.state)]
            if turn == (CHANCE,)
            else np.flatnonzero(game.options(m.state, turn[0]).legal)
        )
        _require(
            np.flatnonzero(mask[i]).tolist() == list(moves),
            game,
            m,
            f"compiled moves {np.flatnonzero(mask[i])}",
        )
        for move in moves:
            scalar = game.play(m.state, {turn[0]: int(move)})
            compiled = Position(after[i, move].tobytes(), tuple(float(x) for x in pay[i, move]))
            _require(scalar == compiled, game, m, f"move {move}: scalar {scalar}, compiled {compiled}")


# ------------------------------------------------------------------------------------- agents
@dataclass
class _Recorder:
    """Sits in for an agent and keeps what it was asked."""

    agent: Agent
    requests: list[Request] = field(default_factory=list)
    name: str = "recorder"

    def act(self, requests: Sequence[Request]) -> list[Decision]:
        self.requests += requests
        return [Decision(request.sample(request.rng)) for request in requests if request.sample]


def check_agent(agent: Agent, game: Game[Any], *, episodes: int = 5) -> None:
    """Check that an agent answers in order, with usable moves, and alike alone and in a batch.

    Raises:
        ContractError: naming the clause that is broken.
    """
    if not getattr(agent, "name", ""):
        raise ContractError(f"{agent!r} has no name")
    recorder = _Recorder(agent)
    lineup = dict.fromkeys(game.players, recorder)
    list(play(game, lineup, range(episodes), privileged=game.seats))
    requests = recorder.requests
    together = agent.act(_fresh(requests))
    if len(together) != len(requests):
        raise ContractError(f"{agent.name} answered {len(requests)} requests with {len(together)} decisions")
    for request, decision in zip(requests, together, strict=True):
        if isinstance(decision.move, (Forfeit, Failure)):
            continue
        if decision.move not in request.options:
            raise ContractError(
                f"{agent.name} played {decision.move!r} in {request.view.text!r}: not among the options"
            )
    alone = [agent.act(_fresh([request]))[0].move for request in requests]
    for request, one, many in zip(requests, alone, together, strict=True):
        if one != many.move:
            raise ContractError(
                f"{agent.name} plays {one!r} alone and {many.move!r} in a batch: {request.view.text!r}"
            )
    if hasattr(agent, "probabilities"):
        choices = [r for r in _fresh(requests) if isinstance(r.options, Choice)]
        for request, p in zip(choices, agent.probabilities(choices), strict=True):
            legal = request.options.legal  # type: ignore[union-attr]
            if abs(float(np.sum(p)) - 1) > 1e-5 or np.any(np.asarray(p)[~legal] > 0):
                raise ContractError(f"{agent.name} gives probabilities {p} where {legal} is legal")


def _fresh(requests: Sequence[Request]) -> list[Request]:
    """The same requests, each with a generator that begins anew and depends on the turn alone."""
    return [replace(r, rng=np.random.default_rng([11, int(r.view.digest(), 16)])) for r in requests]


__all__ = ["CLAUSES", "Line", "LudusError", "Report", "check_agent", "check_game", "examine"]
