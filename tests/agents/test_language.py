"""The local language model: exact tokens, exact probabilities, replies kept as they came."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import ludus
from ludus.core.agent import Request
from ludus.core.errors import ConfigError, UnknownName
from ludus.core.game import Choice, Forfeit, Text, View
from ludus.core.ledger import Ledger
from ludus.core.match import Illegal
from ludus.core.play import play
from ludus.core.registry import make, make_agent

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ludus.agents.language.desk import Desk  # noqa: E402
from ludus.agents.language.engines.engine import Sampled  # noqa: E402
from ludus.agents.language.local import LanguageModel  # noqa: E402
from ludus.agents.language.manner import Manner  # noqa: E402
from ludus.agents.language.models.causal import CausalModel  # noqa: E402
from ludus.agents.language.models.tiny import make_tiny  # noqa: E402
from ludus.agents.language.prompts import Prompter  # noqa: E402
from ludus.agents.language.teach import lessons, teach  # noqa: E402


@pytest.fixture(scope="module")
def model(taught):
    return LanguageModel(taught, name="tiny")


@pytest.fixture(scope="module")
def states(model):
    """One request for each of Kuhn poker's twelve information states."""
    found = {}

    class Spy:
        name = "spy"

        def act(self, requests):
            found.update({r.information: r for r in requests})
            return make_agent("uniform").act(requests)

    list(play("kuhn_poker", {"player": Spy()}, range(120)))
    assert len(found) == 12
    return list(found.values())


def fresh(request, seed):
    return request.replace(rng=np.random.default_rng(seed))


# ------------------------------------------------------------------------------------- teaching
def test_a_taught_model_is_legal_and_weak(model, states):
    masses = model.masses(states)
    assert min(mass.sum() for mass in masses) > 0.95
    game = make("kuhn_poker")
    assert ludus.nash_conv(game, ludus.tabular(game, model)) == pytest.approx(0.916667, abs=0.03)


