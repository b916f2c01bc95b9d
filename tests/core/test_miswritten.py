"""Array games that are written wrongly: what a class leaves out, rules that are none, a mover or odds that are none."""

import numpy as np
import pytest
from small_games import Stuck

from ludus.core.array_game import ArrayGame
from ludus.core.batch import Batch, PlainBatch
from ludus.core.errors import ContractError
from ludus.core.play import play
from ludus.core.tables import tabulate


def left_out(name):
    """An array game's class without one of its attributes."""
    written = {
        part: vars(Stuck)[part]
        for part in vars(Stuck)
        if part in ("mover", "legal", "move", "observe", "describe")
    }
    facts = {
        fact: getattr(Stuck, fact) for fact in ("id", "seats", "record", "moves", "shape") if fact != name
    }
    return type("Half", (ArrayGame,), written | facts)


@pytest.mark.parametrize("name", ["record", "moves", "shape"])
def test_what_a_class_leaves_out_is_named(name) -> None:
    for use in (
        lambda game: Batch(game, 2),
        lambda game: list(play(game, {"player": "uniform"}, [0])),
        tabulate,
    ):
        with pytest.raises(ContractError, match=rf"has to say `{name}`, and Half does not"):
            use(left_out(name)())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"shape": 2}, r"shape is 2.*tuple"), ({"dtype": "float64"}, r"'float64'.*'uint8', 'int16', 'float32'"),
     ({"legal": lambda self, s, seat, out: None}, "`legal`.*@staticmethod")],
)  # fmt: skip
def test_what_a_class_says_wrongly_is_told(wrong, told) -> None:
    with pytest.raises(ContractError, match=told):
        Batch(type("Wrong", (Stuck,), wrong)(), 2)


class Countdown(Stuck):
    """Take a stone of three, until one is left."""

    outcomes = 2

    @staticmethod
    def mover(s):
        return 0 if s.stones > 1 else -2

    @staticmethod
    def odds(s, out) -> None:
        out[:] = 0.5


def rules(mover=None, **changes):
    """The countdown with a rule or two of another kind."""
    written = {name: staticmethod(rule) for name, rule in changes.items()}
    return type("Odd", (Countdown,), written | ({} if mover is None else {"mover": staticmethod(mover)}))


def early(s):
    return -1 if s.stones > 2 else 0 if s.stones > 1 else -2


def unfair(s, out) -> None:
    out[:] = 0.6


def negative(s, out) -> None:
    out[0], out[1] = 1.5, -0.5


FORMS = {
    "batch": lambda game: Batch(game, 2).stroll(50),
    "plain batch": lambda game: PlainBatch(game, 2).stroll(50),
    "play": lambda game: list(play(game, {"player": "uniform"}, range(2))),
    "table": tabulate,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("made", "told"),
    [
        (rules(lambda s: 1), r"mover returned 1; .*index, 0 to 0, OVER"),
        (rules(lambda s: 1 if s.stones == 2 else 0), r"mover returned 1; .*index, 0 to 0, OVER"),
        (rules(lambda s: -3), "mover returned -3; .*TOGETHER .* with `joint`"),
        (type("Sure", (Stuck,), {"mover": staticmethod(lambda s: -1)}), "mover returned -1; .*NATURE .* with"),
        (rules(early, odds=unfair), r"odds of a chance move are 0\.6, 0\.6, .* sum 1\.2:"),
        (rules(early, odds=negative), r"odds of a chance move are 1\.5"),
    ],
)  # fmt: skip
def test_a_mover_or_odds_that_are_none_are_refused_by_every_form(made, told, form) -> None:
    with pytest.raises(ContractError, match=told):
        FORMS[form](made())


def test_a_mover_that_says_nothing_is_told() -> None:
    for form in ("plain batch", "play"):
        with pytest.raises(ContractError, match="mover returned None"):
            FORMS[form](rules(lambda s: None)())


def test_a_compiled_game_that_goes_astray_late_is_refused_where_it_is_played_alone() -> None:
    class Late(Stuck):
        """Takes stones for long, and then nobody knows who is to move."""

        record, dtype = np.dtype([("stones", np.int32)]), "int16"
        compiled = True

        @staticmethod
        def mover(s):
            return 0 if s.stones > -150 else 1

        @staticmethod
        def legal(s, seat, out) -> None:
            out[0] = 1

    with pytest.raises(ContractError, match="mover returned 1"):
        list(play(Late(), {"player": "uniform"}, [0]))
