"""PettingZoo: every game as an AEC environment, and as a parallel one where all live players move every round.

Players only: crew and chance are settled inside `step` and `reset`. Several seats that move together are asked
one after the other in the AEC environment, and what they earn comes after the last of them. An illegal move is
settled as the match's policy says, by default as the forfeit that the rules define; `info` says what happened:

    action_mask  (A,) int8, where the seat chooses among moves: as in the observation, not to be written to
    read         how the seat's last action was read: "exact", "forfeit", ... ; "" before the first
    complaint    why the last action could not be used, while the same turn is asked again; else ""
    forfeit      why the seat forfeited, else ""
    end          "over", "forfeit" or "cut" once the game has ended, else ""
    redeals      how many deals ended before any player was asked

What is earned before the first action is paid with it, so that rewards sum to the game's returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, ContractError, MissingExtra
from ludus.core.game import CHANCE, Game, Seat
from ludus.core.match import Illegal
from ludus.core.reading import write_move

try:
    from gymnasium import logger, spaces
    from pettingzoo import AECEnv, ParallelEnv

    from ludus.envs.doors.spaces import (
        INT8,
        action_space,
        interfaces,
        mask_of,
        observation,
        observation_space,
    )
except ImportError as fault:
    raise MissingExtra("the PettingZoo door", "doors") from fault
from ludus.envs.doors.host import Door, Host, Hosted, Light, fresh_seed, host


class _Zoo(Door[Hosted | Light]):
    """What both environments share: the host, the spaces, and the views of the present game."""

    metadata: dict[str, Any]

    def __init__(self, hosting: Host, render_mode: str | None, text: bool) -> None:
        if render_mode not in (None, "ansi"):
            raise ConfigError(f"{hosting.game.id}: render_mode is None or 'ansi', not {render_mode!r}")
        self.host, self.game, self.render_mode, self.text = hosting, hosting.game, render_mode, text
        self.possible_agents: list[Seat] = list(hosting.game.players)
        self.agents: list[Seat] = []
        self.metadata = {
            "name": f"{self.game.id}_v{self.game.version}",
            "render_modes": ["ansi"],
            "is_parallelizable": moves_together(self.game),
        }
        self._faces = interfaces(self.game)
        self.observation_spaces: dict[Seat, Any] = {
            s: observation_space(f, text=text) for s, f in self._faces.items()
        }
        self.action_spaces: dict[Seat, Any] = {
            s: action_space(f, self._draw(s)) for s, f in self._faces.items()
        }
        self._anything = {seat: mask_of(None, face) for seat, face in self._faces.items()}
        for mask in self._anything.values():
            if mask is not None:
                mask.flags.writeable = False
        self._rng = np.random.default_rng()
        self._redeals = 0
        self._leave_early = type(self.game).out is not Game.out

    def observation_space(self, agent: Seat) -> spaces.Space[Any]:
        """What `agent` sees: always the same object."""
        space: spaces.Space[Any] = self.observation_spaces[agent]
        return space

    def action_space(self, agent: Seat) -> spaces.Space[Any]:
        """What `agent` may do: always the same object."""
        space: spaces.Space[Any] = self.action_spaces[agent]
        return space

    def rules(self, agent: Seat) -> str:
        """The prose of the rules, as this seat reads them."""
        return self.game.rules(agent)

    def close(self) -> None:
        """End the sessions of the crew."""
        if self._live is not None:
            self._live.close()

    def _deal(self, seed: int | None) -> None:
        self.close()
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        first = fresh_seed(self._rng) if seed is None else seed
        self._live, self._redeals = self.host.lightly(first, self._rng)
        self.agents = list(self.possible_agents)

    def _collect(self, agents: Sequence[Seat]) -> dict[Seat, float]:
        """What the agents have earned since they were last told.

        Raises:
            ContractError: one that has left has earned something.
        """
        rewards = {agent: self.live.collect(agent) for agent in agents}
        late = [seat for seat in self.possible_agents if self.live.earned.get(seat)]
        if late:
            raise ContractError(f"{self.game!r}: {', '.join(late)} earned after being out; see Game.out")
        return rewards

    def _draw(self, seat: Seat) -> Any:
        def draw(rng: np.random.Generator) -> str | None:
            live = self._live
            move = live.draw(seat, rng) if live is not None else None
            options = live.options(seat) if live is not None else None
            return None if move is None or options is None else write_move(move, options)

        return draw

    def _observation(self, seat: Seat) -> dict[str, Any]:
        live = self.live
        return observation(live.sight(seat), live.options(seat), self._faces[seat], text=self.text)

    def _info(self, seat: Seat, live: Hosted | Light) -> dict[str, Any]:
        info, mask = live.account(seat), self._anything[seat]
        info["redeals"] = self._redeals
        if mask is not None:
            options = live.options(seat)
            info["action_mask"] = mask if options is None else options.legal.view(INT8)  # type: ignore[union-attr]
        return info


class AEC(_Zoo, AECEnv[Seat, Any, Any]):  # type: ignore[misc]
    """A game as a PettingZoo AEC environment.

    Args:
        hosting: the game, with all players outside.
        render_mode: None, or "ansi": what the seat to move sees, in prose.
        text: observations hold the view in prose, too.

    Example:
        >>> env = aec("kuhn_poker")
        >>> env.reset(seed=1)
        >>> env.agent_selection, env.last()[0]["action_mask"].tolist()
        ('player_0', [1, 1])
    """

    def __init__(self, hosting: Host, render_mode: str | None = None, *, text: bool = False) -> None:
        super().__init__(hosting, render_mode, text)
        self._skip_agent_selection: Seat | None = None

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Deal a new game; the same seed deals the same cards as `Match(seed=seed)`."""
        self._deal(seed)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._skip_agent_selection = None
        self._look()

    def step(self, action: Any) -> None:
        """Play `action` for the selected agent; None for one that has finished."""
        seat, live = self.agent_selection, self.live
        if self.terminations.get(seat) or self.truncations.get(seat):
            self._was_dead_step(action)
            return
        self._live = live = live.answer(seat, action)
        self._cumulative_rewards[seat] = 0.0
        if live.earned:
            self.rewards = self._collect(self.agents)
            self._accumulate_rewards()
        else:
            self.rewards = dict.fromkeys(self.agents, 0.0)
        self._look()
        if live.table.end is not None or self._leave_early:
            self._deads_step_first()

    def observe(self, agent: Seat) -> dict[str, Any]:
        """What `agent` sees now, whether or not it is asked."""
        return self._observation(agent)

    def render(self) -> str | None:
        """What the selected agent sees, in prose."""
        if self.render_mode is None:
            logger.warn("render() without a render mode: make the environment with render_mode='ansi'")
            return None
        return self.live.sight(self.agent_selection).text

    def _look(self) -> None:
        live = self.live
        owing = live.owing
        self.infos = {agent: self._info(agent, live) for agent in self.agents}
        self.agent_selection = owing[0] if owing else self.agents[0]
        if live.table.end is not None or self._leave_early:
            cut = live.table.end == "cut"
            self.terminations = {agent: not cut and live.gone(agent) for agent in self.agents}
            self.truncations = dict.fromkeys(self.agents, cut)


