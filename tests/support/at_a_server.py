"""An agent at a fake server, and what it is asked."""

import numpy as np

from ludus.agents.language.endpoint import Endpoint
from ludus.core.agent import Request
from ludus.core.game import Choice, View


def seated(server, **settings):
    return Endpoint("a-model", base_url=server.url, **{"wait": 0.01, "timeout": 60.0, **settings})


def ask(options=None, past=(), key="e", complaint=""):
    options = options or Choice(("pass", "bet"), np.array([True, True]))
    rng = np.random.default_rng(0)
    return Request(key, "kuhn_poker", "player_0", View("Your card is K."), options, past, rng, "The rules.",
                   complaint=complaint)  # fmt: skip
