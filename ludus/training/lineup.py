"""Who sits where in training: policies, their copies of earlier days, and registered agents.

main                the policy as it now is
main@init           as it was when the run began
main@phase_start    as it was when the present phase began
main@past           as it was at one of the run's snapshots, each as likely as the others
nfsp                a mixture that the configuration defines: one of its members, drawn anew for each game
uniform             any agent that is registered under this name
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file

from ludus.core.agent import Agent
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Game, Seat, role_of
from ludus.core.match import seats_filled
from ludus.core.policy import Policy
from ludus.core.registry import AGENTS, agents, make_agent, takes_game
from ludus.training.distributed import ALONE, World

COPIES = ("init", "phase_start", "past")
PAST = 8  # earlier selves of all policies that are held in memory at once


def exchanged(game: Game[Any], lineup: Mapping[Seat, str], turn: int) -> dict[Seat, str]:
    """The lineup by seat, with the occupants of each role moved on by `turn` seats.

    Where one policy meets another in the same role, both come to sit everywhere alike; a policy
    that meets itself, and a role of one seat, stay where they are.
    """
    filled = {seat: name for seat, name in seats_filled(game, lineup).items() if seat in game.players}
    moved = dict(filled)
    for role in dict.fromkeys(role_of(seat) for seat in filled):
        seats = [seat for seat in filled if role_of(seat) == role]
        for i, seat in enumerate(seats):
            moved[seat] = filled[seats[(i + turn) % len(seats)]]
    return moved


def turns(game: Game[Any], lineup: Mapping[Seat, str]) -> int:
    """After how many turns `exchanged` is back where it began; 1 if nobody moves."""
    filled = seats_filled(game, lineup)
    most = 1
    for role in dict.fromkeys(role_of(seat) for seat in game.players):
        seats = [seat for seat in game.players if role_of(seat) == role]
        if len({filled[seat] for seat in seats}) > 1:
            most = max(most, len(seats))
    return most


class Cast:
    """Agents by the names of the table above.

    Copies of policies cost as much memory as the policies: only those that somebody names are made.

    Args:
        policies: the run's policies.
        folder: where snapshots are kept.
        rng: draws past selves.
        names: all names that will be asked for; those of copies are what matters.
        world: the processes that share the folder.
        mixtures: by name, the members of each and their shares.

    Raises:
        ConfigError: a mixture is called as a policy is, a member is a mixture, or nobody in it has a share.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        folder: Path,
        rng: np.random.Generator,
        names: Iterable[str] = (),
        world: World = ALONE,
        mixtures: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.policies, self.folder, self.rng, self.world = policies, folder, rng, world
        self.mixtures = mixtures or {}
        for name, shares in self.mixtures.items():
            if name in policies or not sum(shares.values()) or shares.keys() & self.mixtures.keys():
                raise ConfigError(
                    f"mixture {name!r}: give it a name of its own, a member a share, and members that are no mixtures"
                )
        self.snapshots: dict[str, list[str]] = {name: [] for name in policies}
        self._agents: dict[str, Agent] = {}
        named = set(names)
        self._first = {
            name: policy.frozen(f"{name}@init")
            for name, policy in policies.items()
            if named & {f"{name}@init", f"{name}@past"}  # before the first snapshot the past is the beginning
        }
        self._phase = {
            name: policy.frozen(f"{name}@phase_start")
            for name, policy in policies.items()
            if f"{name}@phase_start" in named
        }
        self._past: OrderedDict[str, Policy] = OrderedDict()  # the least recently drawn first

    def check(self, name: str) -> None:
        """Refuse what `find` could not find.

        Raises:
            UnknownName: with the known names.
            ConfigError: it is made for one game, which a cast does not know.
        """
        if name in self.mixtures:
            for member in self.mixtures[name]:
                self.check(member)
            return
        policy, at, copy = name.partition("@")
        if at and policy in self.policies and copy in COPIES:
            return
        if at or (name not in self.policies and name not in AGENTS):
            selves = [f"{policy}@{copy}" for policy in self.policies for copy in COPIES]
            known = [*self.policies, *self.mixtures, *selves, *agents()]
            raise UnknownName("occupant of a seat", name, known)
        if name not in self.policies and takes_game(name):
            raise ConfigError(
                f"{name} is made for one game and takes no seat in a run: measure against it ([evaluate])"
            )

    def find(self, name: str) -> Agent:
        """The agent called `name`; a past self and the member of a mixture are drawn anew each time.

        Raises:
            UnknownName: with the known names.
            ConfigError: it is a copy that was not among the names the cast was made with.
        """
        self.check(name)
        if name in self.mixtures:
            members, shares = [*self.mixtures[name]], np.array([*self.mixtures[name].values()])
            return self.find(members[self.rng.choice(len(members), p=shares / shares.sum())])
        policy, _, copy = name.partition("@")
        if copy == "init":
            return self.anchor(policy)
        if copy == "phase_start":
            return _kept(self._phase, policy, copy)
        if copy == "past":
            return self._earlier(policy)
        if policy in self.policies:
            return self.policies[policy]
        if name not in self._agents:
            self._agents[name] = make_agent(name)
        return self._agents[name]

    def shares(self, name: str) -> Mapping[str, float]:
        """The members of a mixture with their shares; whoever is none is alone."""
        return self.mixtures.get(name, {name: 1.0})

    def anchor(self, name: str) -> Policy:
        """The policy as it was when the run began."""
        return _kept(self._first, name, "init")

    def _earlier(self, policy: str) -> Policy:
        """A past self, read anew where it is not among the few that were drawn last.

        Which draws of a step share one copy is a matter of that step's draws alone, so that a run
        that was resumed asks its policies in the same batches.
        """
        known = self.snapshots[policy]
        if not known:
            return self.anchor(policy)
        chosen = known[int(self.rng.integers(len(known)))]
        if chosen not in self._past:
            version = int(chosen.rpartition("_")[2])
            copy = self.policies[policy].frozen(f"{policy}@{version}")
            copy.load(load_file(self.folder / f"{chosen}.safetensors"))
            copy.version = version
            self._past[chosen] = copy
        self._past.move_to_end(chosen)
        while len(self._past) > PAST:
            self._past.popitem(last=False)
        return self._past[chosen]

    def snapshot(self) -> None:
        """Keep every policy as it now is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, policy in self.policies.items():
            stem = f"{name}_{policy.version:08d}"
            if stem in self.snapshots[name]:
                continue
            if self.world.first:
                aside = self.folder / f".{stem}.aside"
                save_file({key: weight.contiguous() for key, weight in policy.state().items()}, aside)
                aside.replace(self.folder / f"{stem}.safetensors")
            self.snapshots[name].append(stem)
            self._past.pop(stem, None)
        self.world.wait()

    def begin_phase(self) -> None:
        """Let `policy@phase_start` be what the policies now are."""
        for name, copy in self._phase.items():
            copy.load(self.policies[name].state())
            copy.version = self.policies[name].version

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors by name, and what JSON can hold."""
        tensors = {f"{n}|{key}": w for n, policy in self._phase.items() for key, w in policy.state().items()}
        versions = {name: policy.version for name, policy in self._phase.items()}
        about = {"snapshots": self.snapshots, "phase_versions": versions, "rng": self.rng.bit_generator.state}
        return tensors, about

    def load(self, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Continue from what `state` returned.

        Raises:
            ConfigError: a snapshot that the checkpoint names is not in the folder.
        """
        for name, policy in self._phase.items():
            own = {key.partition("|")[2]: w for key, w in tensors.items() if key.partition("|")[0] == name}
            policy.load(own)
            policy.version = int(about["phase_versions"][name])
        self.snapshots = {name: list(kept) for name, kept in about["snapshots"].items()}
        for stem in (stem for kept in self.snapshots.values() for stem in kept):
            if not (self.folder / f"{stem}.safetensors").is_file():
                raise ConfigError(f"the checkpoint names snapshot {stem}, which is not in {self.folder}")
        self.rng.bit_generator.state = about["rng"]


def _kept(copies: Mapping[str, Policy], policy: str, copy: str) -> Policy:
    if policy not in copies:
        raise ConfigError(
            f"{policy}@{copy} is not kept: name it among the names its `Cast` is made with "
            f"(kept: {', '.join(copies) or 'none'})"
        )
    return copies[policy]
