"""Any game of TextArena as a game of ours: for the loop, the arenas, training and leaderboards.

    ludus.make("textarena", game="Poker-v0", players=4)

A reply goes to TextArena as it was written, and TextArena judges it. Where it asks for a reply once more, that is one
more turn of the same seat, with the complaint in its view; where its patience is at an end, the game goes on or
is over as its rules say, and pays what they say. So the match's own policy for illegal moves has nothing to do
here, and a seat that gives no usable reply has said nothing: TextArena judges the empty text.
"""

from __future__ import annotations

import contextlib
import functools
import io
import numbers
import random  # noqa: TID251 - TextArena's games draw from it: their draws are kept apart from everybody else's
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ludus.core.errors import ConfigError, CrewError, IllegalMove, LudusError, MissingExtra, UnknownName
from ludus.core.game import JSON, Forfeit, Interface, Move, Options, Seat, Text, View
from ludus.core.registry import register
from ludus.envs.doors.replayed import Played, Replayed

MOST = 16  # players tried where no number is given
LONGEST = 16384  # characters of a reply
#: A pair of brackets, which is how TextArena's prompts write moves.
BRACKETS = re.compile(r"\[[^\[\]\n]{1,60}\]")
NONSENSE = ("", "Let me think.", "[pass]", "I am not sure what to say.")


@dataclass(eq=False)
class _Tip:
    """A live game, how far it has been played, and the global generators as it left them."""

    seed: int
    generators: tuple[Any, Any]
    env: Any = None
    actions: tuple[int | str, ...] = ()
    mover: int | None = None  # None when over
    told: list[Any] = field(default_factory=list)  # to the mover, since its last turn
    heard: dict[int, list[str]] = field(
        default_factory=dict
    )  # what the game has told each player at its turns


