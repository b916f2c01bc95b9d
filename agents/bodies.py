"""The bodies of networks: what stands between features and the two heads.

trunks        layers of a width each, after convolutions if wanted; policy and value share nothing
residual      convolutions over planes, in blocks that add to what they read (AlphaZero's)
transformer   attention over the cells of planes, or over single features where those are flat

In games of chance the value loss never vanishes, and through a shared body it crowds out the policy:
trunks are the default. The two others are for boards, and share one body. No body normalises over a
batch, so that no row's answer depends on the others.

Shape letters: N rows, A moves, F features, T tokens, C planes, H x W cells, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.core.errors import ConfigError, MissingExtra, UnknownName
from ludus.core.symmetry import stacked

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import scaled_dot_product_attention
    from torch.nn.utils import skip_init
except ImportError as absent:
    raise MissingExtra("the network agent", "torch") from absent

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
DEFAULTS = {"trunks": ((128, 128), "tanh"), "residual": ((), "relu"), "transformer": ((), "relu")}
THIN = 16  # numbers of each token that a head reads


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is made of.

    Attributes:
        features: shape of a view's features (F).
        moves: how many moves there are (A).
        hidden: widths of the hidden layers of trunks.
        channels: widths of 3 x 3 convolutions before them, for features that are planes; none if empty.
        planes: where the planes stand in F: "first" (C, H, W) or "last" (H, W, C).
        activation: "tanh" or "relu".
        words: if not 0, the network reads prose: F is then (words,), counts of hashed words and pairs.
        body: "trunks", "residual" or "transformer".
        width: numbers of each cell or token inside the two latter (D).
        blocks: how many blocks they have.
        heads: of a transformer's attention.
        symmetries: of the game, which the network shares: where the features and moves of each image come from.
    """

    features: tuple[int, ...]
    moves: int
    hidden: tuple[int, ...] = (128, 128)
    channels: tuple[int, ...] = ()
    planes: str = "first"
    activation: str = "tanh"
    words: int = 0
    body: str = "trunks"
    width: int = 64
    blocks: int = 4
    heads: int = 4
    symmetries: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise UnknownName("activation", self.activation, ACTIVATIONS)
        if self.planes not in ("first", "last"):
            raise UnknownName("place of planes", self.planes, ("first", "last"))
        if self.body not in DEFAULTS:
            raise UnknownName("body of a network", self.body, DEFAULTS)
        if (self.channels or self.body == "residual") and len(self.features) != 3:
            raise ConfigError(f"convolutions need features of three dimensions, not {self.features}")
        if self.body != "trunks" and (self.hidden or self.channels):
            raise ConfigError(
                f"hidden = {self.hidden} and channels = {self.channels} are of trunks: a {self.body} has width and blocks"
            )
        if min(self.width, self.blocks, self.heads) < 1 or self.width % self.heads:
            raise ConfigError(
                f"width = {self.width}, blocks = {self.blocks} and heads = {self.heads} are 1 or more, "
                "and the width a multiple of the heads"
            )

    @property
    def board(self) -> tuple[int, int, int]:
        """Of features that are planes: (C, H, W)."""
        c, h, w = self.features if self.planes == "first" else (self.features[2], *self.features[:2])
        return c, h, w


class Network(nn.Module):
    """Features (N, *F) to logits (N, A) and values (N,): a body by the name in its shape.

    Weights are orthogonal (Saxe et al. 2014, arXiv:1312.6120) and drawn from `generator`; the
    policy starts close to uniform.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    @staticmethod
    def of(shape: Shape, generator: torch.Generator) -> Network:
        """A new network of this shape."""
        body = BODIES[shape.body](shape, generator)
        return Symmetric(shape, body) if shape.symmetries else body

    def planes(self, features: Tensor) -> Tensor:
        """Features (N, *F) as planes (N, C, H, W), of float32."""
        x = features.float()
        return x if self.shape.planes == "first" else x.permute(0, 3, 1, 2)


class Trunks(Network):
    """Two stacks of layers, one for the policy and one for the value."""

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__(shape)
        self.policy = _trunk(shape, shape.moves, 0.01, generator)
        self.critic = _trunk(shape, 1, 1.0, generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, *F) to logits (N, A) and values (N,)."""
        x = self.planes(features) if self.shape.channels else features.float().flatten(1)
        return self.policy(x), self.critic(x).squeeze(-1)


