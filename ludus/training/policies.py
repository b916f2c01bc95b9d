"""Policies by name: the kinds of learning agent that a configuration can ask for."""

from __future__ import annotations

from typing import Any

from ludus.core.game import Game
from ludus.core.policy import Policy
from ludus.core.registry import Registry

POLICIES = Registry("kind of policy", "ludus.policies")


def make_policy(kind: str, game: Game[Any], *, name: str, seed: int, **settings: Any) -> Policy:
    """A policy called `name`.

    Args:
        kind: "network", "language", or one of a plug-in: `maker(game, name=, seed=, **settings)`.
        game: what it will play.
        name: its name in records.
        seed: decides its first weights, where those are drawn.
        settings: whatever its kind takes.
    """
    policy: Policy = POLICIES.maker(kind)(game, name=name, seed=seed, **settings)
    return policy


def _network(game: Game[Any], *, name: str, seed: int, path: str = "", **settings: Any) -> Policy:
    """A fresh network, or the one saved in `path`."""
    from ludus.agents.network import fresh, network

    return network(path, name=name) if path else fresh(game, name=name, seed=seed, **settings)


def _language(game: Game[Any], *, name: str, seed: int, path: str, **settings: Any) -> Policy:
    """The language model in `path`, a Hugging Face folder."""
    from ludus.agents.language.local import LanguageModel

    return LanguageModel(path, name=name, **settings)


POLICIES.add("network", _network)
POLICIES.add("language", _language)
