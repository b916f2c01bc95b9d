"""Collecting decisions as arrays: networks on array games, without an object for any of them.

Games run side by side and on from one step to the next. Each reward goes to its seat's own last
decision, past the moves that others make in between. Where the collected stretch ends, games are
played on until every seat that has moved moves again; its last decision is credited with what it
is paid until then and with the value of what it sees there, and the games are taken back. Who of a
mixture sits somewhere is drawn anew for each seat of each game.

Shape letters: T decisions of each row, N rows, K seats, A moves, F features, M agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Agent, Uniform
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Autoreset, Batch
from ludus.core.errors import ConfigError
from ludus.core.game import Seat, role_of
from ludus.core.ledger import Ledger
from ludus.training.drawers import Drawer, draw
from ludus.training.lineup import exchanged, turns


class Finder(Protocol):
    """Finds agents by name, as `ludus.training.lineup.Cast` does."""

    def find(self, name: str) -> Agent:
        """The agent called `name`."""

    def shares(self, name: str) -> Mapping[str, float]:
        """Who plays under this name, and how often: itself, or the members of a mixture."""


@dataclass(slots=True)
class Tally:
    """What the games that ended during a step came to, by (agent, seat).

    Attributes:
        episodes, decisions, forfeits, dropped: how many.
        broken: episodes in which machinery failed; they count nowhere else.
        unusable: decisions whose reply could not be used.
        replies, tokens, truncated: replies of language models, their tokens, and those cut at the limit.
        first: the first player's seat.
        returns: sum and number, by agent and seat.
        games: the same of each game alone, where there are several.
    """

    episodes: int = 0
    decisions: int = 0
    forfeits: int = 0
    dropped: int = 0
    broken: int = 0
    unusable: int = 0
    replies: int = 0
    tokens: int = 0
    truncated: int = 0
    first: Seat = ""
    returns: dict[tuple[str, Seat], list[float]] = field(default_factory=dict)
    games: dict[str, Tally] = field(default_factory=dict)

    def earned(self, agent: str, seat: Seat, amount: float, games: int = 1) -> None:
        """Book what a seat earned in so many games."""
        entry = self.returns.setdefault((agent, seat), [0.0, 0.0])
        entry[0] += amount
        entry[1] += games

    def metrics(self) -> dict[str, float]:
        """Means, under CleanRL's names where it has them."""
        log = {f"charts/return/{a}/{s}": total / n for (a, s), (total, n) in sorted(self.returns.items())}
        log |= self.means() | {"charts/episodes": float(self.episodes)}
        if self.dropped:
            log["charts/groups_dropped"] = float(self.dropped)
        if self.broken:
            log["charts/broken"] = float(self.broken)
        if len(self.games) > 1:
            for name, part in self.games.items():
                log |= {f"{key}/{name}": number for key, number in part.means().items()}
        return log

    def means(self) -> dict[str, float]:
        """What depends on no agent: lengths, and what went wrong with replies."""
        games, decisions = max(self.episodes, 1), max(self.decisions, 1)
        log = {
            "charts/episodic_length": self.decisions / games,
            "charts/forfeits": self.forfeits / games,
            "charts/unusable": self.unusable / decisions,
        }
        if self.replies:
            log["charts/reply_length"] = self.tokens / self.replies
            log["charts/truncated"] = self.truncated / self.replies
        first = [entry for (_, seat), entry in self.returns.items() if seat == self.first]
        if first:
            log["charts/first_seat_return"] = sum(total for total, _ in first) / sum(n for _, n in first)
        return log


@dataclass(slots=True, eq=False)
class Seating:
    """Who sits where: `table` (N, K) of `agents`, by `reach` (N, K, M), how likely it is this agent or one before it.

    `mixed` where some seats are drawn.
    """

    agents: list[Agent]
    reach: NDArray[np.float64]
    table: NDArray[np.int64]
    mixed: bool