def test_making_and_teaching_are_functions_of_their_seeds(tmp_path):
    prints = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = make_tiny(tmp_path / place, width=16, layers=1, heads=2, seed=seed)
        teach(folder, ["kuhn_poker"], steps=3, episodes=40, seed=seed)
        prints.append(LanguageModel(folder).fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_making_a_model_leaves_the_global_generator_alone(tmp_path):
    before = torch.random.get_rng_state()
    make_tiny(tmp_path, width=16, layers=1, heads=2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_lessons_hold_every_legal_reply(taught):
    engine = CausalModel(taught)
    found = lessons(engine, Prompter("compact"), ["kuhn_poker"], 100, 0)
    assert len(found.prompts) == 12
    assert {tuple(map(engine.decode, replies)) for replies in found.replies} == {("[pass]", "[bet]")}


def test_a_vocabulary_can_be_trained(tmp_path):
    corpus = ["Your card is K. [pass] [bet]"] * 20
    folder = make_tiny(tmp_path, width=16, layers=1, heads=2, vocabulary=300, corpus=corpus)
    engine = CausalModel(folder)
    reply = engine.encode_reply("[pass]")
    assert len(reply) < len("[pass]") + 1
    assert engine.decode(reply) == "[pass]"
    assert engine.decode(engine.encode_reply("ünheard of ♠")) == "ünheard of ♠"


# --------------------------------------------------------------------------------------- tokens
def test_what_was_fed_and_what_was_sampled_is_kept(model, states):
    decisions = model.act([fresh(r, seed) for seed, r in enumerate(states)])
    for request, decision in zip(states, decisions, strict=True):
        tokens = decision.tokens
        fed = model.model.tokenizer.decode(tokens.prompt)
        assert fed == f"<|user|>{request.view.text}\n[pass] [bet]<|end|><|assistant|>"
        assert model.model.decode(tuple(tokens.ids)) == decision.raw
        assert (tokens.policy, tokens.version, tokens.sampled.all()) == ("tiny", 0, True)
        assert [model.model.decode(reply) for reply in tokens.replies] == ["[pass]", "[bet]"]


def test_logprobs_of_sampling_are_those_of_one_plain_pass(model, states):
    warm = LanguageModel(model.model.path, temperature=1.7)
    for decision in warm.act([fresh(r, seed) for seed, r in enumerate(states)]):
        whole = torch.tensor([[*decision.tokens.prompt, *decision.tokens.ids]])
        with torch.no_grad():
            logits = warm.model.model(whole).logits[0] / 1.7
        logp = logits.log_softmax(-1)[len(decision.tokens.prompt) - 1 : -1]
        plain = logp.gather(1, torch.tensor(decision.tokens.ids)[:, None])[:, 0]
        np.testing.assert_allclose(decision.tokens.logprobs, plain.numpy(), atol=1e-4)


def test_rescored_logprobs_entropies_and_choices_of_a_ledger(model):
    episodes = list(play("kuhn_poker", {"player": model}, range(60)))
    ledger = Ledger.of(episodes)
    rows = ledger.rows()
    scores = model.score(rows)
    logprobs = scores.logprobs.detach().numpy()
    np.testing.assert_allclose(
        logprobs[rows.mask], ledger.padded(ledger.rollout, np.arange(len(ledger)))[rows.mask], atol=1e-4
    )
    assert scores.mask.numpy().tolist() == rows.mask.tolist()
    assert (scores.entropy.detach().numpy()[rows.mask] >= 0).all()
    np.testing.assert_allclose(scores.choices.exp().sum(1).detach().numpy(), 1.0, atol=1e-5)
    row = next(i for i, step in enumerate(rows.ids) if tuple(step[rows.mask[i]]) == rows.replies[i][1])
    joint = scores.choices[row, 1] + scores.legal_mass[row].log()
    assert joint.item() == pytest.approx(logprobs[row][rows.mask[row]].sum(), abs=1e-4)


def test_gradients_reach_every_weight(model):
    learner = model.frozen("learner")
    rows = Ledger.of(list(play("kuhn_poker", {"player": learner}, range(8)))).rows()
    scores = learner.score(rows)
    (scores.logprobs.sum() + scores.choices.exp()[:, 0].sum() + scores.entropy.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in learner.parameters())


def test_open_replies_are_scored_without_choices(model, states):
    free = fresh(states[0], 1).replace(options=Text(80))
    decision = model.act([free, fresh(states[1], 2)])
    rows = _rows([d.tokens for d in decision])
    scores = model.score(rows)
    assert torch.isinf(scores.choices[0]).all()
    assert torch.isnan(scores.legal_mass[0])
    scores.choices[1].exp()[0].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    for weight in model.parameters():
        weight.grad = None


def _rows(tokens):
    from ludus.core.policy import Rows

    width = max(len(t.ids) for t in tokens)
    mask = np.array([np.arange(width) < len(t.ids) for t in tokens])
    ids = np.zeros((len(tokens), width), np.int64)
    for row, t in enumerate(tokens):
        ids[row, : len(t.ids)] = t.ids
    replies = tuple(t.replies for t in tokens)
    return Rows(tuple(t.prompt for t in tokens), ids, mask, mask, None, replies, np.arange(len(tokens)))


# -------------------------------------------------------------------------------- probabilities
def test_probabilities_are_those_of_the_sampled_replies(model, states):
    tilted = model.frozen("tilted")
    with torch.no_grad():  # away from even odds, so that equal frequencies cannot pass
        for weight in tilted.parameters():
            weight.mul_(0.93)
    request = states[0]
    mass = tilted.masses([request])[0]
    assert 1 - mass.sum() > 0.02 or abs(mass[0] - mass[1]) > 0.02
    replies = [d.raw for d in tilted.act([fresh(request, seed) for seed in range(3000)])]
    for move, text in enumerate(("[pass]", "[bet]")):
        share = sum(raw == text for raw in replies) / 3000
        assert share == pytest.approx(mass[move], abs=4 * np.sqrt(mass[move] / 3000))
    assert tilted.probabilities([request])[0].sum() == pytest.approx(1.0)


def test_illegal_moves_have_no_probability_and_open_replies_none_at_all(model, states):
    only_bet = states[0].replace(options=Choice(("pass", "bet"), np.array([False, True])))
    assert model.probabilities([only_bet])[0].tolist() == [0.0, 1.0]
    with pytest.raises(TypeError, match="free replies"):
        model.probabilities([states[0].replace(options=Text(9))])


def test_no_answer_depends_on_the_batch(model, states):
    requests = [fresh(states[i % 12], i) for i in range(40)]
    together = model.act(requests)
    alone = [model.act([fresh(states[i % 12], i)])[0] for i in range(40)]
    small = LanguageModel(model.model.path, rows_at_once=3).act([fresh(states[i % 12], i) for i in range(40)])
    for a, b, c in zip(together, alone, small, strict=True):
        assert a.raw == b.raw == c.raw
        np.testing.assert_allclose(a.tokens.logprobs, b.tokens.logprobs, atol=1e-4)


def test_a_move_has_the_probability_of_all_scratch_that_fits(model, states):
    agent = LanguageModel(
        model.model.path, style="compact", scratch="~", scratch_most=1, max_new_tokens=len("~~[pass]") + 1
    )
    (mass,) = agent.masses(states[:1])
    prompt, end = agent.prompt(states[0]), agent.model.end
    for move, name in enumerate(("[pass]", "[bet]")):
        total = 0.0
        for count in range(10):
            reply = (*agent.model.tokenizer.encode("~" * count + name), end)
            if len(reply) <= len("~~[pass]") + 1:
                logits = agent.model.model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1]
                logp = logits.double().log_softmax(-1)
                chosen = logp[torch.arange(len(reply)), torch.tensor(reply)]
                total += chosen.sum().exp().item()
        assert mass[move] == pytest.approx(total, rel=1e-4)
    assert len(agent._ways(states[0])[0]) == 3
    assert len(agent._ways(states[0])[1]) == 4


# -------------------------------------------------------------------------------------- reading
class Script:
    """An engine that says what is written instead of sampling."""

    adapters = ()

    def __init__(self, replies, *, stopped):
        self.queue, self.stopped = list(replies), stopped
        self.prompts, self.ready = [], []

    def sample(self, jobs):
        self.prompts += [job.ids for job in jobs]
        ids = [self.queue.pop(0) for _ in jobs]
        return [
            Sampled(row, np.zeros(len(row), np.float32), "stop" if self.stopped else "length") for row in ids
        ]

    def submit(self, jobs):
        self.ready += zip(jobs, self.sample(jobs), strict=True)

    def poll(self):
        ready, self.ready = self.ready, []
        return ready

    def update(self, weights, version, adapter=""):
        pass

    def close(self, sessions):
        pass

    def drop(self, adapter):
        pass


def saying(model, *replies, stopped=True):
    """A copy of the model with a script for an engine."""
    copy = model.frozen("saying")
    ids = [copy.model.encode_reply(text)[: None if stopped else -1] for text in replies]
    copy.desk = Desk(Script(ids, stopped=stopped))
    return copy


@pytest.mark.parametrize(
    ("raw", "stopped", "reason"),
    [
        ("", True, "empty"),
        ("[pass] [bet]", True, "two moves"),
        ("[raise]", True, "names no move"),
        ("[bet]", False, "longer than"),
        ("<think>[bet]", True, "empty"),
    ],
)
def test_what_cannot_be_read_is_kept_and_forfeits(model, raw, stopped, reason):
    agent = saying(model, raw, stopped=stopped)
    (episode,) = play("kuhn_poker", {"player_0": agent, "player_1": "uniform"}, [0])
    step = episode.steps[0]
    assert isinstance(step.move, Forfeit)
    assert reason in step.move.reason
    assert (step.raw, step.read, episode.end) == (raw, "forfeit", "forfeit")
    assert episode.returns["player_0"] == -2.0
    assert step.tokens.ids.tolist() == list(model.model.encode_reply(raw))[: None if stopped else -1]


def test_a_retry_is_shown_the_complaint(model):
    agent = saying(model, "[raise]", "I bet: [bet]", "[pass]")
    (episode,) = play(
        "kuhn_poker", {"player_0": agent, "player_1": "first_legal"}, [0], illegal=Illegal("retry", times=1)
    )
    step = episode.steps[0]
    assert (step.move, step.read, step.rejected) == (1, "retry", ("[raise]",))
    assert "names no move" in agent.model.decode(agent.desk.engine.prompts[1])


def test_every_retry_is_told_what_came_before_it(model):
    agent = saying(model, "[raise]", "[raise]", "[bet]", "[pass]")
    agent.prompter = Prompter("compact", "conversation")
    lineup = {"player_0": agent, "player_1": "first_legal"}
    (episode,) = play("kuhn_poker", lineup, [0], illegal=Illegal("retry", times=2))
    assert episode.steps[0].rejected == ("[raise]", "[raise]")
    said = [agent.model.tokenizer.decode(prompt) for prompt in agent.desk.engine.prompts[:3]]
    assert [text.count("[raise]<|end|>") for text in said] == [0, 1, 2]
    assert said[2].startswith(said[1])


def test_reasoning_is_kept_as_a_note(model, states):
    decision = saying(model, "<think>[pass]?</think>[bet]").act([states[0]])[0]
    assert (decision.move, decision.note) == (1, "[pass]?")


def test_free_text_that_does_not_end_is_truncated(model, states):
    text = states[0].replace(options=Text(80))
    decision = saying(model, "so it goes", stopped=False).act([text])[0]
    assert (decision.move, decision.read) == ("so it goes", "truncated")


# -------------------------------------------------------------------------------- conversations
def test_a_conversation_goes_on_from_the_very_tokens(model):
    agent = saying(model, "Well: [bet]", "[pass]")
    agent.prompter = Prompter("compact", "conversation")
    rng = np.random.default_rng(0)
    options = Choice(("pass", "bet"), np.array([True, True]))
    first = Request("e", "g", "player_0", View("one"), options, (), rng)
    second = Request("e", "g", "player_0", View("two"), options, ((View("one"), 1),), rng)
    a = agent.act([first])[0].tokens
    b = agent.act([second])[0].tokens
    head = (*a.prompt, *a.ids)
    assert tuple(b.prompt[: len(head)]) == head
    said = agent.model.tokenizer.decode(b.prompt)
    assert said == (
        "<|user|>one\n[pass] [bet]<|end|><|assistant|>Well: [bet]<|end|>"
        "<|user|>two\n[pass] [bet]<|end|><|assistant|>"
    )
    assert agent.prompt(second) == tuple(b.prompt)  # looked at again, it is the same prompt
    agent.close(["e"])
    assert "Well" not in agent.model.tokenizer.decode(agent.prompt(second))


def test_an_unfinished_reply_is_ended_for_the_model(model):
    chat = model.model.chat
    assert model.model.tokenizer.decode(chat.follow_up("two", None)).startswith("<|end|>")
    assert not model.model.tokenizer.decode(chat.follow_up("two", chat.end)).startswith("<|end|>")


def test_full_prompts_give_rules_view_and_how_to_answer(states):
    (message,) = Prompter("full").messages(states[0].replace(rules="The rules."))
    assert message["content"].startswith("The rules.")
    assert states[0].view.text in message["content"]
    assert message["content"].endswith("Answer with exactly one of [pass], [bet].")


# -------------------------------------------------------------------------------------- weights
def test_saving_and_loading_is_exact(model, tmp_path, states):
    model.save(tmp_path / "copy")
    assert {"config.json", "model.safetensors", "tokenizer.json", "ludus.json"} <= {
        p.name for p in (tmp_path / "copy").iterdir()
    }
    again = make_agent("language", path=str(tmp_path / "copy"))
    assert again.fingerprint() == model.fingerprint()
    assert all(np.array_equal(a, b) for a, b in zip(again.masses(states), model.masses(states), strict=True))


def test_weights_that_lose_small_steps_do_not_learn_unless_told_to(model, states, tmp_path):
    model.save(tmp_path / "kept")
    half = LanguageModel(tmp_path / "kept", dtype="bfloat16")
    half.save(tmp_path / "half")
    half.check_learnable()
    saved = LanguageModel(tmp_path / "half")
    with pytest.raises(ConfigError, match=r"saved in bfloat16.*dtype = 'float32' with autocast"):
        saved.check_learnable()
    saved.probabilities(states[:1])  # it may be measured
    LanguageModel(tmp_path / "half", dtype="float32").check_learnable()
    LanguageModel(tmp_path / "half", lora={"rank": 2}).check_learnable()


def test_a_reply_may_end_with_any_of_several_tokens(taught, states, tmp_path):
    config = json.loads((taught / "generation_config.json").read_text())
    shutil.copytree(taught, tmp_path / "two")
    ends = sorted({CausalModel(taught).end, 0, 7})
    (tmp_path / "two" / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": ends}))
    one, two = LanguageModel(taught), LanguageModel(tmp_path / "two")
    assert two.model.stops >= set(ends)
    with torch.no_grad():
        head = two.model.model.lm_head.weight
        head[7] = head[two.model.end] * 0.9  # nearly as likely as the end
        prompt, ways = two.prompt(states[0]), [ids[:-1] for ids in two.replies(states[0])]
        pairs = [(0, (*way, end)) for way in ways for end in two.model.stops]
        found = two.model.score([prompt], pairs).logprobs.sum(1).double().exp().reshape(len(ways), -1)
    (mass,) = two.masses(states[:1])
    assert mass[states[0].options.legal] == pytest.approx(found.sum(1).numpy())
    assert mass.sum() > 0.9
    assert found.max(1).values.sum() < 0.8
    decision = two.act([fresh(states[0], 0)])[0]
    scores = two.score(Ledger.of(list(play("kuhn_poker", {"player": two}, range(4)))).rows(np.arange(2)))
    assert scores.legal_mass.min() > 0.9
    assert decision.tokens.ids[-1] in two.model.stops
    assert one.model.any_end == one.model.end


def test_replies_that_stop_strings_end_have_no_probabilities(model, states):
    cut = model.frozen("cut")
    cut.manner = dataclasses.replace(cut.manner, stop=("]",))
    with pytest.raises(ConfigError, match=r"ends replies at .* count its replies"):
        cut.masses(states[:1])
    assert cut.replies(states[0]) is None
    cut.check_learnable()  # what is sampled is scored token by token


def test_replies_of_closed_episodes_reach_nobody(model, states):
    desk = Desk(Script([model.model.encode_reply("[bet]")] * 4, stopped=True))
    one, other = model.frozen("one"), model.frozen("other")
    one.desk = other.desk = desk
    asked = [state.replace(key=key) for state, key in zip(states, ("a", "b"), strict=False)]
    other.submit(asked)
    one.submit(asked[:1])
    assert len(one.poll()) == 1  # the other's are ready, too
    other.close(["a"])
    assert [request.key for request, _ in other.poll()] == ["b"]


def test_a_copy_of_a_whole_model_says_that_its_engine_is_another(model, states):
    served = model.frozen("served")
    served.desk = Desk(Script([served.model.encode_reply("[bet]")] * 2, stopped=True))
    copy = served.frozen("copy")
    with pytest.warns(UserWarning, match="copy is a copy of a whole model, for which Script has no room"):
        copy.act(states[:1])
    copy.act(states[:1])  # once is enough
    assert len(served.desk.engine.prompts) == 0


def test_settings_of_a_seat_are_checked_before_anybody_sits_there():
    with pytest.raises(ConfigError, match=r"sampling at player_1: .*top_p lies in"):
        Manner(seats={"player_1": {"top_p": 3.0}})


def test_a_frozen_copy_shares_nothing(model, states):
    learner = model.frozen("learner")
    learner.version = 3
    copy = learner.frozen("old")
    assert (copy.name, copy.version) == ("old", 3)
    before = copy.fingerprint()
    with torch.no_grad():
        learner.parameters()[0].add_(0.1)
    learner.version = 4
    assert copy.fingerprint() == before != learner.fingerprint()
    learner.load(copy.state())
    learner.version = 5
    assert learner.fingerprint() == before


def test_weights_that_do_not_fit_are_refused(model):
    state = model.state()
    name = next(iter(state))
    with pytest.raises(ValueError, match="other names"):
        model.load({})
    with pytest.raises(ValueError, match="shape"):
        model.load({**state, name: state[name][:1]})


def test_a_path_without_a_model_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no causal model"):
        LanguageModel(tmp_path)
    make_tiny(tmp_path / "one", width=16, layers=1, heads=2)
    with pytest.raises(UnknownName, match=r"unknown model folder .*on'; did you mean '.*one'"):
        LanguageModel(tmp_path / "on")
    (tmp_path / "ludus.json").write_text(json.dumps({"style": "compact", "mood": "good"}))
    with pytest.raises(ConfigError, match="mood"):
        LanguageModel(tmp_path)