@register("textarena")
class FromTextArena(Replayed):
    """A game of TextArena's, played in free text.

    A view holds the messages that came since the seat's last turn, written as TextArena writes them for language
    models; one after the other, the views of a seat are TextArena's whole observation. In `data` they are as they
    came: who sent it (-1 is the game), the text, and the kind of message. Rules, too, come as the first message.

    TextArena seeds and draws from Python's global generator. Here every game has generators of its own, which
    take the place of the global ones while TextArena runs, so that a seed decides a game and nobody else
    notices. A game is a function of its seed and the replies; its states can be copied, and are played again.

    Args:
        game: an id of TextArena's registry: "TicTacToe-v0", "Poker-v0-small". What an id does to replies is done
            (brackets are put round a bare move, long speeches are clipped), but a view is always as said above.
        players: how many; by default two, or the fewest that the game can start with if it is not for two.
        kwargs: settings of the game, over those of its id: {"max_rounds": 3}.
        zero_sum: whether its rewards sum to zero.

    Raises:
        MissingExtra: TextArena is not installed.
        UnknownName: it has no such game.
        ConfigError: the game cannot be made or started (word lists to download, Python too old, number of
            players), or a language model judges within it, so that nothing could be played again.
        CrewError: TextArena fails at a reply, or ends a game without a number for a reward.

    Source: Guertler et al. 2025, arXiv:2504.11442.
    """

    def __init__(
        self,
        game: str,
        players: int | None = None,
        kwargs: Mapping[str, JSON] | None = None,
        zero_sum: bool = False,
    ) -> None:
        self.name, self.zero_sum = game, zero_sum
        self._kwargs = dict(kwargs or {})
        self._tips = []
        self._check_name()
        self.seats = tuple(f"player_{k}" for k in range(self._number(players)))

    # ------------------------------------------------------------------------------- the rules
    def turn(self, state: Played) -> tuple[Seat, ...]:
        mover = self._at(state).mover
        return () if mover is None else (self.seats[mover],)

    def options(self, state: Played, seat: Seat) -> Options:
        return Text(LONGEST)

    def interface(self, seat: Seat) -> Interface:
        return Interface(Text(LONGEST))

    def view(self, state: Played, seat: Seat) -> View:
        tip, k = self._at(state), self.seats.index(seat)
        theirs = _bare(tip.env).state
        messages = tip.told if k == tip.mover else theirs.observations[k]
        lines = [f"[{_sender(theirs, who)}] {text}" for who, text, _ in messages]
        data = [[int(who), str(text), kind.name] for who, text, kind in messages]
        return View("\n".join(lines) or "Nothing new was said.", data=data)

    def play(self, state: Played, moves: Mapping[Seat, Any]) -> Played:
        turn = self.turn(state)
        if tuple(moves) != turn:
            raise IllegalMove(
                f"{self.name}: it is the turn of {', '.join(turn) or 'nobody'}, not of {', '.join(moves)}"
            )
        (move,) = moves.values()
        if not isinstance(move, Forfeit) and move not in Text(LONGEST):
            raise IllegalMove(f"{self.name}: {turn[0]} replies in text of at most {LONGEST} characters")
        return self._after(state, "" if isinstance(move, Forfeit) else move)

    def forfeit(self, state: Played, losers: Mapping[Seat, Forfeit]) -> None:
        """Nothing: the game goes on, and judges that nothing was said."""
        return

    def skip(self, state: Played, seat: Seat) -> Move:
        return ""

    def sample(self, state: Played, seat: Seat, rng: np.random.Generator) -> Move:
        """A move as the last message that shows any writes it, in brackets; now and then nonsense."""
        heard = self._at(state).heard.get(self.seats.index(seat), [])
        shown = next((moves for text in reversed(heard) if (moves := BRACKETS.findall(text))), [])
        return str(rng.choice(shown if shown and rng.random() < 0.95 else NONSENSE))

    def rules(self, seat: Seat) -> str:
        return (
            f"{self.name}, a game of TextArena's for {len(self.seats)}. You are {seat}, whom it calls Player "
            f"{self.seats.index(seat)}. Its rules are the first message. Reply in text, in the form that it asks for."
        )

    def fingerprint(self) -> str:
        import textarena

        return f"{super().fingerprint()}-textarena-{textarena.__version__}"

    # ----------------------------------------------------------------------------- the other side
    def _begin(self, seed: int, spare: _Tip | None) -> _Tip:
        return self._started(seed, len(self.seats))

    def _started(self, seed: int, players: int) -> _Tip:
        """A new game, made anew each time: many of TextArena's keep a shuffled deck from one game to the next."""
        tip = _Tip(seed, _generators(seed))
        with _apart(tip), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in TextArena's modules
            tip.env = self._made()
            tip.env.reset(num_players=players, seed=seed)
            _listen(tip)
        return tip

    def _steps(self, tip: _Tip, actions: tuple[int | str, ...]) -> dict[Seat, float]:
        with _apart(tip):
            return super()._steps(tip, actions)

    def _step(self, tip: _Tip, action: int | str) -> dict[Seat, float]:
        who = tip.mover
        try:
            over, _ = tip.env.step(action)
            rewards = tip.env.close()[0] if over else {}
            tip.mover = None
            if not over:
                _listen(tip)
        except Exception as fault:
            raise CrewError(
                f"TextArena's {self.name} fails at {action!r} of player_{who}, seed {tip.seed}, after "
                f"{len(tip.actions)} replies: {_brief(fault)}"
            ) from fault
        tip.actions = (*tip.actions, action)
        return {self.seats[k]: self._paid(reward) for k, reward in sorted(self._dealt(rewards).items())}

    def _dealt(self, rewards: Any) -> dict[int, Any]:
        if not isinstance(rewards, Mapping):
            raise CrewError(
                f"TextArena's {self.name} is over and pays {rewards!r}, not a number to each player"
            )
        return dict(rewards)

    def _paid(self, reward: Any) -> float:
        if not isinstance(reward, numbers.Real):
            raise CrewError(f"TextArena's {self.name} is over and pays {reward!r}, which is no number")
        return float(reward)

    # ---------------------------------------------------------------------------------- making it
    def _check_name(self) -> None:
        try:
            from textarena.envs.registration import ENV_REGISTRY
        except ImportError as absent:
            raise MissingExtra("a game of TextArena", "textarena") from absent
        if self.name not in ENV_REGISTRY:
            known = [name for name in ENV_REGISTRY if not name.endswith(("-train", "-raw"))]
            raise UnknownName("game of TextArena", self.name, known)

    def _made(self) -> Any:
        import textarena

        try:
            env = textarena.make(self.name, **self._kwargs)
        except Exception as fault:
            raise ConfigError(self._why_not(fault)) from fault
        if any(_asks_a_model(part) for part in vars(_bare(env)).values()):
            raise ConfigError(self._judged())
        return env

    def _why_not(self, fault: Exception) -> str:
        said = _brief(fault)
        if "openrouter" in str(fault).lower():
            return self._judged()
        if isinstance(fault, LookupError) and "NLTK" in str(fault):
            words = "python -m nltk.downloader words averaged_perceptron_tagger_eng"
            return f"TextArena's {self.name} needs word lists that are not there; run once: {words} ({said})"
        if isinstance(fault, SyntaxError):
            return f"TextArena's {self.name} is written for a newer Python, 3.12 or later ({said})"
        settings = f" with {self._kwargs}" if self._kwargs else ""
        return f"TextArena cannot make {self.name}{settings}: {said}"

    def _judged(self) -> str:
        return (
            f"{self.name}: a language model of OpenRouter's judges within this game of TextArena's, so that no "
            "record of it could be played again; choose a game that judges by rules"
        )

    def _number(self, players: int | None) -> int:
        """How many play: as many as are asked for; else two, or the fewest that the game starts with."""
        for n in [2, 1, *range(3, MOST + 1)] if players is None else [players]:
            if (fault := self._refuses(n)) is None:
                return n
        able = [str(n) for n in range(1, MOST + 1) if n != players and self._refuses(n) is None]
        start = f"; it does with {', '.join(able)}" if able else ""
        given = "any number of" if players is None else players
        raise ConfigError(f"TextArena's {self.name} does not start with {given} players{start} ({fault})")

    def _refuses(self, players: int) -> str | None:
        """What TextArena says to this number of players; None if it starts with them."""
        try:
            self._started(0, players)
        except LudusError:
            raise
        except Exception as fault:  # noqa: BLE001 - games refuse in any way they like
            return _brief(fault)
        return None