class Parallel(_Zoo, ParallelEnv[Seat, Any, Any]):  # type: ignore[misc]
    """A game in which all live players move every round, as a PettingZoo parallel environment.

    Args:
        hosting: the game, with all players outside.
        render_mode: None, or "ansi": what every live seat sees, in prose.
        text: observations hold the view in prose, too.

    Raises:
        ConfigError: the players of this game take turns, or the policy for illegal moves asks one again.

    Example:
        >>> env = parallel("matching_pennies")
        >>> observations, infos = env.reset(seed=1)
        >>> _, rewards, *_ = env.step({"player_0": 0, "player_1": 0})
        >>> rewards
        {'player_0': 1.0, 'player_1': -1.0}
    """

    def __init__(self, hosting: Host, render_mode: str | None = None, *, text: bool = False) -> None:
        super().__init__(hosting, render_mode, text)
        if not self.metadata["is_parallelizable"]:
            raise ConfigError(
                f"{self.game.id}: its players take turns; use the AEC environment, or convert it by "
                "pettingzoo.utils.conversions.turn_based_aec_to_parallel"
            )
        if hosting.settings["illegal"].times:
            raise ConfigError(f"{self.game.id}: nobody can be asked again in a parallel environment")

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Seat, Any], dict[Seat, dict[str, Any]]]:
        """Deal a new game; the same seed deals the same cards as `Match(seed=seed)`."""
        self._deal(seed)
        return {s: self._observation(s) for s in self.agents}, {
            s: self._info(s, self.live) for s in self.agents
        }

    def step(
        self, actions: Mapping[Seat, Any]
    ) -> tuple[
        dict[Seat, Any], dict[Seat, float], dict[Seat, bool], dict[Seat, bool], dict[Seat, dict[str, Any]]
    ]:
        """Play one action of every live agent.

        Raises:
            ValueError: an agent is missing, or one is named that does not live.
        """
        live, played = self.live, self.agents
        if set(actions) != set(played):
            raise ValueError(
                f"{self.game.id}: actions of {sorted(actions)} given, of {sorted(played)} expected"
            )
        for seat in played:
            self._live = live = live.answer(seat, actions[seat])
        cut = live.table.end == "cut"
        gone = {seat: not cut and live.gone(seat) for seat in played}
        self.agents = [seat for seat in played if not cut and not gone[seat]]
        return (
            {seat: self._observation(seat) for seat in played},
            self._collect(played),
            gone,
            dict.fromkeys(played, cut),
            {seat: self._info(seat, live) for seat in played},
        )

    def render(self) -> str | None:
        """What every live agent sees, in prose."""
        if self.render_mode is None:
            logger.warn("render() without a render mode: make the environment with render_mode='ansi'")
            return None
        return "\n\n".join(f"{seat}: {self.live.sight(seat).text}" for seat in self.possible_agents)