@dataclass(slots=True, eq=False)
class Stretch:
    """What was seen and done: all (T, N), observation (T, N, *F), legal and target (T, N, A), pay (T, N, K).

    `mover` and `who`, its agent, are negative where a row's game is over and no other has begun, `target` None where
    nothing is searched.
    `began` (N,) marks rows whose game begins with the stretch, `before` (N, K) what it paid so far.
    """

    observation: NDArray[Any]
    legal: NDArray[np.bool_]
    mover: NDArray[np.int64]
    who: NDArray[np.int64]
    move: NDArray[np.int64]
    logprob: NDArray[np.float32]
    value: NDArray[np.float64]
    done: NDArray[np.bool_]
    pay: NDArray[np.float64]
    opening: NDArray[np.float64]
    began: NDArray[np.bool_]
    before: NDArray[np.float64]
    target: NDArray[np.float32] | None = None

    @staticmethod
    def blank(length: int, batch: Batch, began: NDArray[np.bool_], before: NDArray[np.float64]) -> Stretch:
        n, k = batch.reward.shape
        shape = length, n
        return Stretch(
            observation=np.zeros((*shape, *batch.game.shape), batch.observation.dtype),
            legal=np.zeros((*shape, batch.legal.shape[1]), np.bool_),
            mover=np.zeros(shape, np.int64),
            who=np.zeros(shape, np.int64),
            move=np.zeros(shape, np.int64),
            logprob=np.zeros(shape, np.float32),
            value=np.zeros(shape),
            done=np.zeros(shape, np.bool_),
            pay=np.zeros((*shape, k)),
            opening=np.zeros((*shape, k)),
            began=began,
            before=before,
        )

    def unanswered(self) -> NDArray[np.bool_]:
        """(N, K) the seats that have moved in games that go on: their last decisions' rewards are not yet known."""
        waits, rows = np.zeros(self.before.shape, np.bool_), np.arange(len(self.before))
        for mover, done in zip(self.mover, self.done, strict=True):
            waits[rows, mover] = True
            waits[done] = False
        return waits


@dataclass(slots=True, eq=False)
class Sequel:
    """What comes after a stretch, all (N, K): what each seat is paid until it moves again, what its game is then worth to
    it (nan: to who values nothing), and whether it never moves again because the game has ended.
    """

    pay: NDArray[np.float64]
    worth: NDArray[np.float64]
    ended: NDArray[np.bool_]