class Symmetric(Network):
    """A body that is asked about one image of each position, the same for all of them.

    So it answers alike for all that symmetries make of a position, moves with their places. Which one is asked about
    is the largest by a random weighing of features.

    Source: canonical forms, as Waugh 2013, "A fast and optimal hand isomorphism algorithm", has them of cards.
    """

    images: Tensor
    weights: Tensor
    places: Tensor

    def __init__(self, shape: Shape, body: Network) -> None:
        super().__init__(shape)
        self.body = body
        images, moves = (torch.from_numpy(part) for part in stacked(shape.symmetries))
        weights = torch.rand(images.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.register_buffer("images", images, persistent=False)  # (I, F) where features come from
        self.register_buffer("weights", weights[images.argsort(1)].T.contiguous(), persistent=False)  # (F, I)
        self.register_buffer("places", moves.argsort(1), persistent=False)  # (I, A) where moves come to stand

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, *F) to logits (N, A) and values (N,)."""
        flat = features.flatten(1)
        image = (flat.double() @ self.weights).argmax(1)
        logits, values = self.body(flat.gather(1, self.images[image]).view(features.shape))
        return logits.gather(1, self.places[image]), values


def _trunk(shape: Shape, out: int, gain: float, generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    width = int(np.prod(shape.features))
    if shape.channels:
        planes, height, breadth = shape.board
        for channels in shape.channels:
            layers += [_convolution(planes, channels, generator), ACTIVATIONS[shape.activation]()]
            planes = channels
        layers.append(nn.Flatten())
        width = height * breadth * planes
    for hidden in shape.hidden:
        layers += [_linear(width, hidden, 2**0.5, generator), ACTIVATIONS[shape.activation]()]
        width = hidden
    layers.append(_linear(width, out, gain, generator))
    return nn.Sequential(*layers)


def _made(layer: Any, gain: float, generator: torch.Generator) -> nn.Module:
    """A layer that was made without weights (drawing those would move torch's global generator)."""
    if gain:
        nn.init.orthogonal_(layer.weight, gain, generator=generator)
    else:
        nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    made: nn.Module = layer
    return made


def _linear(width: int, out: int, gain: float, generator: torch.Generator) -> nn.Module:
    return _made(skip_init(nn.Linear, width, out), gain, generator)


def _convolution(planes: int, out: int, generator: torch.Generator, gain: float = 2**0.5) -> nn.Module:
    return _made(skip_init(nn.Conv2d, planes, out, 3, padding=1), gain, generator)


class Heads(nn.Module):
    """Tokens (N, T, D) to logits (N, A) and values (N,); the value is not bounded, as payoffs are not."""

    def __init__(self, tokens: int, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        active, width = ACTIVATIONS[shape.activation], shape.width
        self.policy = nn.Sequential(
            _linear(width, THIN, 2**0.5, generator), active(), nn.Flatten(),
            _linear(tokens * THIN, shape.moves, 0.01, generator),
        )  # fmt: skip
        self.value = nn.Sequential(
            _linear(width, THIN, 2**0.5, generator), active(), nn.Flatten(),
            _linear(tokens * THIN, width, 2**0.5, generator), active(), _linear(width, 1, 0.1, generator),
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, A) and values (N,)."""
        return self.policy(tokens), self.value(tokens).squeeze(-1)


class Residual(Network):
    """A convolution, then blocks of two that add to what they read.

        x + conv(act(conv(act(x))))

    The second convolution of each block starts at zero, so that blocks start as the identity and need no
    normalisation.

    Source: Silver et al. 2018, arXiv:1712.01815; in place of their batch normalisation the first weights of
    Zhang et al. 2019 (Fixup), arXiv:1901.09321, without its scalars.
    """

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__(shape)
        planes, height, breadth = shape.board
        self.stem = _convolution(planes, shape.width, generator)
        self.blocks = nn.ModuleList(_block(shape, generator) for _ in range(shape.blocks))
        self.last = ACTIVATIONS[shape.activation]()
        self.heads = Heads(height * breadth, shape, generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, *F) to logits (N, A) and values (N,)."""
        x: Tensor = self.stem(self.planes(features).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = x + block(x)
        tokens: tuple[Tensor, Tensor] = self.heads(self.last(x).permute(0, 2, 3, 1).flatten(1, 2))
        return tokens


def _block(shape: Shape, generator: torch.Generator) -> nn.Sequential:
    active, width = ACTIVATIONS[shape.activation], shape.width
    first, second = _convolution(width, width, generator), _convolution(width, width, generator, 0.0)
    return nn.Sequential(active(), first, active(), second)


class Transformer(Network):
    """Blocks of attention and of two layers, each after a normalisation of its tokens.

    A token is a cell of planes with its C numbers, or one feature where those are flat. Each has a place
    of its own, which is learned.

    Source: Vaswani et al. 2017, arXiv:1706.03762; normalised first, as in Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__(shape)
        flat = len(shape.features) != 3
        tokens = int(np.prod(shape.features)) if flat else shape.board[1] * shape.board[2]
        directions = tokens if flat else shape.board[0]  # of single features, or of planes
        self.place = nn.Parameter(torch.randn((tokens, shape.width), generator=generator) * 0.02)
        self.enter = nn.Parameter(torch.randn((directions, shape.width), generator=generator) * 0.5)
        self.blocks = nn.ModuleList(Attention(shape, generator) for _ in range(shape.blocks))
        self.last = nn.LayerNorm(shape.width)
        self.heads = Heads(tokens, shape, generator)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, *F) to logits (N, A) and values (N,)."""
        if len(self.shape.features) == 3:
            x = self.planes(features).flatten(2).transpose(1, 2) @ self.enter
        else:
            x = features.float().flatten(1)[..., None] * self.enter
        x = x + self.place
        for block in self.blocks:
            x = block(x)
        out: tuple[Tensor, Tensor] = self.heads(self.last(x))
        return out


class Attention(nn.Module):
    """A block of a transformer, tokens (N, T, D) to tokens; it starts as the identity."""

    def __init__(self, shape: Shape, generator: torch.Generator) -> None:
        super().__init__()
        width, self.many = shape.width, shape.heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = _linear(width, 3 * width, 1.0, generator)
        self.write = _linear(width, width, 0.0, generator)
        self.think = nn.Sequential(
            _linear(width, 4 * width, 2**0.5, generator), ACTIVATIONS[shape.activation](),
            _linear(4 * width, width, 0.0, generator),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, D)."""
        n, t, d = x.shape
        read = self.read(self.before(x)).view(n, t, 3, self.many, d // self.many)
        asked, keys, values = read.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(asked, keys, values).transpose(1, 2).reshape(n, t, d)
        x = x + self.write(seen)
        out: Tensor = x + self.think(self.between(x))
        return out


BODIES: dict[str, type[Trunks | Residual | Transformer]] = {
    "trunks": Trunks,
    "residual": Residual,
    "transformer": Transformer,
}
