"""Games in which language models and neural networks play each other, learn, and are judged.

>>> import ludus
>>> game = ludus.make("kuhn_poker")
>>> round(ludus.nash_conv(game, ludus.uniform(game)), 6)
0.916667
"""

from ludus.core.agent import Agent, Decision, Failure, FirstLegal, Request, Tokens, Uniform
from ludus.core.array_game import NATURE, OVER, TOGETHER, ArrayGame
from ludus.core.batch import Batch, batch
from ludus.core.episode import Episode, Step, read, write
from ludus.core.errors import LudusError
from ludus.core.exact import best_response, exploitability, nash_conv, tabular, uniform, value
from ludus.core.game import CHANCE, Choice, Forfeit, Form, Game, Interface, Text, View
from ludus.core.match import Illegal, Match
from ludus.core.play import play
from ludus.core.registry import (
    AGENTS,
    GAMES,
    games,
    make,
    make_agent,
    register,
    register_agent,
    seat_up,
)
from ludus.core.replay import Frame, replay
from ludus.core.solvers import solve
from ludus.core.tables import tabulate
from ludus.core.verify import Verdict, verify
from ludus.envs.doors.registration import open_doors as _open_doors
from ludus.testing import check_game

__all__ = [
    "CHANCE",
    "NATURE",
    "OVER",
    "TOGETHER",
    "Agent",
    "ArrayGame",
    "Batch",
    "Choice",
    "Decision",
    "Episode",
    "Failure",
    "FirstLegal",
    "Forfeit",
    "Form",
    "Frame",
    "Game",
    "Illegal",
    "Interface",
    "LudusError",
    "Match",
    "Request",
    "Step",
    "Text",
    "Tokens",
    "Uniform",
    "Verdict",
    "View",
    "batch",
    "best_response",
    "check_game",
    "exploitability",
    "games",
    "make",
    "make_agent",
    "nash_conv",
    "play",
    "read",
    "register",
    "register_agent",
    "replay",
    "seat_up",
    "solve",
    "tabular",
    "tabulate",
    "uniform",
    "value",
    "verify",
    "write",
]

GAMES.lazily(
    {
        "backgammon": "ludus.envs.board.backgammon",
        "battleship": "ludus.envs.board.battleship",
        "breakthrough": "ludus.envs.board.breakthrough",
        "checkers": "ludus.envs.board.checkers",
        "chess": "ludus.envs.board.chess",
        "code_as_task": "ludus.envs.code.code_as_task",
        "colonel_blotto": "ludus.envs.matrix.colonel_blotto",
        "connect_four": "ludus.envs.board.connect_four",
        "dark_hex": "ludus.envs.board.dark_hex",
        "dots_and_boxes": "ludus.envs.board.dots_and_boxes",
        "go": "ludus.envs.board.go",
        "goofspiel": "ludus.envs.cards.goofspiel",
        "hanabi": "ludus.envs.cards.hanabi",
        "hex": "ludus.envs.board.hex",
        "iterated_prisoners_dilemma": "ludus.envs.matrix.iterated_prisoners_dilemma",
        "kuhn_poker": "ludus.envs.cards.kuhn_poker",
        "leduc_poker": "ludus.envs.cards.leduc_poker",
        "liars_dice": "ludus.envs.cards.liars_dice",
        "matching_pennies": "ludus.envs.matrix.matching_pennies",
        "nim": "ludus.envs.board.nim",
        "no_limit_holdem": "ludus.envs.cards.no_limit_holdem",
        "othello": "ludus.envs.board.othello",
        "phantom_tic_tac_toe": "ludus.envs.board.phantom_tic_tac_toe",
        "pig": "ludus.envs.board.pig",
        "propose_solve": "ludus.envs.language.propose_solve",
        "rock_paper_scissors": "ludus.envs.matrix.rock_paper_scissors",
        "simple_negotiation": "ludus.envs.language.simple_negotiation",
        "sneaky_critic": "ludus.envs.language.sneaky_critic",
        "spiral_kuhn_poker": "ludus.envs.cards.spiral_kuhn_poker",
        "spiral_negotiation": "ludus.envs.language.spiral_negotiation",
        "tic_tac_toe": "ludus.envs.board.tic_tac_toe",
    },
    versions={  # as the classes say, for the names of doors, which import none; others are at 0
        "backgammon": 1,
        "battleship": 1,
        "breakthrough": 1,
        "checkers": 1,
        "colonel_blotto": 2,
        "connect_four": 1,
        "dark_hex": 2,
        "dots_and_boxes": 1,
        "go": 1,
        "goofspiel": 1,
        "hanabi": 1,
        "hex": 1,
        "no_limit_holdem": 1,
        "othello": 1,
        "phantom_tic_tac_toe": 2,
        "pig": 1,
        "spiral_kuhn_poker": 1,
    },
)
GAMES.lazily(  # say nothing without the name of a foreign game
    {
        "openspiel": "ludus.envs.doors.from_openspiel",
        "pettingzoo": "ludus.envs.doors.from_pettingzoo",
        "textarena": "ludus.envs.doors.from_textarena",
    },
    listed=False,
)
AGENTS.lazily(
    {
        "alpha_beta": "ludus.agents.alpha_beta",
        "anthropic": "ludus.agents.language.anthropic",
        "arithmetic": "ludus.agents.referees.arithmetic",
        "chain_executor": "ludus.agents.referees.chain_executor",
        "constant": "ludus.agents.simple",
        "exact": "ludus.agents.exact",
        "first_legal": "ludus.agents.simple",
        "human": "ludus.agents.human",
        "language": "ludus.agents.language.local",
        "mcts": "ludus.agents.search",
        "minimax": "ludus.agents.search",
        "network": "ludus.agents.network",
        "q_network": "ludus.agents.q_network",
        "openai": "ludus.agents.language.endpoint",
        "oracle": "ludus.agents.connect_four_oracle",
        "order_desk": "ludus.agents.referees.order_desk",
        "puct": "ludus.agents.tree",
        "random": "ludus.agents.simple",
        "scripted": "ludus.agents.simple",
        "trained": "ludus.agents.trained",
        "uct": "ludus.agents.tree",
        "uniform": "ludus.agents.simple",
    }
)
_open_doors()