def _brief(fault: Exception) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip(" *")]
    return f"{type(fault).__name__}: {lines[0][:200] if lines else ''}"


def _bare(env: Any) -> Any:
    """The game itself, without TextArena's wrappers."""
    while hasattr(env, "env"):
        env = env.env
    return env


def _asks_a_model(part: Any) -> bool:
    return type(part).__module__.startswith(("textarena.agents", "textarena.envs.utils.jury"))


def _sender(theirs: Any, who: int) -> str:
    """What TextArena calls the sender of a message."""
    return "GAME" if who == -1 else str(theirs.role_mapping.get(who, f"Player {who}"))


def _listen(tip: _Tip) -> None:
    """Take what the game tells the player whose turn it is."""
    tip.mover, tip.told = _bare(tip.env).get_observation()
    heard = tip.heard.setdefault(int(tip.mover), [])
    heard += [str(text) for who, text, kind in tip.told if who == -1 and kind.name != "GAME_ADMIN"]


@functools.lru_cache(maxsize=1024)
def _generators(seed: int) -> tuple[Any, Any]:
    """The states of Python's and numpy's global generators after seeding both."""
    return random.Random(seed).getstate(), np.random.RandomState(seed).get_state()


@contextlib.contextmanager
def _apart(tip: _Tip) -> Iterator[None]:
    """Run TextArena with the game's own generators in place of the global ones, and without its prints."""
    ours = random.getstate(), np.random.get_state()  # noqa: NPY002 - to be put back
    random.setstate(tip.generators[0])
    np.random.set_state(tip.generators[1])  # noqa: NPY002
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tip.generators = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.setstate(ours[0])
        np.random.set_state(ours[1])  # noqa: NPY002