def aec(
    game: str | Game[Any],
    *,
    crew: Mapping[Seat, Agent | str] | None = None,
    illegal: Illegal | None = None,
    max_cycles: int = 1000,
    render_mode: str | None = None,
    text: bool = False,
    **params: Any,
) -> AEC:
    """`game` as an AEC environment.

    Args:
        game: a game, or the name of one that is made with `params`.
        crew: agents for crew seats or roles, instead of those that the game names.
        illegal: what happens to actions that cannot be used; a forfeit at once by default.
        max_cycles: after so many decisions the game is cut, which truncates every agent.
        render_mode: None or "ansi".
        text: observations hold the view in prose, too, as they do anyway where a seat has no features.
        params: what the game is made with.
    """
    return AEC(_hosting(game, crew, illegal, max_cycles, params), render_mode, text=text)


def parallel(
    game: str | Game[Any],
    *,
    crew: Mapping[Seat, Agent | str] | None = None,
    illegal: Illegal | None = None,
    max_cycles: int = 1000,
    render_mode: str | None = None,
    text: bool = False,
    **params: Any,
) -> Parallel:
    """`game` as a parallel environment; arguments as of `aec`."""
    return Parallel(_hosting(game, crew, illegal, max_cycles, params), render_mode, text=text)


def _hosting(
    game: str | Game[Any],
    crew: Mapping[Seat, Agent | str] | None,
    illegal: Illegal | None,
    max_cycles: int,
    params: Mapping[str, Any],
) -> Host:
    return host(game, None, crew or {}, params, illegal=illegal or Illegal(), max_steps=max_cycles)


def moves_together(game: Game[Any], *, games: int = 8, rounds: int = 64) -> bool:
    """Whether all live players move every round, seen in a few games of random legal moves.

    Crew that cannot be imitated by `sample` is not: a game with such crew counts as one of turns.
    """
    try:
        return all(_together(game, np.random.default_rng(seed), rounds) for seed in range(games))
    except NotImplementedError:
        return False


def _together(game: Game[Any], rng: np.random.Generator, rounds: int) -> bool:
    state, crew = game.start(rng), set(game.crew())
    for _ in range(rounds):
        turn = game.turn(state)
        if turn == (CHANCE,):
            outcomes, odds = zip(*game.chance(state), strict=True)
            state = game.play(state, {CHANCE: outcomes[int(rng.choice(len(odds), p=odds))]})
            continue
        players = [seat for seat in game.players if not game.out(state, seat)]
        if turn and not set(turn) & crew and set(turn) != set(players):
            return False
        if not turn:
            return True
        state = game.play(state, {seat: game.sample(state, seat, rng) for seat in turn})
    return True
