"""Gymnasium's vector environment over array games: N games at once, one learner in each.

    envs = gymnasium.make_vec("ludus/kuhn_poker-v0", num_envs=1024, seat="player_1", opponents="uniform")

Uniform opponents move in the compiled loops; other agents are asked for all rows that wait for them together.
Autoreset is SAME_STEP: a row that ends is dealt anew in the same step, with what the learner saw at the end in
`infos["final_obs"]`. The observation has `observation` and `action_mask`, and no prose. An illegal action is the
forfeit that the rules define. Shape letters: N rows, K seats, A moves, F features.

    infos["action_mask"]  (N, A) int8, as in the observation
    infos["redeals"]      (N,) how many deals of the present game ended before the learner was asked, not counting
                          those that chance alone ended
    infos["seat"]         (N,) the index of the seat that the learner plays
    infos["rewards"]      (N, K) what every seat earned, where the learner plays every seat ("mover")
    infos["final_obs"]    (N,) objects: the last observation of rows that ended, else None
    infos["final_info"]   of rows that ended: `forfeit`, and `episode` with the learner's return `r`, its number
                          of decisions `l` and the seconds it took `t`

Every key has its mask `_key`. `gymnasium.wrappers.vector.RecordEpisodeStatistics` may be put around.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Agent, Request, Uniform
from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch
from ludus.core.errors import ConfigError, ContractError, IllegalMove, MissingExtra, UnknownName
from ludus.core.game import Choice, Forfeit, Game, Seat
from ludus.core.live import ask
from ludus.core.position import Position
from ludus.core.registry import make, seat_up

try:
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
    from gymnasium.vector.utils import batch_space

    from ludus.envs.doors.gymnasium import Against
    from ludus.envs.doors.spaces import box
except ImportError as fault:
    raise MissingExtra("the vector door", "doors") from fault
from ludus.envs.doors.host import REDEALS

DRAWN = -1  # no move: the batch draws one in its place
PATIENCE = 100_000  # moves of others in a row
_KEYS = itertools.count()

Observation = dict[str, NDArray[Any]]


class Vector(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """N games of an array game, a learner in each.

    Args:
        game: an array game, or the name of one that is made with `params`.
        num_envs: how many rows (N).
        seat: whom the learner plays: a seat, the first player's by default; "each" for every seat by turns,
            row i playing seat i modulo K; "mover" for whoever is to move, in self-play. The reward is then what
            the seat that moved earned by its move, and what the others earned is in `infos["rewards"]`.
        opponents: who plays the other seats: the name of an agent, an agent, or either by seat or role.
        params: what the game is made with.

    Raises:
        ConfigError: the game is no array game, or an opponent that is not uniform would need its past views.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # type: ignore[misc]

    def __init__(
        self,
        game: str | Game[Any],
        num_envs: int = 1,
        seat: Seat | None = None,
        opponents: str | Agent | Mapping[Seat, Agent | str] = "uniform",
        *,
        render_mode: str | None = None,
        **params: Any,
    ) -> None:
        made = make(game, **params) if isinstance(game, str) else game
        if not isinstance(made, ArrayGame):
            raise ConfigError(
                f"{made!r} is no array game: use ludus.envs.doors.vector.vector, which steps copies"
            )
        if render_mode is not None:
            raise ConfigError(
                f"{made.id}: many games at once cannot be rendered; make one environment for that"
            )
        self.game, self.num_envs = made, num_envs
        self._self_play = seat == "mover"
        self._learner = self._seats(made.seats[0] if seat is None else seat)
        self._agents = {} if self._self_play else self._opponents(opponents)
        self.single_observation_space = spaces.Dict(
            {
                "observation": box(made.shape, made.dtype),
                "action_mask": spaces.Box(0, 1, (len(made.moves),), np.int8),
            }
        )
        self.single_action_space = spaces.Discrete(len(made.moves))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._every = np.arange(num_envs)
        self._dealt, self._batch = False, self._rows(0)
        self._paid = np.zeros((num_envs, len(made.seats)), np.float32)
        self._redeals, self._length = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._return, self._since = np.zeros(num_envs), np.zeros(num_envs)
        self._keys, self._rngs = [""] * num_envs, list[np.random.Generator]()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Deal every row anew. Row i's cards depend on the seed and i, not on N."""
        super().reset(seed=seed)
        if seed is not None or not self._dealt:
            self._batch = self._rows(int(self.np_random.integers(2**63)))
            own = self.np_random.integers(2**63, size=self.num_envs)
            self._rngs = [np.random.default_rng(int(each)) for each in own] if self._agents else []
        self._dealt = True
        self._deal(np.ones(self.num_envs, np.bool_))
        return self._observation(), self._infos()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play actions (N,) of the learners, and on until each is asked again.

        Raises:
            IllegalMove: `reset` has not been called.
            ValueError: the actions are not N whole numbers.
        """
        if not self._dealt:
            raise IllegalMove(f"{self.game.id}: call reset() first")
        given = np.asarray(actions)
        if given.shape != (self.num_envs,) or given.dtype.kind not in "iu":
            raise ValueError(
                f"{self.num_envs} whole numbers are expected, not {given.dtype} of {given.shape}"
            )
        learner = self._learners().copy()
        illegal = self._illegal(given)
        self._play(given.astype(np.int32), ~illegal)
        self._let_others_move()
        for row in np.flatnonzero(illegal):
            self._forfeit(int(row), int(learner[row]))
        reward = self._paid[self._every, learner].astype(np.float64)
        done = illegal | self._batch.done
        self._length += 1
        self._return += reward
        infos = self._final(done, illegal, learner) if done.any() else {}
        rewards = self._paid.copy()
        self._paid[:] = 0.0
        if done.any():
            self._deal(done)
        infos |= self._infos(rewards)
        return self._observation(), reward, done, np.zeros(self.num_envs, np.bool_), infos

    def close_extras(self, **kwargs: Any) -> None:
        """End the sessions of the opponents."""
        self._end_sessions(self._every)

    # ---------------------------------------------------------------------------------- the rows
    def _rows(self, seed: int) -> Batch:
        """The games. For whoever gives no legal action, as uniform opponents do, a row draws one from its own stream."""
        return Batch(self.game, self.num_envs, seed, autoreset="disabled", illegal="random")

    def _play(self, actions: NDArray[Any], which: NDArray[np.bool_]) -> None:
        self._batch.step(actions, which)
        paid = self._paid.T
        paid += self._batch.reward.T * which  # seat by seat: numpy takes long over short rows

    def _deal(self, which: NDArray[np.bool_]) -> None:
        """Start `which` rows anew, again and again until the learner of each is asked."""
        self._end_sessions(np.flatnonzero(which))
        self._length[which], self._return[which], self._redeals[which] = 0, 0.0, 0
        self._since[which] = time.perf_counter()
        for _ in range(REDEALS):
            self._batch.reset(which)
            np.copyto(self._paid.T, self._batch.opening.T, where=which)
            for row in np.flatnonzero(which) if self._agents else ():
                self._keys[row] = f"vector-{next(_KEYS)}"
            self._let_others_move()
            which = which & self._batch.done
            if not which.any():
                return
            self._redeals[which] += 1
        raise ConfigError(f"{self.game!r}: {REDEALS} deals ended before the learner was asked")

    def _let_others_move(self) -> None:
        """Play the opponents until the learner of each row is asked or its game is over."""
        mover, done = self._batch.mover, self._batch.done
        for _ in range(PATIENCE):
            wait = (mover != self._learner) & ~done
            if self._self_play or not wait.any():
                return
            actions = np.full(self.num_envs, DRAWN, np.int32)
            for index, agent in self._agents.items():
                self._ask(agent, np.flatnonzero(wait & (mover == index)), actions)
            self._play(actions, wait)
        raise ContractError(
            f"{self.game!r}, row {int(wait.argmax())}: {PATIENCE:,} moves, and neither did the game end nor was "
            f"{self.game.seats[int(self._learner[wait.argmax()])]} asked"
        )

    def _ask(self, agent: Agent, which: NDArray[np.intp], actions: NDArray[Any]) -> None:
        """Write what `agent` answers in these rows into actions (N,)."""
        if not which.size:
            return
        requests = [self._request(int(row)) for row in which]
        for row, request, decision in zip(which, requests, ask(agent, requests), strict=True):
            if decision.move not in request.options:
                raise IllegalMove(f"{self.game.id}, row {row}: {agent.name} answered {decision.move!r:.80}")
            actions[row] = decision.move

    def _request(self, row: int) -> Request:
        game, seat = self.game, self.game.seats[int(self._batch.mover[row])]
        state = self._position(row)
        return Request(
            key=self._keys[row], game=game.id, seat=seat, view=game.view(state, seat),
            options=Choice(game.moves, self._batch.legal[row].copy()), past=(), rng=self._rngs[row],
            rules=game.rules(seat), complete=True, state=state if game.perfect_information else None,
        )  # fmt: skip

    def _forfeit(self, row: int, learner: int) -> None:
        seat = self.game.seats[learner]
        price = self.game.forfeit(self._position(row), {seat: Forfeit("an illegal action")})
        if price is None:
            raise IllegalMove(
                f"{self.game.id}, row {row}: {seat} cannot play this, and the rules end no game by it"
            )
        for index, other in enumerate(self.game.seats):
            self._paid[row, index] += price.get(other, 0.0)

    def _position(self, row: int) -> Position:
        return Position(self._batch.records[row].tobytes(), (0.0,) * len(self.game.seats))

    def _illegal(self, given: NDArray[Any]) -> NDArray[np.bool_]:
        inside = (given >= 0) & (given < len(self.game.moves))
        legal: NDArray[np.bool_] = self._batch.legal[self._every, np.where(inside, given, 0)]
        return ~(inside & legal)

    def _learners(self) -> NDArray[np.int8]:
        """(N,) the seats that the learners play."""
        return self._batch.mover if self._self_play else self._learner

    # ------------------------------------------------------------------------- what is told of them
    def _observation(self) -> Observation:
        return {
            "observation": self._batch.observation.copy(),
            "action_mask": self._batch.legal.astype(np.int8),
        }

    def _infos(self, rewards: NDArray[np.float32] | None = None) -> dict[str, Any]:
        infos: dict[str, Any] = {
            "action_mask": self._batch.legal.astype(np.int8),
            "redeals": self._redeals.copy(),
            "seat": self._learners().astype(np.int64),
        }
        if self._self_play and rewards is not None:
            infos["rewards"] = rewards
        return infos | {f"_{key}": np.ones(self.num_envs, np.bool_) for key in infos}

    def _final(
        self, done: NDArray[np.bool_], illegal: NDArray[np.bool_], learner: NDArray[Any]
    ) -> dict[str, Any]:
        """What the learners of the rows that ended saw at last, and how they fared."""
        which = np.flatnonzero(done)
        seen = self._batch.look(np.where(done, learner, -1))[which]
        nothing_asked = np.ones((which.size, len(self.game.moves)), np.int8)
        final = np.full(self.num_envs, None, object)
        final[which] = [
            {"observation": features, "action_mask": mask}
            for features, mask in zip(seen, nothing_asked, strict=True)
        ]
        spent = np.round(time.perf_counter() - self._since, 6)
        episode: dict[str, Any] = {
            "r": np.where(done, self._return, 0.0), "l": np.where(done, self._length, 0), "t": np.where(done, spent, 0.0),
        }  # fmt: skip
        told: dict[str, Any] = {
            "episode": episode | {f"_{key}": done.copy() for key in episode}, "_episode": done.copy(),
            "forfeit": illegal.copy(), "_forfeit": done.copy(),
        }  # fmt: skip
        return {"final_obs": final, "_final_obs": done.copy(), "final_info": told, "_final_info": done.copy()}

    # ------------------------------------------------------------------------------------ the seats
    def _seats(self, seat: Seat) -> NDArray[np.int8]:
        """The index of the seat that each row's learner plays."""
        seats = self.game.seats
        if seat in ("each", "mover"):
            return (np.arange(self.num_envs) % len(seats)).astype(np.int8)
        if seat not in seats:
            raise UnknownName(f"seat of {self.game.id}", seat, [*seats, "each", "mover"])
        return np.full(self.num_envs, seats.index(seat), np.int8)

    def _opponents(self, opponents: str | Agent | Mapping[Seat, Agent | str]) -> dict[int, Agent]:
        """Agents that are not uniform, by the index of their seat; the compiled loops play the others."""
        game, played = self.game, set(self._learner.tolist())
        if not isinstance(opponents, Mapping):
            opponents = dict.fromkeys(game.seats, opponents)
        elif len(played) == 1:  # nobody else need sit where every row's learner sits
            opponents = {**opponents, game.seats[played.pop()]: Uniform()}
        agents = seat_up(game, opponents)
        asked = {game.seats.index(s): a for s, a in agents.items() if type(a) is not Uniform}
        played = set(self._learner.tolist())
        if len(played) == 1:
            asked.pop(next(iter(played)), None)
        if asked and not (game.view_is_complete or game.perfect_information):
            raise ConfigError(f"{game.id}: opponents other than 'uniform' would need their past views here")
        return asked

    def _end_sessions(self, which: NDArray[np.intp]) -> None:
        keys = [self._keys[row] for row in which if self._keys[row]] if self._agents else []
        for agent in {id(a): a for a in self._agents.values()}.values():
            if keys and hasattr(agent, "close"):
                agent.close(keys)


def vector(game: str | Game[Any], num_envs: int = 1, **settings: Any) -> VectorEnv[Any, Any, Any]:
    """`num_envs` games: over an array game a `Vector`, over any other as many environments stepped in turn.

    Args:
        game: a game, or the name of one.
        num_envs: how many.
        settings: as of `Vector`, or of `ludus.envs.doors.gymnasium.Against`; parameters of the game among them.
    """
    kind = type(make(game, **_params(settings)) if isinstance(game, str) else game)
    if issubclass(kind, ArrayGame):
        return Vector(game, num_envs, **settings)
    makers = [lambda: Against(game, **settings)] * num_envs
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


_OURS = ("seat", "opponents", "crew", "illegal", "max_steps", "render_mode")


def _params(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in _OURS}