class ArrayCollector:
    """Plays N games of an array game side by side.

    Args:
        game: the rules; every seat is a player.
        rows: games side by side (N).
        length: decisions of each row in a step (T).
        seed: decides chance and moves.
        exchange: seat the occupants of a role at all of its seats in turn, each row in its own order;
            else where the lineup says.
    """

    autoreset: ClassVar[Autoreset] = "same_step"

    def __init__(self, game: Any, *, rows: int, length: int, seed: int, exchange: bool = True) -> None:
        if not isinstance(game, ArrayGame):
            raise ConfigError(f"{game!r} is no array game: collect by = 'play'")
        self.game, self.length, self.exchange = game, length, exchange
        seeds = np.random.SeedSequence(seed).generate_state(2)
        self.batch = Batch(game, rows, int(seeds[0]), autoreset=self.autoreset)
        self.rng = np.random.default_rng(seeds[1])
        self._earned = self.batch.opening.astype(np.float64)  # (N, K) so far in each row's game
        self._count = np.zeros(rows, np.int64)  # decisions so far in each row's game
        self._lots = np.zeros((rows, len(game.seats)))  # say who of a mixture sits there; 0: never drawn

    def collect(self, cast: Finder, lineup: Mapping[Seat, str]) -> tuple[Ledger, Tally]:
        """T decisions of every row, and the games that ended meanwhile."""
        seating = self._seated(cast, lineup)
        self._deal(seating, np.flatnonzero(self._lots[:, 0] == 0))
        tally = Tally(first=self.game.seats[0])
        s = Stretch.blank(self.length, self.batch, self._count == 0, self._earned.copy())
        for t in range(self.length):
            self._step(s, t, seating, tally)
            self._deal(seating, np.flatnonzero(s.done[t]))
        return self._ledger(s, seating, self._ahead(s, seating)), tally

    def _seated(self, cast: Finder, lineup: Mapping[Seat, str]) -> Seating:
        count = turns(self.game, lineup) if self.exchange else 1
        seats = [exchanged(self.game, lineup, turn) for turn in range(count)]
        shares = [[cast.shares(there[seat]) for seat in self.game.seats] for there in seats]
        names = [*dict.fromkeys(name for row in shares for one in row for name in one)]
        agents = [cast.find(name) for name in names]
        for agent in agents:
            if not isinstance(agent, (Drawer, Uniform)):
                raise ConfigError(f"{agent.name} cannot move in many positions at once: collect by = 'play'")
        reach = np.cumsum([[[one.get(name, 0.0) for name in names] for one in row] for row in shares], -1)
        reach = (reach / reach[..., -1:])[np.arange(self.batch.n) % count]
        mixed = bool(((reach > 0) & (reach < 1)).any())
        return Seating(agents, reach, (self._lots[..., None] >= reach).sum(-1), mixed)

    def _deal(self, seating: Seating, rows: NDArray[np.intp]) -> None:
        """Draw who of a mixture plays the games that begin in some rows."""
        if seating.mixed:
            self._lots[rows] = self.rng.random((len(self.game.seats), len(rows))).T
            seating.table[rows] = (self._lots[rows, :, None] >= seating.reach[rows]).sum(-1)

    # ---------------------------------------------------------------------------- playing
    def _step(self, s: Stretch, t: int, seating: Seating, tally: Tally) -> None:
        batch, rows = self.batch, np.arange(self.batch.n)
        s.observation[t], s.legal[t], s.mover[t] = batch.observation, batch.legal, batch.mover
        s.who[t] = np.where(s.mover[t] < 0, -1, seating.table[rows, s.mover[t]])
        uniform = self.rng.random(batch.n)
        for index, agent in enumerate(seating.agents):
            mine = np.flatnonzero(s.who[t] == index)
            if len(mine):
                self._decide(s, t, mine, agent, uniform[mine])
        batch.step(s.move[t])
        s.pay[t], s.done[t] = batch.reward, batch.done
        s.opening[t] = np.where(batch.done[:, None], batch.opening, 0.0)
        self._book(s, t, seating, tally)

    def _decide(
        self, s: Stretch, t: int, mine: NDArray[np.int64], agent: Agent, uniform: NDArray[np.float64]
    ) -> None:
        """Note what an agent plays at time t in some rows."""
        drawn = draw(agent, s.observation[t, mine], s.legal[t, mine], uniform)
        s.move[t, mine], s.logprob[t, mine], s.value[t, mine] = drawn

    def _book(self, s: Stretch, t: int, seating: Seating, tally: Tally) -> None:
        self._earned += s.pay[t]
        live = s.mover[t] >= 0
        self._count += live
        over = np.flatnonzero(s.done[t] & live)
        tally.episodes += len(over)
        tally.decisions += int(self._count[over].sum())
        for k, seat in enumerate(self.game.seats):
            for index, agent in enumerate(seating.agents):
                mine = over[seating.table[over, k] == index]
                if len(mine):
                    tally.earned(agent.name, seat, float(self._earned[mine, k].sum()), len(mine))
        self._earned[over] = s.opening[t, over]
        self._count[over] = 0

    def _ahead(self, s: Stretch, seating: Seating) -> Sequel:
        """What seats come to whose last decisions are open, from playing on until they move again or their games end.

        A seat is valued where it is to move, since its critic learns there alone. What is played here counts for nothing
        else: the next stretch goes on where this one ended, with other chance.
        """
        batch, rows = self.batch, np.arange(self.batch.n)
        valued = np.array([hasattr(agent, "value") for agent in seating.agents])
        waits = s.unanswered() & valued[seating.table]
        sequel = Sequel(np.zeros(waits.shape), np.full(waits.shape, np.nan), np.zeros(waits.shape, np.bool_))
        if not waits.any():
            return sequel
        here = batch.state()
        while (live := waits.any(1)).any():
            move, uniform = np.full(batch.n, -1), self.rng.random(batch.n)
            who = np.where(live, seating.table[rows, batch.mover], -1)
            for index, agent in enumerate(seating.agents):
                mine = np.flatnonzero(who == index)
                if len(mine):
                    drawn = draw(agent, batch.observation[mine], batch.legal[mine], uniform[mine])
                    move[mine], seat = drawn.moves, batch.mover[mine]
                    due = waits[mine, seat]
                    sequel.worth[mine[due], seat[due]] = drawn.values[due]
            waits[rows, batch.mover] = False
            batch.step(move, waits.any(1))
            sequel.pay += np.where(waits, batch.reward, 0.0)
            sequel.ended |= waits & batch.done[:, None]
            waits &= ~batch.done[:, None]
        sequel.worth[sequel.ended] = 0.0
        batch.restore(here | {"streams": batch.state()["streams"]})
        return sequel

    # ------------------------------------------------------------------------ the ledger
    def _ledger(self, s: Stretch, seating: Seating, sequel: Sequel) -> Ledger:
        length, n = s.mover.shape
        credited = _credited(s, sequel)
        episode = np.cumsum(s.done, 0) - s.done + np.arange(n) * (length + 1)  # (T, N), unique
        key = (episode * len(self.game.seats) + s.mover).ravel()
        order = np.argsort(key, kind="stable")
        where = np.unique(key[order], return_inverse=True)[1].ravel()
        versions = np.array([getattr(agent, "version", -1) for agent in seating.agents], np.int64)
        time = np.broadcast_to(np.arange(length)[:, None], s.mover.shape)
        roles = tuple(dict.fromkeys(role_of(seat) for seat in self.game.seats))
        role = np.array([roles.index(role_of(seat)) for seat in self.game.seats], np.int32)
        size = length * n

        def column(values: NDArray[Any], kind: Any) -> NDArray[Any]:
            return np.ascontiguousarray(values.reshape(size, *values.shape[2:])[order], kind)

        episodes = np.unique(column(episode, np.int64), return_inverse=True)[1].ravel()
        return Ledger(
            episode=episodes.astype(np.int64),
            sequence=where.astype(np.int64),
            game=np.zeros(size, np.int32),
            seat=column(s.mover, np.int32),
            role=column(role[s.mover], np.int32),
            policy=column(s.who, np.int32),
            group=episodes.astype(np.int32),
            source=np.zeros(size, np.int32),
            sample=np.zeros(size, np.int64),
            version=column(versions[s.who], np.int64),
            order=column(time, np.int64),
            rewards=column(credited.reward, np.float64)[:, None],
            early=column(credited.early, np.float64),
            values=column(s.value, np.float64),
            next_values=column(credited.next_value, np.float64),
            ended=column(credited.status == ENDED, np.bool_),
            cut=column(credited.status == CUT, np.bool_),
            weight=np.ones(size),
            truncated=np.zeros(size, np.bool_),
            offset=np.arange(size),
            length=np.ones(size, np.int64),
            ids=column(s.move, np.int64),
            sampled=np.ones(size, np.bool_),
            rollout=column(s.logprob, np.float32),
            old=np.full(size, np.nan, np.float32),
            token_rewards=np.zeros(size),
            token_values=np.full(size, np.nan, np.float32),
            collision=np.full(size, np.nan, np.float32),
            prompts=column(s.observation, s.observation.dtype),
            legal=column(s.legal, np.bool_),
            policy_target=None if s.target is None else column(s.target, np.float32),
            replies=None,
            games=(self.game.id,),
            seats=self.game.seats,
            roles=roles,
            policies=tuple(agent.name for agent in seating.agents),
            groups=tuple(f"row game {i}" for i in range(int(episodes.max()) + 1)),
        )

    # ------------------------------------------------------------------------ checkpoints
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays by name, and what JSON can hold."""
        own = {"tally_earned": self._earned, "tally_count": self._count, "tally_lots": self._lots}
        return self.batch.state() | own, {"rng": self.rng.bit_generator.state}

    def load(self, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._earned, self._count, self._lots = (
            arrays[f"tally_{name}"].copy() for name in ("earned", "count", "lots")
        )
        self.batch.restore({k: v for k, v in arrays.items() if not k.startswith("tally_")})
        self.rng.bit_generator.state = about["rng"]


ENDED, CUT, GOES_ON = 0, 1, 2


@dataclass(slots=True, eq=False)
class _Credited:
    reward: NDArray[np.float64]
    early: NDArray[np.float64]
    next_value: NDArray[np.float64]
    status: NDArray[np.int64]


def _credited(s: Stretch, sequel: Sequel) -> _Credited:
    """Walk back in time and give each decision (T, N) what its seat earned until its next one.

    For every row and seat three things are carried: what it has earned since, the value of what
    follows, and when its next decision of the same game comes (-1: none).
    """
    length, n = s.mover.shape
    rows = np.arange(n)
    shape = length, n
    out = _Credited(np.zeros(shape), np.zeros(shape), np.zeros(shape), np.full(shape, CUT))
    since, following = sequel.pay.copy(), sequel.worth.copy()
    status, coming = np.where(sequel.ended, ENDED, CUT), np.full(since.shape, -1)
    for t in reversed(range(length)):
        over = s.done[t]
        if over.any():  # what was carried belongs to the game that began after t
            row, seat = np.nonzero(over[:, None] & (coming >= 0))
            out.early[coming[row, seat], row] = since[row, seat] + s.opening[t, row, seat]
            since[over], following[over], status[over], coming[over] = 0.0, 0.0, ENDED, -1
        since += s.pay[t]
        m = s.mover[t]
        out.reward[t], out.next_value[t], out.status[t] = since[rows, m], following[rows, m], status[rows, m]
        since[rows, m], following[rows, m], status[rows, m], coming[rows, m] = 0.0, s.value[t], GOES_ON, t
    row, seat = np.nonzero(s.began[:, None] & (coming >= 0))
    out.early[coming[row, seat], row] = since[row, seat] + s.before[row, seat]
    return out
