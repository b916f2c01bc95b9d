"""The other direction: any third party's PettingZoo AEC environment as a game.

Such a game plays in the loop, in arenas and in training like one of ours. Its state is the seed and the actions so
far; live environments are a cache at the tips of the games in progress, and any other state is reached by stepping
again from its seed. The environment is a black box: its chance hides in the seed, so there are no tables and no search, and
no view is claimed to be complete. It must be a function of its seed and its actions, as `seed_test` checks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ludus.core.errors import ConfigError, IllegalMove, MissingExtra
from ludus.core.game import Choice, Interface, Move, Options, Seat, Text, View
from ludus.core.registry import register
from ludus.envs.doors.replayed import Played, Replayed

Maker: TypeAlias = Callable[..., Any]


@dataclass(eq=False)
class _Tip:
    """A live environment, and how far it has been played."""

    env: Any
    seed: int
    actions: tuple[int | str, ...] = ()
    seen: dict[Seat, Any] = field(default_factory=dict)  # the last observation of agents that have left


@register("pettingzoo")
class FromPettingZoo(Replayed):
    """A game of another library, played by the numbers of its moves.

    Args:
        env: an id of PettingZoo's registry ("classic/tictactoe_v3"), the old dotted name of the same
            ("pettingzoo.classic.tictactoe_v3"), "module:function" of your own, or a function that makes the
            environment (then records of the game cannot be replayed from a file, which holds names only).
        kwargs: what the environment is made with.
        moves: names of the moves, the same for every seat; their numbers by default.
        stake: what a forfeit costs: the largest loss that the environment knows.
        zero_sum: whether its rewards sum to zero.

    Raises:
        ConfigError: an agent's actions are neither Discrete nor Text.
        MissingExtra: PettingZoo, or what the environment needs, is not installed.

    Example:
        >>> game = FromPettingZoo("classic/tictactoe_v3", zero_sum=True)
        >>> game.seats
        ('player_1', 'player_2')
    """

    def __init__(
        self,
        env: str | Maker,
        kwargs: Mapping[str, Any] | None = None,
        moves: tuple[str, ...] | None = None,
        stake: float = 1.0,
        zero_sum: bool = False,
    ) -> None:
        self._make = _maker(env, dict(kwargs or {}))
        self._tips = []
        probe = self._make()
        self.seats = tuple(str(agent) for agent in probe.possible_agents)
        self.stake, self.zero_sum = stake, zero_sum
        self.name = str(probe)
        self._options = {
            seat: _options(probe.action_space(seat), moves, f"{self.name}, {seat}") for seat in self.seats
        }
        self._first = {seat: int(getattr(probe.action_space(seat), "start", 0)) for seat in self.seats}
        probe.reset(seed=0)
        self._faces = {seat: self._face(probe.observe(seat), seat) for seat in self.seats}
        probe.close()

    def turn(self, state: Played) -> tuple[Seat, ...]:
        env = self._at(state).env
        return () if _finished(env) else (env.agent_selection,)

    def options(self, state: Played, seat: Seat) -> Options:
        options = self._options[seat]
        if not isinstance(options, Choice):
            return options
        env = self._at(state).env
        mask = _mask(env.observe(seat), env.infos.get(seat, {}))
        return Choice(
            options.names, np.ones(len(options.names), np.bool_) if mask is None else mask.astype(np.bool_)
        )

    def view(self, state: Played, seat: Seat) -> View:
        tip = self._at(state)
        seen = tip.seen[seat] if seat in tip.seen else tip.env.observe(seat)
        features, prose = _parts(seen)
        if features is None:
            return View(f"You are {seat} in {self.name}. {prose}")
        numbers = (
            f"You observe {np.array2string(features, separator=' ', threshold=2**31, max_line_width=110)}."
        )
        return View(f"You are {seat} in {self.name}. {prose}{numbers}", _storable(features))

    def play(self, state: Played, moves: Mapping[Seat, Any]) -> Played:
        ((seat, move),) = moves.items()
        if move not in self.options(state, seat):
            raise IllegalMove(f"{self.name}: {seat} cannot play {move!r} here")
        return self._after(state, move if isinstance(move, str) else int(move))

    def cut(self, state: Played) -> bool:
        """Whether the environment stopped some agent by truncation; one that it also terminated has ended."""
        env = self._at(state).env
        return any(cut and not env.terminations[agent] for agent, cut in env.truncations.items())

    def out(self, state: Played, seat: Seat) -> bool:
        tip = self._at(state)
        return seat in tip.seen or bool(tip.env.terminations.get(seat))

    def interface(self, seat: Seat) -> Interface:
        return self._faces[seat]

    def rules(self, seat: Seat) -> str:
        return f"You play {seat} in {self.name}, a game of PettingZoo. Moves go by {self._spoken(seat)}."

    def fingerprint(self) -> str:
        import pettingzoo

        return f"{super().fingerprint()}-pettingzoo-{pettingzoo.__version__}"

    def sample(self, state: Played, seat: Seat, rng: np.random.Generator) -> Move:
        options = self.options(state, seat)
        if isinstance(options, Choice):
            return int(rng.choice(np.flatnonzero(options.legal)))
        space = self._at(state).env.action_space(seat)
        space.seed(int(rng.integers(2**31)))
        return str(space.sample())

    # ------------------------------------------------------------------------- the live environment
    def _begin(self, seed: int, spare: _Tip | None) -> _Tip:
        tip = _Tip(spare.env if spare else self._make(), seed)
        tip.env.reset(seed=seed)
        _let_leave(tip)
        return tip

    def _step(self, tip: _Tip, action: int | str) -> dict[Seat, float]:
        """Step the environment once, see finished agents off, and sum up what was earned."""
        seat = tip.env.agent_selection
        tip.env.step(action + self._first[seat] if isinstance(action, int) else action)
        paid = {agent: float(reward) for agent, reward in tip.env.rewards.items()}
        for agent, reward in _let_leave(tip).items():
            paid[agent] = paid.get(agent, 0.0) + reward
        tip.actions = (*tip.actions, action)
        return paid

    def _face(self, seen: Any, seat: Seat) -> Interface:
        features, _ = _parts(seen)
        if features is None:
            return Interface(self._options[seat])
        return Interface(self._options[seat], features.shape, str(_storable(features).dtype))

    def _spoken(self, seat: Seat) -> str:
        options = self._options[seat]
        return f"their names: {', '.join(options.names)}" if isinstance(options, Choice) else "free text"


def from_pettingzoo(env: str | Maker, **settings: Any) -> FromPettingZoo:
    """`env` as a game: the same as `make("pettingzoo", env=env, **settings)`."""
    return FromPettingZoo(env, **settings)


class _ById:
    """Makes an environment of PettingZoo's registry, or of a module; travels between processes."""

    def __init__(self, name: str, kwargs: dict[str, Any]) -> None:
        self.name, self.kwargs = name, kwargs

    def __call__(self) -> Any:
        try:
            if ":" in self.name:
                module, _, function = self.name.partition(":")
                return getattr(importlib.import_module(module), function)(**self.kwargs)
            import pettingzoo

            return pettingzoo.make("aec", self.name, **self.kwargs)
        except ImportError as fault:
            raise MissingExtra(f"the environment {self.name}", "doors") from fault


