"""Policies by name: the kinds of learning agent that a configuration can ask for.

network        a torch network over features: fresh, or from a folder (path)
q_network      one that values moves and plays the best: likewise
language       a causal language model from a Hugging Face folder (path)
tiny_language  a tiny one from scratch, taught the games' language on random legal play
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Game
from ludus.core.policy import Policy
from ludus.core.registry import Registry

if TYPE_CHECKING:
    from ludus.agents.network import NetworkAgent

POLICIES = Registry("kind of policy", "ludus.policies")
PROMPTS = ("style", "answer", "system")  # of the lessons, what says how prompts and replies are worded
CORPUS = 50  # random games of each game, for a vocabulary
SAVED = {"path": "str, of a trained one's folder"}
AUTOCAST = {
    "autocast": "'bfloat16': layers are computed in it while it learns (default: '', as the weights are)"
}


def make_policy(
    kind: str, games: Sequence[Game[Any]], *, name: str, seed: int, folder: Path, **settings: Any
) -> Policy:
    """A policy called `name`.

    Args:
        kind: one of the names above, or of a plug-in: `maker(games, name=, seed=, folder=, **settings)`.
        games: what it will play.
        name: its name in records.
        seed: decides its first weights, where those are drawn.
        folder: where the maker may keep what is costly to make again when a run is resumed.
        settings: whatever its kind takes.
    """
    maker = POLICIES.maker(kind)
    _check(kind, settings)
    policy: Policy = maker(games, name=name, seed=seed, folder=folder, **settings)
    return policy


def _check(kind: str, settings: Mapping[str, Any]) -> None:
    if kind == "tiny_language" and "path" in settings:
        raise ConfigError(
            f"a policy of kind 'tiny_language' is made anew and takes no path, which is {settings['path']!r}: "
            "name = 'language' loads a model from a folder"
        )
    known = known_settings(kind)
    for key, value in settings.items():
        inner = key in ("model", "lessons") and isinstance(value, Mapping) and kind == "tiny_language"
        for setting in [f"{key}.{one}" for one in value] if inner else [key]:
            if known and setting not in known:
                raise UnknownName(f"setting of a policy of kind {kind!r}", setting, known)


def known_settings(kind: str) -> dict[str, str]:
    """What a kind of policy of ours takes: each setting with its type and default; nothing of a plug-in's."""
    if kind not in ("network", "q_network", "language", "tiny_language"):
        return {}
    if kind == "network":
        from ludus.agents.network import fresh

        return SAVED | AUTOCAST | _told(fresh)
    if kind == "q_network":
        from ludus.agents.network import fresh
        from ludus.agents.q_network import fresh_q_network

        return SAVED | _told(fresh_q_network) | _told(fresh)
    from ludus.agents.language.local import LanguageModel
    from ludus.agents.language.manner import Manner
    from ludus.agents.language.models.causal import CausalModel
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach

    language = _told(LanguageModel) | _told(CausalModel)
    for one in dataclasses.fields(Manner):
        default = "" if one.default is dataclasses.MISSING else f" (default: {one.default!r})"
        language[one.name] = f"{one.type}{default}"
    if kind == "language":
        return {"path": "str, of a model's folder"} | language
    lessons = {key: told for key, told in language.items() if key in PROMPTS}
    inside = _told(make_tiny, "model.") | _told(teach, "lessons.")
    return inside | {f"lessons.{key}": told for key, told in lessons.items()} | language


def _told(maker: Any, prefix: str = "") -> dict[str, str]:
    """The settings of a maker that a configuration may give."""
    ours = {"name", "seed", "version", "path", "games", "game", "to", "show"}
    takes = inspect.signature(maker).parameters.values()
    mine = [one for one in takes if one.kind is one.KEYWORD_ONLY and one.name not in ours]
    return {f"{prefix}{one.name}": f"{one.annotation} (default: {one.default!r})" for one in mine}


