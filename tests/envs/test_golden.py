"""One seeded random game of each game, as text: a change of rules or prose shows as a diff.

To accept such a change, bump the game's `version` and run `python tests/envs/test_golden.py`.
"""

from pathlib import Path

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE, Choice
from ludus.core.reading import write_move
from ludus.core.registry import GAMES as GAME_MAKERS

FOLDER = Path(__file__).parent / "golden"
LINES = 300  # of a transcript, each view or list of options being one; longer games are left there
GAMES = {  # by the name of the file, which may say more than the game's
    "backgammon": {"turns": 8},
    "backgammon-hyper": {"hyper": True},
    "battleship": {"rows": 2, "columns": 3, "ship_sizes": [2], "shots": 3},
    "breakthrough": {"rows": 4, "columns": 3},
    "checkers": {"columns": 4},
    "chess": {},
    "code_as_task": {"executors": 1},
    "code_as_task-menu": {"menu": True},
    "colonel_blotto": {"coins": 3},
    "connect_four": {},
    "dark_hex": {},
    "dark_hex-abrupt": {"abrupt": True},
    "dots_and_boxes": {},
    "go": {"size": 5, "limit": 30},
    "goofspiel": {"cards": 4},
    "goofspiel-imperfect": {"cards": 4, "imperfect": True},
    "hanabi": {},
    "hex": {"size": 3, "swap": True},
    "iterated_prisoners_dilemma": {"rounds": 3},
    "kuhn_poker": {},
    "kuhn_poker-three": {"players": 3},
    "leduc_poker": {},
    "liars_dice": {"dice": 2},
    "matching_pennies": {},
    "nim": {"stones": [3, 4, 5]},
    "no_limit_holdem": {},
    "othello": {"size": 4},
    "phantom_tic_tac_toe": {},
    "pig": {"goal": 12},
    "propose_solve": {"solvers": 2},
    "propose_solve-menu": {"solvers": 2, "menu": True},
    "rock_paper_scissors": {},
    "simple_negotiation": {},
    "sneaky_critic": {},
    "sneaky_critic-menu": {"menu": True},
    "spiral_kuhn_poker": {"rounds": 2},
    "spiral_negotiation": {},
    "spiral_negotiation-menu": {"menu": True},
    "tic_tac_toe": {},
    "tic_tac_toe-textarena": {"text": "textarena"},
}


def transcript(name: str, seed: int = 3) -> str:
    """Rules, every view, every move and every payoff of one random game; open replies, crew's too, are samples."""
    game, rng = ludus.make(name.partition("-")[0], **GAMES[name]), np.random.default_rng(seed)
    lines = [f"{game!r} version {game.version}, random play, seed {seed}", "", game.rules(game.seats[0])]
    state = game.start(rng)
    while (turn := game.turn(state)) and len(lines) < LINES:
        moves = {}
        for seat in turn:
            if seat == CHANCE:
                outcomes, odds = zip(*game.chance(state), strict=True)
                moves[seat] = outcomes[rng.choice(len(odds), p=odds)]
                lines += ["", f"chance -> {moves[seat]} of {', '.join(map(str, outcomes))}"]
                continue
            options = game.options(state, seat)
            lines += ["", f"-- {seat}", game.view(state, seat).text]
            if isinstance(options, Choice):
                moves[seat] = int(rng.choice(np.flatnonzero(options.legal)))
                lines += [f"options: {' '.join(options.allowed)}"]
            else:
                moves[seat] = game.sample(state, seat, rng)
            lines += [write_move(moves[seat], options)]
        state = game.play(state, moves)
        if paid := game.payoff(state):
            lines += ["", "paid: " + ", ".join(f"{seat} {amount:+g}" for seat, amount in paid.items())]
    for seat in game.seats:
        lines += ["", f"-- {seat}, at the end", game.view(state, seat).text]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", GAMES)
def test_transcript(name) -> None:
    assert transcript(name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_transcript_is_of_a_game_and_every_game_has_one() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(GAMES)
    ours = {name for name in ludus.games() if GAME_MAKERS.maker(name).__module__.startswith("ludus.")}
    assert {name.partition("-")[0] for name in GAMES} == ours


if __name__ == "__main__":
    for game in GAMES:
        (FOLDER / f"{game}.txt").write_text(transcript(game), encoding="utf-8")
