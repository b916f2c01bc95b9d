"""Gymnasium: one seat of a game, the others played by agents.

    env = gymnasium.make("ludus/kuhn_poker-v0", seat="player_1", opponents="uniform")

A step's reward is what the seat earned from its action until it is asked again; what it earned before its first
action is paid with that. A deal that ends before the seat's first turn is dealt again; `info["redeals"]` counts
them. The other keys of `info` are those of the PettingZoo door, and `seat`, the one that is played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, MissingExtra
from ludus.core.game import Game, Seat
from ludus.core.match import Illegal
from ludus.core.reading import write_move
from ludus.core.registry import make

try:
    import gymnasium

    from ludus.envs.doors.spaces import action_space, mask_of, observation, observation_space
except ImportError as fault:
    raise MissingExtra("the Gymnasium door", "doors") from fault
from ludus.envs.doors.host import Door, Host, Hosted, fresh_seed, host


class Against(Door[Hosted], gymnasium.Env[dict[str, Any], Any]):
    """One seat of a game against agents.

    The observation is a dictionary (see `ludus.envs.doors.spaces`); learners that take arrays only drop the
    prose with `gymnasium.wrappers.FilterObservation(env, ["observation", "action_mask"])`.

    Args:
        game: a game, or the name of one that is made with `params`.
        seat: the seat to play; the first player by default.
        opponents: who plays the other players' seats: the name of an agent, an agent, or either by seat or role.
        crew: agents for crew seats or roles, instead of those that the game names.
        illegal: what happens to actions that cannot be used; a forfeit at once by default.
        max_steps: after so many decisions of all seats the game is cut, which truncates.
        render_mode: None, or "ansi": what the seat sees, in prose.
        params: what the game is made with.

    Example:
        >>> env = Against("kuhn_poker", seat="player_1")
        >>> observation, info = env.reset(seed=1)
        >>> sorted(observation)
        ['action_mask', 'observation', 'text']
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1}  # type: ignore[misc]

    def __init__(
        self,
        game: str | Game[Any],
        seat: Seat | None = None,
        opponents: str | Agent | Mapping[Seat, Agent | str] = "uniform",
        *,
        crew: Mapping[Seat, Agent | str] | None = None,
        illegal: Illegal | None = None,
        max_steps: int = 1000,
        render_mode: str | None = None,
        **params: Any,
    ) -> None:
        self.host = seated(
            game, seat, opponents, crew, params, illegal=illegal or Illegal(), max_steps=max_steps
        )
        self.game = self.host.game
        (self.seat,) = self.host.outside
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"{self.game.id}: render_mode is None or 'ansi', not {render_mode!r}")
        self.render_mode = render_mode
        self._face = self.game.interface(self.seat)
        self.observation_space = observation_space(self._face)
        self.action_space = action_space(self._face, self._draw)
        self._redeals = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Deal until the seat is asked; the same seed deals the same cards as `Match(seed=seed)`."""
        super().reset(seed=seed)
        self.close()
        first = fresh_seed(self.np_random) if seed is None else seed
        self._live, self._redeals = self.host.deal(first, self.np_random)
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Play `action`, and on until the seat is asked again or the game is over for it."""
        live = self.live
        live.answer(self.seat, action)
        cut = live.table.end == "cut"
        over = not cut and live.gone(self.seat)
        return self._observation(), live.collect(self.seat), over, cut, self._info()

    def render(self) -> str | None:
        """What the seat sees, in prose."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() without a render mode: make the environment with render_mode='ansi'"
            )
            return None
        return self.live.sight(self.seat).text

    def close(self) -> None:
        """End the sessions of the agents inside."""
        if self._live is not None:
            self._live.close()

    def action_masks(self) -> NDArray[np.bool_]:
        """(A,) bool, the legal moves: what masked learners of SB3-contrib ask for."""
        mask = mask_of(self._options(), self._face)
        if mask is None:
            raise ConfigError(f"{self.game.id}: {self.seat} has free replies, which have no mask")
        return mask.astype(np.bool_)

    def _draw(self, rng: np.random.Generator) -> str | None:
        move = self._live.draw(self.seat, rng) if self._live is not None else None
        return None if move is None else write_move(move, self._options())

    def _options(self) -> Any:
        request = self.live.open.get(self.seat)
        return request.options if request else None

    def _observation(self) -> dict[str, Any]:
        return observation(self.live.sight(self.seat), self._options(), self._face)

    def _info(self) -> dict[str, Any]:
        info = {**self.live.account(self.seat), "redeals": self._redeals, "seat": self.seat}
        mask = mask_of(self._options(), self._face)
        return info if mask is None else {"action_mask": mask, **info}


def seated(
    game: str | Game[Any],
    seat: Seat | None,
    opponents: str | Agent | Mapping[Seat, Agent | str],
    crew: Mapping[Seat, Agent | str] | None,
    params: Mapping[str, Any],
    **settings: Any,
) -> Host:
    """A host with one seat played from outside and `opponents` at the other players' seats.

    Raises:
        ConfigError: nobody sits at one of the seats.
    """
    made = make(game, **params) if isinstance(game, str) else game
    left: Mapping[str, Any] = params if made is game else {}
    mine = made.players[0] if seat is None else seat
    if isinstance(opponents, Mapping):
        inside = dict(opponents)
    else:
        inside = {other: opponents for other in made.players if other != mine}
    return host(made, (mine,), {**inside, **(crew or {})}, left, **settings)
