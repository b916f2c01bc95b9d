"""Recorded games as frames for the page's viewer: what every seat sees after every move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ludus.core.episode import Episode
from ludus.core.game import CHANCE, Choice, Forfeit, Game, Seat
from ludus.core.replay import Frame, game_of, replay


@dataclass
class Reel:
    """Films that share one list of texts, because the same views come again and again."""

    films: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def add(self, episodes: Iterable[Episode], group: str = "") -> None:
        """Replay episodes and keep them; `group` is what the viewer files them under.

        Raises:
            ForgedError: an episode does not fit the rules.
        """
        for episode in episodes:
            self.films.append(
                self._film(episode, group or " – ".join(sorted(set(_players(episode).values()))))
            )

    def _film(self, episode: Episode, group: str) -> dict[str, Any]:
        game = game_of(episode)
        frames: list[dict[str, Any]] = []
        sums: dict[Seat, float] = dict.fromkeys(game.players, 0.0)
        for frame in replay(episode, game):
            if frame.seat == CHANCE:
                frames[-1]["chance"].append(frame.move)
                if len(frames) == 1 and len(frames[-1]["chance"]) == 1:
                    frames[-1]["paid"] = _add(sums, frame)
            else:
                frames.append(_told(frame) | {"paid": _add(sums, frame)})
            frames[-1]["views"] = [self._text(self._seen(game, frame, seat)) for seat in game.seats]
            frames[-1]["sums"] = [round(sums[seat], 6) if seat in sums else None for seat in game.seats]
        return {
            "group": group, "title": _title(episode), "game": repr(game), "seed": episode.match.seed, "end": episode.end,
            "fault": episode.fault, "frames": frames, "agents": episode.lineup,
            "seats": [
                {"seat": seat, "agent": episode.lineup[seat], "return": episode.returns.get(seat)} for seat in game.seats
            ],
        }  # fmt: skip

    @staticmethod
    def _seen(game: Game[Any], frame: Frame, seat: Seat) -> str:
        return game.view(frame.state, seat).text

    def _text(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]


def _add(sums: dict[Seat, float], frame: Frame) -> dict[Seat, float]:
    """Add what a frame paid, penalties included, to the sums; return it by seat."""
    paid = {seat: float(amount) for seat, amount in frame.paid.items() if seat in sums}
    if frame.step is not None and frame.step.penalty and frame.seat is not None:
        paid[frame.seat] = paid.get(frame.seat, 0.0) + frame.step.penalty
    for seat, amount in paid.items():
        sums[seat] += amount
    return paid


def _told(frame: Frame) -> dict[str, Any]:
    """What the viewer says of a move; what is empty is left out."""
    step = frame.step
    if step is None:
        return {"kind": "start", "chance": []}
    told: dict[str, Any] = {
        "kind": "move", "seat": step.seat, "name": frame.name, "read": step.read, "raw": step.raw,
        "rejected": list(step.rejected), "note": step.note, "value": step.value, "chance": [],
    }  # fmt: skip
    if isinstance(frame.options, Choice):
        told["legal"] = frame.options.allowed
    if isinstance(step.move, Forfeit):
        told["forfeit"] = True
    return {k: v for k, v in told.items() if v not in (None, "", []) or k == "chance"}


def _players(episode: Episode) -> dict[Seat, str]:
    return {seat: name for seat, name in episode.lineup.items() if seat in episode.returns} or episode.lineup


def _title(episode: Episode) -> str:
    """`seed 3: network +1, always_bet −1`."""
    who = ", ".join(
        f"{name} {episode.returns[seat]:+g}".replace("-", "−") if seat in episode.returns else name
        for seat, name in _players(episode).items()
    )
    sample = f" ({episode.match.sample})" if episode.match.sample else ""
    return f"seed {episode.match.seed}{sample}: {who}"
