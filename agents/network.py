"""A torch network over features: plays, learns, and is saved as safetensors.

The network maps features (N, *F) to logits (N, A) and values (N,); what it is made of is in
`ludus.agents.bodies`. Illegal moves are masked before the softmax.

Shape letters: N rows, A moves, F features.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ludus.agents.bodies import DEFAULTS, Network, Shape
from ludus.core.agent import Decision, Request, Tokens
from ludus.core.array_game import ArrayGame
from ludus.core.errors import ConfigError, MissingExtra, UnknownName
from ludus.core.game import Choice, Forfeit, Game, Move, role_of
from ludus.core.policy import Rows, Scores
from ludus.core.registry import register_agent

if TYPE_CHECKING:
    from ludus.agents.tree import Evaluate

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor
except ImportError as absent:
    raise MissingExtra("the network agent", "torch") from absent

BLOCK = 64  # requests are answered in blocks of this many rows
WEIGHTS, SETTINGS = "weights.safetensors", "network.json"


class Drawn(NamedTuple):
    """Moves (N,), their log-probabilities (N,) and values (N,), nan of those who value nothing."""

    moves: NDArray[Any]
    logprobs: NDArray[Any]
    values: NDArray[Any]


class NetworkAgent:
    """A network that plays and learns: a `Policy`, see `ludus.core.policy`.

    Args:
        name: its name in records.
        network: the weights.
        version: how often it has been updated.
        autocast: "bfloat16" computes layers and what they answer in that type while learning; "" in the weights'.

    Raises:
        ConfigError: layers cannot be computed in that type.
    """

    def __init__(self, name: str, network: Network, version: int = 0, *, autocast: str = "") -> None:
        if autocast not in ("", "bfloat16"):
            raise ConfigError(f"autocast is 'bfloat16', or '' for the weights' own type, not {autocast!r}")
        self.name, self.network, self.version, self.autocast = name, network, version, autocast
        self._print: tuple[Any, str] = (None, "")

    # ------------------------------------------------------------------------------- playing
    def act(self, requests: Sequence[Request]) -> list[Decision]:
        logp, values = self._asked(requests)
        decisions = []
        for request, row, value in zip(requests, logp, values, strict=True):
            move = inverse(np.exp(row[None]), np.array([request.rng.random()]))[0]
            tokens = Tokens(
                prompt=self.fed(request),
                ids=np.array([move], np.int64),
                logprobs=row[[move]].astype(np.float32),
                sampled=np.ones(1, np.bool_),
                policy=self.name,
                version=self.version,
                legal=_legal(request),
            )
            decisions.append(Decision(int(move), tokens=tokens, value=float(value)))
        return decisions

    def value(self, requests: Sequence[Request]) -> NDArray[np.float64]:
        _, values = self._rows(np.stack([self.fed(r) for r in requests]), None)
        return values.astype(np.float64)

    def probabilities(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        return [np.exp(row) / np.exp(row).sum() for row in self._asked(requests)[0]]

    def _asked(self, requests: Sequence[Request]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        for request in requests:
            self._check(request)
        features = np.stack([self.fed(r) for r in requests])
        return self._rows(features, np.stack([_legal(r) for r in requests]))

    def _check(self, request: Request) -> None:
        """Refuse what a network made for another game or seat is asked."""
        shape = self.network.shape
        given = shape.features if shape.words else _features(request).shape, len(_legal(request))
        if given != (shape.features, shape.moves):
            raise ConfigError(
                f"{request.game}: {request.seat} has {_shape(*given)}, and the network {self.name} was made for "
                f"{_shape(shape.features, shape.moves)}: it plays another game, or another seat"
            )

    def misfit(self, game: Game[Any]) -> str:
        """How what the players of a game see and do differs from what this was made for; nothing where a seat fits."""
        shape = self.network.shape
        faces = {seat: game.interface(seat) for seat in game.players}
        if any(
            (shape.words or face.shape == shape.features) and face.moves == shape.moves
            for face in faces.values()
        ):
            return ""
        seats = "; ".join(f"{seat} {_shape(face.shape, face.moves)}" for seat, face in faces.items())
        made = _shape(None if shape.words else shape.features, shape.moves)
        return f"the network {self.name} was made for {made}; in {game.id} there is: {seats}"

    def fed(self, request: Request) -> NDArray[Any]:
        """What the network reads of a request: features, or counts of hashed words."""
        words = self.network.shape.words
        return hashed(request.information, words) if words else _features(request)

    def written(self, request: Request, move: Move, raw: str | None = None) -> Tokens:
        """A move that somebody else made, as this network would have; what was said is not read."""
        if isinstance(move, Forfeit) or not isinstance(move, (int, np.integer)):
            raise ConfigError(
                f"{request.game}: {move!r} of {request.seat} is no move that a network can make"
            )
        return Tokens(
            prompt=self.fed(request),
            ids=np.array([move], np.int64),
            logprobs=np.full(1, np.nan, np.float32),
            sampled=np.ones(1, np.bool_),
            policy=self.name,
            version=self.version,
            legal=_legal(request),
        )

    def _rows(
        self, features: NDArray[Any], legal: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Log-probabilities (N, A) and values (N,)."""
        logits, values = in_blocks(self.network, features, BLOCK)
        allowed = None if legal is None else torch.from_numpy(legal)
        logp, values = self.read(logits.double(), values, allowed)
        return logp.numpy(), values.numpy()

    def read(self, logits: Tensor, values: Tensor, legal: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the network's answer means: log-probabilities (N, A) over the legal moves, and values (N,)."""
        return _normalised(logits, legal), values

    def draw(self, features: NDArray[Any], legal: NDArray[np.bool_], uniform: NDArray[np.float64]) -> Drawn:
        """Moves for many positions at once, without requests.

        Args:
            features: (N, *F).
            legal: (N, A).
            uniform: (N,) in [0, 1), one number for each draw.
        """
        with torch.no_grad():
            logits, values = self.network(torch.from_numpy(features))
            told, values = self.read(logits, values, torch.from_numpy(legal))
            logp = told.numpy()
        moves = inverse(np.exp(logp.astype(np.float64)), uniform)
        return Drawn(moves, logp[np.arange(len(moves)), moves], values.numpy())

    # ------------------------------------------------------------------------------ learning
    def score(self, rows: Rows) -> Scores:
        if not isinstance(rows.prompts, np.ndarray):
            raise TypeError(f"{self.name}: a network scores features of one shape, not token ids")
        if rows.ids.shape[1] != 1:
            raise ValueError(
                f"{self.name}: a network's move is one token, and these have {rows.ids.shape[1]}"
            )
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(self.autocast)):
            logits, values = (part.float() for part in self.network(torch.from_numpy(rows.prompts)))
        legal = torch.ones_like(logits, dtype=torch.bool)
        if rows.legal is not None:
            legal = torch.from_numpy(rows.legal[:, : logits.shape[1]])
        logp, values = self.learned(logits, values, legal, torch.from_numpy(rows.ids))
        never = logp.isinf()
        known = logp.masked_fill(never, 0.0)
        return Scores(
            logprobs=logp.gather(1, torch.from_numpy(rows.ids)),
            mask=torch.from_numpy(rows.sampled),
            entropy=-(known.exp() * known).masked_fill(never, 0.0).sum(1, keepdim=True),
            values=values,
            choices=logp,
        )

    def learned(self, logits: Tensor, values: Tensor, legal: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """As `read`, with the gradients of what is learned; ids (N, 1) are the moves that were made."""
        return self.read(logits, values, legal)

    def parameters(self) -> Iterable[Tensor]:
        return self.network.parameters()

    def state(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self.network.state_dict().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(dict(state), strict=True)

    def frozen(self, name: str) -> NetworkAgent:
        twin = Network.of(self.network.shape, torch.Generator())
        twin.load_state_dict(self.network.state_dict())
        twin.requires_grad_(requires_grad=False)
        return NetworkAgent(name, twin, self.version, autocast=self.autocast)

    def fingerprint(self) -> str:
        mark = (self.version, *(weight._version for weight in self.network.state_dict().values()))  # noqa: SLF001
        if self._print[0] != mark:
            h = hashlib.blake2b(json.dumps(dataclasses.asdict(self.network.shape)).encode(), digest_size=8)
            for name, weight in sorted(self.state().items()):
                h.update(name.encode() + weight.contiguous().numpy().tobytes())
            self._print = (mark, h.hexdigest())
        return self._print[1]

    def save(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: w.contiguous() for name, w in self.state().items()}, folder / WEIGHTS)
        about = {"name": self.name, "version": self.version, **dataclasses.asdict(self.network.shape)}
        (folder / SETTINGS).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def in_blocks(network: Any, features: NDArray[Any], block: int) -> tuple[Tensor, Tensor]:
    """Logits (N, A) and values (N,) of features (N, *F), computed in padded blocks of one size.

    Matrix products of other sizes add up in another order; equal blocks keep an answer, in its last bits, from
    depending on how many rows happen to be asked together.
    """
    n = len(features)
    padded = np.zeros((-(-n // block) * block, *features.shape[1:]), features.dtype)
    padded[:n] = features
    with torch.no_grad():
        rows = torch.from_numpy(padded).to(next(network.parameters()).device).split(block)
        logits, values = zip(*(network(part) for part in rows), strict=True)
    return torch.cat(logits)[:n], torch.cat(values)[:n]


def evaluator(network: Any, block: int, *, half: bool = False) -> Evaluate:
    """A network as `ludus.agents.tree.Search` asks one, `in_blocks`; with large batches take large blocks.

    With `half` layers are computed in bfloat16.
    """
    device = next(network.parameters()).device.type

    def evaluate(features: NDArray[Any], legal: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            logits, values = in_blocks(network, features, block)
        return logits.float().cpu().numpy(), values.float().cpu().numpy()

    return evaluate


def inverse(share: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Moves (N,) drawn from shares (N, A) by one number in [0, 1) each; never one without a share."""
    reach = np.cumsum(share, 1)
    move = np.sum(uniform[:, None] * reach[:, -1:] >= reach, 1)
    last = share.shape[1] - 1 - np.argmax(share[:, ::-1] > 0, 1)
    return np.asarray(np.minimum(move, last), np.int64)


def _normalised(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Log-probabilities over the legal moves, -inf elsewhere; gradients stay finite."""
    if legal is None:
        return torch.log_softmax(logits, -1)
    logp = torch.log_softmax(logits.masked_fill(~legal, -1e9), -1)
    return logp.masked_fill(~legal, -torch.inf)


def _shape(features: tuple[int, ...] | None, moves: int | None) -> str:
    """In words what a seat sees and may do."""
    seen = "prose" if features is None else f"features of shape {features}"
    return f"{seen} and {'free replies' if moves is None else f'{moves} moves'}"


def _features(request: Request) -> NDArray[Any]:
    if request.view.features is None:
        raise ConfigError(
            f"{request.game}: {request.seat} sees no features, and a network reads nothing else"
        )
    return request.view.features


def hashed(prose: str, width: int) -> NDArray[np.float32]:
    """Counts (width,) of words and of neighbouring pairs, each in the bucket its hash says.

    Source: Weinberger et al. 2009, arXiv:0902.2206 (without signs: buckets are many).
    """
    out = np.zeros(width, np.float32)
    words = prose.split()
    for item in (*words, *(" ".join(pair) for pair in itertools.pairwise(words))):
        out[int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "little") % width] += 1
    return out


def _legal(request: Request) -> NDArray[np.bool_]:
    if not isinstance(request.options, Choice):
        raise ConfigError(f"{request.game}: {request.seat} has free replies, and a network can only choose")
    return request.options.legal


# ------------------------------------------------------------------------------ making networks
def fresh(
    game: Game[Any],
    *,
    name: str = "network",
    seed: int = 0,
    roles: Sequence[str] = (),
    words: int = 0,
    body: str = "trunks",
    hidden: Sequence[int] | None = None,
    channels: Sequence[int] = (),
    planes: str = "first",
    activation: str = "",
    width: int = 64,
    blocks: int = 4,
    heads: int = 4,
    symmetric: bool = False,
) -> NetworkAgent:
    """A new network for the players of a game, its weights drawn from `seed`.

    Args:
        game: the rules.
        name: its name in records.
        seed: decides the first weights.
        roles: which roles or seats it will play; all players if none is named.
        words: read prose through so many hashed counts instead of features.
        body: "trunks", "residual" or "transformer"; see `ludus.agents.bodies.Shape`, also for what follows.
        hidden: of trunks, 128 twice by default.
        channels: of trunks, none by default.
        planes: "first" or "last".
        activation: "tanh" or "relu"; by default tanh in trunks, else relu.
        width: of a residual body or a transformer.
        blocks: likewise.
        heads: of a transformer.
        symmetric: answer alike for all images of a position by the game's symmetries; see
            `ludus.agents.bodies.Symmetric`.

    Raises:
        ConfigError: a player has no features or free replies, or the players' differ in shape; or the game has no
            symmetries and they are wanted.
    """
    seats = [seat for seat in game.players if not roles or seat in roles or role_of(seat) in roles]
    faces = [game.interface(seat) for seat in seats]
    kinds = {((words,) if words else face.shape, face.moves) for face in faces}
    if len(kinds) != 1:
        raise ConfigError(
            f"{game.id}: one network serves seats of one shape (features, moves), and {seats} have {sorted(kinds, key=repr)}; "
            "give each role a policy of its own, with roles = [...]"
        )
    ((features, moves),) = kinds
    if features is None:
        raise ConfigError(f"{game.id}: {seats} have no features; let the network read prose with words = 512")
    if moves is None:
        raise ConfigError(f"{game.id}: {seats} have free replies, and a network can only choose")
    if body not in DEFAULTS:
        raise UnknownName("body of a network", body, DEFAULTS)
    known = game.symmetries() if symmetric and not words and isinstance(game, ArrayGame) else []
    if symmetric and not known:
        raise ConfigError(
            f"symmetric = true wants features of a game that has symmetries, which {game!r} has not"
        )
    for given, widths in (("hidden", hidden), ("channels", channels)):
        if isinstance(widths, int):
            raise ConfigError(
                f"{given} = {widths}: give the width of every layer, such as [{widths}, {widths}]"
            )
    layers, bend = DEFAULTS[body]
    shape = Shape(
        features, moves, layers if hidden is None else tuple(hidden), tuple(channels), planes, activation or bend,
        words, body, width, blocks, heads, tuple((tuple(s.features.tolist()), tuple(s.moves.tolist())) for s in known),
    )  # fmt: skip
    return NetworkAgent(name, Network.of(shape, torch.Generator().manual_seed(seed)))


def no_network(folder: Path, file: str) -> str:
    """Why no network can be read from a folder: what was looked for, and where there are some."""
    if folder.is_dir():
        what = f"{folder} has no {file}"
    else:
        there = next(parent for parent in folder.parents if parent.is_dir())
        what = f"there is no folder {folder} ({there.absolute()} has no {folder.relative_to(there).parts[0]})"
    near = sorted({*folder.glob(f"policies/*/{file}"), *folder.parent.glob(f"*/{file}")})
    hint = f"; there are {', '.join(str(path.parent) for path in near[:12])}" if near else ""
    return f"no saved network: {what}{hint}"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


@register_agent("network")
def network(path: str | Path, name: str | None = None) -> NetworkAgent:
    """The network saved in folder `path`.

    Raises:
        ConfigError: there is no saved network; names those beside it.
    """
    folder = Path(path)
    if not (folder / SETTINGS).is_file():
        raise ConfigError(no_network(folder, SETTINGS))
    about = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    saved, version = about.pop("name"), about.pop("version")
    shape = Shape(**{name: _tuples(value) for name, value in about.items()})
    made = NetworkAgent(name or saved, Network.of(shape, torch.Generator()), version)
    made.load(load_file(folder / WEIGHTS))
    return made
