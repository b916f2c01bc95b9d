"""One seeded random game of each finite game, as text: a change of rules or prose shows as a diff.

To accept such a change, bump the game's `version` and run `python tests/envs/test_golden.py`.
"""

from pathlib import Path

import numpy as np
import pytest

import ludus
from ludus.core.game import CHANCE

FOLDER = Path(__file__).parent / "golden"
GAMES = {
    "connect_four": {},
    "iterated_prisoners_dilemma": {"rounds": 3},
    "kuhn_poker": {},
    "leduc_poker": {},
    "liars_dice": {"dice": 2},
    "matching_pennies": {},
    "nim": {"stones": [3, 4, 5]},
    "rock_paper_scissors": {},
    "tic_tac_toe": {},
}


def transcript(name: str, seed: int = 3) -> str:
    """Rules, every view, every move and every payoff of one random game."""
    game, rng = ludus.make(name, **GAMES[name]), np.random.default_rng(seed)
    lines = [f"{game!r} version {game.version}, random play, seed {seed}", "", game.rules(game.seats[0])]
    state = game.start(rng)
    while turn := game.turn(state):
        moves = {}
        for seat in turn:
            if seat == CHANCE:
                outcomes, odds = zip(*game.chance(state), strict=True)
                moves[seat] = outcomes[rng.choice(len(odds), p=odds)]
                lines += ["", f"chance -> {moves[seat]} of {', '.join(map(str, outcomes))}"]
                continue
            options = game.options(state, seat)
            moves[seat] = int(rng.choice(np.flatnonzero(options.legal)))
            lines += ["", f"-- {seat}", game.view(state, seat).text]
            lines += [f"options: {' '.join(options.allowed)}", f"[{options.names[moves[seat]]}]"]
        state = game.play(state, moves)
        if paid := game.payoff(state):
            lines += ["", "paid: " + ", ".join(f"{seat} {amount:+g}" for seat, amount in paid.items())]
    for seat in game.seats:
        lines += ["", f"-- {seat}, at the end", game.view(state, seat).text]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", GAMES)
def test_transcript(name) -> None:
    assert transcript(name) == (FOLDER / f"{name}.txt").read_text(encoding="utf-8")


def test_every_transcript_belongs_to_a_game() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} >= set(GAMES)


if __name__ == "__main__":
    for game in GAMES:
        (FOLDER / f"{game}.txt").write_text(transcript(game), encoding="utf-8")
