"""Episodes: facts. A match, and the moves that were made; JSON lines in and out."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from ludus.core.agent import Reading, Tokens
from ludus.core.errors import RecordError
from ludus.core.game import Forfeit, Move, Options, Seat, View
from ludus.core.match import Illegal, Match

End: TypeAlias = Literal["over", "forfeit", "cut", "error"]
FORMAT = 1  # of the JSON lines
MARK = (2**31).to_bytes(4, "little")  # what is drawn from a seed to mark it, and not for chance


@dataclass(slots=True, eq=False)
class Step:
    """One decision of one seat, and what that seat earned until its next decision.

    Attributes:
        seat: who decided.
        move: what was played: `Forfeit` if the reply could not be used.
        mark: digest of the view as a file has it; empty where the view itself is here.
        reward: earned from this decision until the seat's next one, penalties included.
        read: how the move was read off the reply.
        raw: the reply as it came, if the agent speaks.
        rejected: earlier replies to the same turn that could not be used.
        penalty: the part of `reward` that the match's policy for illegal moves took (not positive).
        tokens, value, note: as in `Decision`.
        view, options: what was seen and could be done; present when just played, absent when read
            from a file (`replay` brings them back).
    """

    seat: Seat
    move: Move
    mark: str = ""
    reward: float = 0.0
    read: Reading = "exact"
    raw: str | None = None
    rejected: tuple[str, ...] = ()
    penalty: float = 0.0
    tokens: Tokens | None = None
    value: float | None = None
    note: str = ""
    view: View | None = None
    options: Options | None = None

    @property
    def digest(self) -> str:
        """Digest of the view, sixteen hexadecimal digits; worked out when it is asked for."""
        return self.mark or ("" if self.view is None else self.view.digest())


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """A match and what came of it.

    Attributes:
        match: in names only.
        steps: decisions of all seats, crew included, in the order in which replay needs them.
        chance: nature's outcomes, in order.
        returns: what each player earned in all; empty if the episode ended in an error.
        end: "over"; "forfeit"; "cut" by a limit on steps; "error": machinery broke, see `fault`.
        early: what a seat earned before its first decision.
        bootstrap: where cut, each seat's estimate of what was still to come.
        fault: what broke.
        failed: the seat whose machinery it was.
        stream: sixteen hexadecimal digits of the seed's own stream, as a file has them: no other seed has them. None
            where the episode has just been played.
        game_fingerprint: hash of the rules and their parameters.
        agent_fingerprints: by seat, for agents that have one.
    """

    match: Match
    steps: tuple[Step, ...]
    chance: tuple[int, ...] = ()
    returns: Mapping[Seat, float] = field(default_factory=dict)
    end: End = "over"
    early: Mapping[Seat, float] = field(default_factory=dict)
    bootstrap: Mapping[Seat, float] = field(default_factory=dict)
    fault: str = ""
    failed: Seat = ""
    stream: str | None = None
    game_fingerprint: str = ""
    agent_fingerprints: Mapping[Seat, str] = field(default_factory=dict)

    @property
    def game(self) -> str:
        """The game's name."""
        return self.match.game if isinstance(self.match.game, str) else self.match.game.id

    @property
    def variant(self) -> str:
        """The game's name with the parameters it was made with, whatever the task."""
        settings = ", ".join(f"{name}={value!r}" for name, value in sorted(self.match.params.items()))
        return f"{self.game}({settings})" if settings else self.game

    @property
    def lineup(self) -> dict[Seat, str]:
        """Names by seat."""
        return {s: a if isinstance(a, str) else a.name for s, a in self.match.lineup.items()}

    def of(self, seat: Seat) -> tuple[Step, ...]:
        """The decisions of one seat."""
        return tuple(step for step in self.steps if step.seat == seat)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(_episode_out(self), separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def from_json(line: str) -> Episode:
        """The episode of one line.

        Raises:
            RecordError: the line is not an episode.
        """
        try:
            return _episode_in(json.loads(line, parse_constant=_refuse))
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise RecordError(f"not an episode: {fault!r}") from fault


# ----------------------------------------------------------------------------------- JSON lines
def write(episodes: Iterable[Episode], path: str | Path, *, append: bool = False) -> int:
    """Write episodes as JSON lines; return how many."""
    count = 0
    with Path(path).open("a" if append else "w", encoding="utf-8") as file:
        for episode in episodes:
            file.write(episode.to_json() + "\n")
            count += 1
    return count


def read(path: str | Path) -> Iterator[Episode]:
    """The episodes of a file of JSON lines.

    A line that cannot be read is named in a warning, with file and line number; the others are
    still read.
    """
    with Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield Episode.from_json(line)
            except RecordError as fault:
                warnings.warn(f"{path}:{number}: {fault}", stacklevel=2)


def _episode_out(e: Episode) -> dict[str, Any]:
    match = {
        "game": e.game, "params": dict(e.match.params), "lineup": e.lineup, "seed": e.match.seed,
        "sample": e.match.sample, "task": e.match.task, "group": e.match.group, "parent": e.match.parent,
        "illegal": _pruned(dataclasses.asdict(e.match.illegal), keep=("policy", "times", "penalty")),
        "failed": e.match.failed, "max_steps": e.match.max_steps,
        "privileged": list(e.match.privileged),
    }  # fmt: skip
    out = {
        "format": FORMAT, "match": match, "end": e.end, "returns": dict(e.returns), "chance": list(e.chance),
        "game_fingerprint": e.game_fingerprint, "agent_fingerprints": dict(e.agent_fingerprints),
        "early": dict(e.early), "bootstrap": dict(e.bootstrap), "fault": e.fault, "failed": e.failed,
        "stream": stream_mark(e.match.seed) if e.stream is None else e.stream,
        "steps": [_step_out(step) for step in e.steps],
    }  # fmt: skip
    return _pruned(out, keep=("format", "match", "end", "returns", "steps"))


def _step_out(s: Step) -> dict[str, Any]:
    out = {
        "seat": s.seat, "move": _move_out(s.move), "digest": s.digest, "reward": s.reward, "read": s.read,
        "raw": s.raw, "rejected": list(s.rejected), "penalty": s.penalty or None, "value": s.value, "note": s.note,
        "tokens": None if s.tokens is None else _tokens_out(s.tokens),
    }  # fmt: skip
    # An empty reply stays: whoever gave it speaks, and a match may name its own price for it.
    spoken = () if s.raw is None else ("raw",)
    return _pruned(out, keep=("seat", "move", "digest", "reward", "read", *spoken))


def stream_mark(seed: int) -> str:
    """Sixteen hexadecimal digits that belong to a seed."""
    # What SeedSequence(seed, spawn_key=(2**31,)) draws as its first 64 bits, put together here: twice as fast.
    seed = int(seed)
    words = max(4, -(-seed.bit_length() // 32))
    entropy = np.frombuffer(seed.to_bytes(4 * words, "little") + MARK, "<u4")
    low, high = np.random.SeedSequence(entropy).generate_state(2).tolist()
    return f"{high:08x}{low:08x}"


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number that a record may hold")


def _pruned(out: dict[str, Any], keep: tuple[str, ...]) -> dict[str, Any]:
    empty: tuple[Any, ...] = (None, "", [], {})
    return {k: v for k, v in out.items() if k in keep or v not in empty}


def _move_out(move: Move) -> Any:
    if isinstance(move, Forfeit):
        return {"forfeit": move.reason}
    if isinstance(move, Mapping):
        return {"form": dict(move)}
    return int(move) if isinstance(move, (int, np.integer)) else move


def _move_in(move: Any) -> Move:
    if isinstance(move, dict):
        if "forfeit" in move:
            return Forfeit(str(move["forfeit"]))
        form: Move = move["form"]
        return form
    if not isinstance(move, (int, str)):
        raise RecordError(f"{move!r} is no move")
    return move


def _tokens_out(t: Tokens) -> dict[str, Any]:
    out = {
        "prompt": t.prompt.tolist(), "prompt_dtype": str(t.prompt.dtype), "ids": t.ids.tolist(),
        "logprobs": [float(x) for x in t.logprobs], "sampled": t.sampled.astype(int).tolist(),
        "policy": t.policy, "version": t.version,
        "legal": None if t.legal is None else t.legal.astype(int).tolist(),
        "replies": None if t.replies is None else [list(r) for r in t.replies],
        "truncated": t.truncated or None, "constraint": t.constraint or None,
    }  # fmt: skip
    return {k: v for k, v in out.items() if v is not None}


def _tokens_in(d: Mapping[str, Any]) -> Tokens:
    return Tokens(
        prompt=np.asarray(d["prompt"], d["prompt_dtype"]),
        ids=np.asarray(d["ids"], np.int64),
        logprobs=np.asarray(d["logprobs"], np.float32),
        sampled=np.asarray(d["sampled"], np.bool_),
        policy=d["policy"],
        version=d["version"],
        legal=np.asarray(d["legal"], np.bool_) if "legal" in d else None,
        replies=tuple(tuple(r) for r in d["replies"]) if "replies" in d else None,
        truncated=bool(d.get("truncated", False)),
        constraint=str(d.get("constraint", "")),
    )


def _step_in(d: Mapping[str, Any]) -> Step:
    return Step(
        seat=d["seat"], move=_move_in(d["move"]), mark=d["digest"], reward=float(d["reward"]), read=d["read"],
        raw=d.get("raw"), rejected=tuple(d.get("rejected", ())), penalty=float(d.get("penalty", 0.0)),
        tokens=_tokens_in(d["tokens"]) if "tokens" in d else None, value=d.get("value"), note=d.get("note", ""),
    )  # fmt: skip


def _mark_in(stream: Any) -> str:
    if not isinstance(stream, str):
        raise RecordError(f"stream {stream!r} is no text")
    return stream


def _episode_in(d: Mapping[str, Any]) -> Episode:
    if d["format"] != FORMAT:
        raise RecordError(f"format {d['format']!r}, and this version reads {FORMAT}")
    m = d["match"]
    match = Match(
        game=m["game"], params=m["params"], lineup=m["lineup"], seed=m["seed"], sample=m["sample"], task=m["task"],
        group=m["group"], parent=m["parent"], illegal=Illegal(**m["illegal"]), failed=m["failed"], max_steps=m["max_steps"],
        privileged=tuple(m["privileged"]),
    )  # fmt: skip
    return Episode(
        match=match,
        steps=tuple(_step_in(step) for step in d["steps"]),
        chance=tuple(int(c) for c in d.get("chance", ())),
        returns={seat: float(r) for seat, r in d["returns"].items()},
        end=d["end"],
        early=d.get("early", {}),
        bootstrap=d.get("bootstrap", {}),
        fault=d.get("fault", ""),
        failed=d.get("failed", ""),
        stream=_mark_in(d.get("stream", "")),
        game_fingerprint=d.get("game_fingerprint", ""),
        agent_fingerprints=d.get("agent_fingerprints", {}),
    )
