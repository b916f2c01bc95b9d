"""Every game in the registries of Gymnasium and PettingZoo, as `ludus/<game>-v<N>`.

No game is imported for this: it is named, and made when it is asked for. Where neither library is installed
nothing happens; where one is, importing it costs about a tenth of a second. Games that are registered later, in
a script or a notebook, are added as they come.
"""

from __future__ import annotations

from ludus.core.registry import GAMES

_HERE = "ludus.envs.doors"


def open_doors() -> None:
    """Register every game, and those to come, wherever a registry is installed."""
    GAMES.follow(_enter)


def _enter(name: str) -> None:
    """Register one game. A plug-in's version is known once it is imported: until then it goes by 0."""
    identity = f"ludus/{name}-v{GAMES.version(name)}"
    _enter_gymnasium(identity, name)
    _enter_pettingzoo(identity, name)


def _enter_gymnasium(identity: str, name: str) -> None:
    try:
        import gymnasium
    except ImportError:
        return
    if identity not in gymnasium.registry:
        gymnasium.register(
            identity,
            entry_point=f"{_HERE}.gymnasium:Against",
            vector_entry_point=f"{_HERE}.vector:vector",
            kwargs={"game": name},
        )


def _enter_pettingzoo(identity: str, name: str) -> None:
    try:
        from pettingzoo import aec_registry, parallel_registry, register
    except ImportError:  # absent, or older than its registry (1.27)
        return
    if identity not in aec_registry:
        register("aec", identity, entry_point=f"{_HERE}.pettingzoo:aec", kwargs={"game": name})
    if identity not in parallel_registry:
        register("parallel", identity, entry_point=f"{_HERE}.pettingzoo:parallel", kwargs={"game": name})