class _ByMaker:
    """Makes an environment by a function of the user's."""

    def __init__(self, maker: Maker, kwargs: dict[str, Any]) -> None:
        self.maker, self.kwargs = maker, kwargs

    def __call__(self) -> Any:
        return self.maker(**self.kwargs)


def _maker(env: str | Maker, kwargs: dict[str, Any]) -> Callable[[], Any]:
    if not isinstance(env, str):
        return _ByMaker(env, kwargs)
    if ":" not in env and "/" not in env:  # pettingzoo.classic.tictactoe_v3, which warns when it is imported
        env = "/".join(env.removeprefix("pettingzoo.").split(".", 1))
    return _ById(env, kwargs)


def _finished(env: Any) -> bool:
    return all(env.terminations[agent] or env.truncations[agent] for agent in env.agents)


def _let_leave(tip: _Tip) -> dict[Seat, float]:
    """Step finished agents off while others play on; at the very end all stay, so that they can be observed."""
    env, paid = tip.env, dict[Seat, float]()
    while not _finished(env) and (
        env.terminations[env.agent_selection] or env.truncations[env.agent_selection]
    ):
        agent = env.agent_selection
        tip.seen[agent] = env.observe(agent)
        env.step(None)
        for other, reward in env.rewards.items():
            paid[other] = paid.get(other, 0.0) + float(reward)
    return paid


def _options(space: Any, moves: tuple[str, ...] | None, who: str) -> Options:
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        names = tuple(moves) if moves else tuple(str(i) for i in range(int(space.n)))
        if len(names) != space.n:
            raise ConfigError(f"{who} has {space.n} moves, and {len(names)} names are given")
        return Choice(names, np.ones(len(names), np.bool_))
    if isinstance(space, spaces.Text):
        return Text(space.max_length)
    raise ConfigError(f"{who} acts in {space}: only Discrete and Text actions can be played as moves")


def _mask(seen: Any, info: Mapping[str, Any]) -> NDArray[Any] | None:
    where = seen if isinstance(seen, Mapping) and "action_mask" in seen else info
    return np.asarray(where["action_mask"]) if "action_mask" in where else None


def _parts(seen: Any) -> tuple[NDArray[Any] | None, str]:
    """Features and prose of an observation: an array, a string, or a dictionary that holds either or both."""
    if isinstance(seen, str):
        return None, seen
    if isinstance(seen, Mapping):
        prose = str(seen["text"]) + " " if isinstance(seen.get("text"), str) else ""
        rest = seen.get("observation")
        return (None if rest is None else np.asarray(rest)), prose
    return np.asarray(seen), ""


def _storable(features: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in one of the three dtypes of features."""
    if features.dtype in (np.bool_, np.uint8):
        return features.astype(np.uint8)
    if features.dtype in (np.int8, np.int16):
        return features.astype(np.int16)
    return features.astype(np.float32)
