"""With the policy at hand, verification ties its tokens to what it was fed, said and weighed."""

import dataclasses

import numpy as np
import pytest

import ludus
from ludus.agents.language.local import LanguageModel
from ludus.agents.network import fresh

replaced = dataclasses.replace


def refusals(episode, agent, **changed):
    """Which level refuses the episode with the first step's tokens (or reply) changed."""
    first = episode.steps[0]
    tokens = {k: v for k, v in changed.items() if k != "raw"}
    step = replaced(first, tokens=replaced(first.tokens, **tokens), raw=changed.get("raw", first.raw))
    (verdict,) = ludus.verify([replaced(episode, steps=(step, *episode.steps[1:]))], {agent.name: agent})
    return verdict.refused


@pytest.mark.parametrize("kind", ["network", "language"])
def test_tokens_are_tied_to_view_reply_and_weights(kind, taught) -> None:
    agent = (
        LanguageModel(taught, name="it") if kind == "language" else fresh(ludus.make("kuhn_poker"), name="it")
    )
    episodes = list(ludus.play("kuhn_poker", {"player": agent}, range(12)))
    assert {v.reached for v in ludus.verify(episodes, {"it": agent})} == {"tokens"}
    episode = next(e for e in episodes if e.end == "over")
    other = next(e for e in episodes if e.steps[0].digest != episode.steps[0].digest)
    mine, theirs = episode.steps[0].tokens, other.steps[0].tokens
    assert mine is not None
    assert theirs is not None
    assert refusals(episode, agent, prompt=theirs.prompt) == "tokens"
    assert refusals(episode, agent, logprobs=mine.logprobs - np.float32(0.1)) == "tokens"
    assert (
        refusals(episode, agent, ids=(mine.ids + 1) % 2 if kind == "network" else mine.ids[::-1]) == "tokens"
    )
    if kind == "language":
        assert refusals(episode, agent, raw="[call]") == "tokens"


def test_other_weights_do_not_reach_the_level() -> None:
    game = ludus.make("kuhn_poker")
    (episode,) = ludus.play(game, {"player": fresh(game, name="it")}, [0])
    (verdict,) = ludus.verify([episode], {"it": fresh(game, name="it", seed=1)})
    assert (verdict.ok, verdict.reached) == (True, "rules")
    assert "other weights now" in verdict.notes["tokens"]