def prepare_policy(
    kind: str, games: Sequence[Game[Any]], *, seed: int, folder: Path, **settings: Any
) -> None:
    """Let one of several processes put into the folder what all of them then make the policy from.

    Makers whose attribute `prepare` is a function of the same settings are asked; others have nothing to prepare.
    """
    prepare = getattr(POLICIES.maker(kind), "prepare", None)
    _check(kind, settings)
    if prepare is not None:
        prepare(games, seed=seed, folder=folder, **settings)


def _network(games: Sequence[Game[Any]], *, autocast: str = "", **settings: Any) -> Policy:
    from ludus.agents.network import NetworkAgent, fresh, network

    made = _of_network("network", fresh, network, games, **settings)
    return NetworkAgent(made.name, made.network, made.version, autocast=autocast)


def _q_network(games: Sequence[Game[Any]], **settings: Any) -> Policy:
    from ludus.agents.q_network import fresh_q_network, q_network

    return _of_network("q_network", fresh_q_network, q_network, games, **settings)


def _of_network(
    kind: str,
    fresh: Callable[..., NetworkAgent],
    saved: Callable[..., NetworkAgent],
    games: Sequence[Game[Any]],
    *,
    name: str,
    seed: int,
    folder: Path,
    path: str = "",
    **settings: Any,
) -> NetworkAgent:
    """A network that is saved in `path`, or a fresh one."""
    if path and settings:
        raise ConfigError(f"the {kind} in {path} is as it was made; leave out {', '.join(settings)}")
    if path:
        return _fitting(saved(path, name=name), path, games)
    if len(games) > 1:
        raise ConfigError(f"a {kind} is made for one game: give it one, or let a language model play several")
    return fresh(games[0], name=name, seed=seed, **settings)


def _fitting(made: NetworkAgent, path: str, games: Sequence[Game[Any]]) -> NetworkAgent:
    """A saved network, if there is a seat for it in every game."""
    for game in games:
        if differs := made.misfit(game):
            raise ConfigError(f"{path}: {differs}")
    return made


def _language(
    games: Sequence[Game[Any]], *, name: str, seed: int, folder: Path, path: str, **settings: Any
) -> Policy:
    from ludus.agents.language.local import LanguageModel

    return LanguageModel(path, name=name, **settings)


def _tiny_language(
    games: Sequence[Game[Any]],
    *,
    name: str,
    seed: int,
    folder: Path,
    model: dict[str, Any] | None = None,
    lessons: dict[str, Any] | None = None,
    **settings: Any,
) -> Policy:
    """`model` goes to `make_tiny`, `lessons` to `teach`, the rest to `LanguageModel`."""
    from ludus.agents.language.local import LanguageModel

    _taught(games, seed=seed, folder=folder, model=model, lessons=lessons)
    return LanguageModel(folder, name=name, **settings)


def _taught(
    games: Sequence[Game[Any]],
    *,
    seed: int,
    folder: Path,
    model: dict[str, Any] | None = None,
    lessons: dict[str, Any] | None = None,
    **_: Any,
) -> None:
    """Make and teach a tiny model, unless that was done.

    A vocabulary is trained on what is said in the games, in the style of the lessons; the scratch is one token.
    """
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach, texts

    if folder.is_dir():
        return
    aside = folder.with_name(f".{folder.name}.aside")
    size, taught = dict(model or {}), dict(lessons or {})
    if size.get("vocabulary") and "corpus" not in size:
        prompts = {name: taught[name] for name in PROMPTS if name in taught}
        size["corpus"] = texts(games, episodes=CORPUS, seed=seed, **prompts)
        size.setdefault("words", [taught["scratch"]] if taught.get("scratch") else [])
    make_tiny(aside, seed=seed, **size)
    teach(aside, games, seed=seed, **taught)
    aside.replace(folder)


_tiny_language.prepare = _taught  # type: ignore[attr-defined]


POLICIES.add("network", _network)
POLICIES.add("q_network", _q_network)
POLICIES.add("language", _language)
POLICIES.add("tiny_language", _tiny_language)
