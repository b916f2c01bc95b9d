"""Records can be played again with nobody there, and what is not true is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from small_games import Says

from ludus.core.agent import Decision, Failure, Tokens, Uniform
from ludus.core.episode import Episode, read, stream_mark, write
from ludus.core.errors import ForgedError, RecordError
from ludus.core.game import CHANCE, Forfeit
from ludus.core.match import Illegal, Match
from ludus.core.play import play
from ludus.core.registry import make
from ludus.core.replay import replay
from ludus.core.verify import verify

replaced = dataclasses.replace


def first(game: str = "kuhn_poker", seed: int = 3, **match) -> Episode:
    return next(play(game, {"player": "uniform"}, [seed], **match))


def with_step(episode: Episode, number: int, **changes) -> Episode:
    steps = list(episode.steps)
    steps[number] = replaced(steps[number], **changes)
    return replaced(episode, steps=tuple(steps))


def refusal(episode: Episode, **agents) -> tuple[str, str]:
    (verdict,) = verify([episode], agents)
    return verdict.refused, verdict.notes.get(verdict.refused, "")


@pytest.mark.parametrize(
    "game", ["kuhn_poker", "leduc_poker", "tic_tac_toe", "rock_paper_scissors", "simple_negotiation"]
)
def test_replay_needs_nobody_and_finds_the_same(game: str) -> None:
    for episode in play(game, {"player": "uniform"}, range(10)):
        again = Episode.from_json(episode.to_json())
        frames = list(replay(again))
        assert len(frames) == 1 + len(episode.chance) + len(episode.steps)
        assert [f.move for f in frames if f.seat == CHANCE] == list(episode.chance)
        earned = dict.fromkeys(episode.returns, 0.0)
        for frame in frames:
            for seat, amount in frame.paid.items():
                earned[seat] += amount
        assert earned == dict(episode.returns)
        assert verify([again])[0].reached == "rules"


def test_a_task_is_recorded_however_it_was_given() -> None:
    lineup = {"solver": "uniform", "proposer": "uniform"}
    for match in (
        Match("propose_solve", lineup, params={"solvers": 1}, task="1 + 2"),
        Match("propose_solve", lineup, params={"solvers": 1, "task": "1 + 2"}),
        Match(make("propose_solve", solvers=1, task="1 + 2"), lineup),
    ):
        (episode,) = play(match)
        assert (episode.match.params, episode.match.task) == ({"solvers": 1}, "1 + 2")
        again = Episode.from_json(episode.to_json())
        assert list(replay(again))[-1].state.problem == "1 + 2"


def test_episodes_go_through_json_unchanged() -> None:
    tokens = Tokens(
        np.arange(3), np.array([4, 5]), np.array([-0.5, -1.25], np.float32), np.array([True, False]), "p", 7,
        legal=np.array([True, False]), replies=((4, 5), (6,)),
    )  # fmt: skip

    class Speaks(Says):
        def act(self, requests):
            return [
                Decision(0, raw="[päss]", read="normalised", tokens=tokens, value=0.0, note="why")
                for _ in requests
            ]

    (episode,) = play("kuhn_poker", {"player": Speaks(0)}, [1], group="g", parent="p")
    again = Episode.from_json(episode.to_json())
    assert again.to_json() == episode.to_json()
    step = again.steps[0]
    assert (step.raw, step.read, step.value, step.note) == ("[päss]", "normalised", 0.0, "why")
    assert step.tokens is not None
    np.testing.assert_array_equal(step.tokens.ids, tokens.ids)
    np.testing.assert_array_equal(step.tokens.legal, tokens.legal)
    assert step.tokens.replies == tokens.replies


def test_a_corrupt_line_is_named_and_the_others_are_read(tmp_path) -> None:
    path = tmp_path / "episodes.jsonl"
    write([first(seed=s) for s in range(3)], path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:40], '{"format": 99}', lines[2]]))
    with pytest.warns(UserWarning, match="not an episode") as warned:
        episodes = list(read(path))
    assert [e.match.seed for e in episodes] == [0, 2]
    assert [str(w.message).split(": ")[0] for w in warned] == [f"{path}:2", f"{path}:3"]


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1, 2**32, 2**96 + 1, 2**128 - 1, 2**128, 2**300 + 5])
def test_a_seeds_mark_is_drawn_from_a_stream_of_its_own(seed) -> None:
    stream = np.random.SeedSequence(seed, spawn_key=(2**31,))
    assert stream_mark(seed) == f"{int(stream.generate_state(1, np.uint64)[0]):016x}"


# ----------------------------------------------------------------------------------- forgeries
def test_an_altered_seed_is_refused() -> None:
    """Where the other seed deals the same cards, too, the stream's mark tells them apart."""
    episode = first()
    alike = next(seed for seed in range(1, 99) if first(seed=seed).chance == episode.chance)
    for seed in (4, 5, alike):
        line = json.loads(episode.to_json())
        for stream in (line["stream"], ""):
            line["match"]["seed"], line["stream"] = seed, stream
            assert refusal(Episode.from_json(json.dumps(line)))[0] == "rules"
    with pytest.raises(RecordError, match="stream None is no text"):
        Episode.from_json(json.dumps(line | {"stream": None}))


def test_an_altered_chance_outcome_is_refused() -> None:
    episode = first("leduc_poker")
    for i in range(len(episode.chance)):
        other = next(c for c in range(6) if c not in episode.chance)
        chance = (*episode.chance[:i], other, *episode.chance[i + 1 :])
        assert refusal(replaced(episode, chance=chance))[0] == "rules"


def test_an_altered_move_is_refused() -> None:
    episode = first()
    last = len(episode.steps) - 1
    for move in (1 - episode.steps[last].move, 5, Forfeit("no"), "pass"):
        assert refusal(with_step(episode, last, move=move))[0] == "rules"


def test_an_altered_view_is_refused() -> None:
    level, why = refusal(with_step(first(), 0, mark="0" * 16))
    assert level == "rules"
    assert "the rules show" in why


def test_altered_pay_is_refused() -> None:
    episode = first()
    assert refusal(replaced(episode, returns={"player_0": 9.0, "player_1": -9.0}))[0] == "rules"
    assert refusal(with_step(episode, 0, reward=1.5))[0] == "rules"
    assert refusal(replaced(episode, early={"player_0": 1.0}))[0] == "rules"
    assert refusal(replaced(episode, end="cut"))[0] == "rules"


def test_missing_and_left_over_steps_are_refused() -> None:
    episode = first("tic_tac_toe")
    assert refusal(replaced(episode, steps=episode.steps[:-1]))[0] == "rules"
    assert refusal(replaced(episode, steps=(*episode.steps, episode.steps[-1])))[0] == "rules"
    with pytest.raises(ForgedError, match="owes no move"):
        list(replay(replaced(episode, steps=(episode.steps[1], *episode.steps))))


def test_more_retries_than_the_match_allows_are_refused() -> None:
    assert refusal(with_step(first(), 0, rejected=("hm",)))[0] == "rules"
    assert refusal(with_step(first(), 0, penalty=-1.0, reward=-1.0))[0] == "rules"


def test_an_altered_finding_is_refused_by_the_crew_level() -> None:
    episode = next(play("propose_solve", {"proposer": Uniform(), "solver": Uniform()}, [2]))
    number = next(i for i, s in enumerate(episode.steps) if s.seat == "referee_0")
    assert verify([episode])[0].reached == "crew"
    finding = dict(episode.steps[number].move)  # type: ignore[call-overload]
    key = next(iter(finding))
    forged = with_step(episode, number, move={**finding, key: f"{finding[key]}1"})
    level, _ = refusal(forged)
    assert level in ("rules", "crew")  # rules see it where the finding decides what is paid or seen


def test_findings_drawn_from_the_seats_own_stream_are_drawn_again() -> None:
    for episode in play("sneaky_critic", {"generator": "uniform", "critic": "uniform"}, range(6)):
        assert verify([Episode.from_json(episode.to_json())])[0].reached == "crew"
        number = next(i for i, s in enumerate(episode.steps) if s.seat == "referee_0")
        finding = dict(episode.steps[number].move)  # type: ignore[call-overload]
        forged = with_step(episode, number, move={**finding, "original": finding["original"] - 1})
        assert refusal(forged)[0] in ("rules", "crew")


class Net(Says):
    """Writes its move down as a network does."""

    def act(self, requests):
        return [Decision(self.move, tokens=self.written(r)) for r in requests]

    def written(self, request) -> Tokens:
        score = np.array([-0.7], np.float32)
        ids, legal = np.array([self.move]), request.options.legal
        return Tokens(request.view.features, ids, score, np.array([True]), "p", 1, legal)


def test_altered_tokens_are_refused_by_the_tokens_level() -> None:
    (episode,) = play("kuhn_poker", {"player": Net(0, "net")}, [1])
    (verdict,) = verify([Episode.from_json(episode.to_json())])
    assert verdict.ok
    assert "not at hand" in verdict.notes["tokens"]
    tokens = episode.steps[0].tokens
    assert tokens is not None
    forged = {
        "another move": replaced(tokens, ids=np.array([1])),
        "another card": replaced(tokens, prompt=np.roll(tokens.prompt, 1)),
        "other legal moves": replaced(tokens, legal=np.array([True, False])),
        "no probability": replaced(tokens, logprobs=np.array([0.5], np.float32)),
        "not a number": replaced(tokens, logprobs=np.array([np.nan], np.float32)),
    }
    for what, changed in forged.items():
        for how in ("exact", "normalised"):
            assert refusal(with_step(episode, 0, tokens=changed, read=how))[0] == "tokens", what


def test_a_reply_that_does_not_say_the_move_is_refused() -> None:
    tokens = Tokens(np.array([1]), np.array([2]), np.array([-0.7], np.float32), np.array([True]))

    class Talker(Says):
        def act(self, requests):
            return [Decision(0, raw="<think>bet?</think>[pass]", tokens=tokens) for _ in requests]

    (episode,) = play("kuhn_poker", {"player": Talker(0)}, [1])
    assert verify([episode])[0].ok
    assert refusal(with_step(episode, 0, raw="[bet]"))[0] == "tokens"


def test_numbers_that_are_none_are_refused() -> None:
    episode, nan = first(), float("nan")
    assert refusal(replaced(episode, returns=dict.fromkeys(episode.returns, nan)))[0] == "rules"
    assert refusal(with_step(episode, 0, reward=nan))[0] == "rules"
    with pytest.raises(RecordError, match="NaN"):
        Episode.from_json(with_step(episode, 0, reward=nan).to_json())


def test_pay_moved_between_decisions_is_refused() -> None:
    episode = next(e for e in play("kuhn_poker", {"player": "uniform"}, range(50)) if len(e.steps) == 3)
    assert episode.steps[0].seat == episode.steps[2].seat
    moved = with_step(episode, 0, reward=episode.steps[0].reward + 5)
    moved = with_step(moved, 2, reward=episode.steps[2].reward - 5)
    assert refusal(moved)[0] == "rules"
    early = with_step(episode, 0, reward=episode.steps[0].reward - 7)
    assert refusal(replaced(early, early={"player_0": 7.0}))[0] == "rules"


def test_a_lost_game_cannot_be_declared_void() -> None:
    episode = first("leduc_poker")
    assert refusal(replaced(episode, end="error", returns={}))[0] == "rules"
    assert refusal(replaced(episode, end="error", returns={}, fault="x", failed="player_0"))[0] == "rules"


@pytest.mark.parametrize("read", ["fallback", "skip", "retry", "nonsense", "forfeit"])
def test_ways_of_reading_that_the_match_does_not_know_are_refused(read) -> None:
    assert refusal(with_step(first(), 0, read=read))[0] == "rules"


def test_records_that_make_no_sense_are_refused_and_do_not_stop_the_rest() -> None:
    nim = first("nim")
    broken = replaced(nim, match=replaced(nim.match, params={"stones": -3}))
    empty = replaced(nim, match=replaced(nim.match, lineup={}))
    assert [v.refused for v in verify([broken, empty, nim])] == ["rules", "rules", ""]


def test_findings_of_other_crew_must_all_agree_for_the_level() -> None:
    class Unsure(Says):  # crew that does not say that it finds the same again
        def act(self, requests):
            return [Decision({"value": "1", "fault": ""}) for _ in requests]

    episode = next(play("propose_solve", {"proposer": Uniform(), "solver": Uniform()}, [2]))
    (verdict,) = verify([episode], {"arithmetic": Unsure(None, "arithmetic")})
    assert (verdict.ok, verdict.reached) == (True, "rules")
    assert verdict.notes["crew"] == "0 of 1 findings found again"


def test_records_of_errors_and_cuts_are_true_too() -> None:
    (cut,) = play("tic_tac_toe", {"player": "uniform"}, [0], max_steps=2)
    assert verify([cut])[0].reached == "rules"
    (forfeit,) = play("kuhn_poker", {"player": Says("?")}, [0], illegal=Illegal("forfeit"))
    assert verify([forfeit])[0].reached == "rules"
    paid = replaced(cut, end="error", returns={"player_0": 1.0}, fault="x", failed="player_0")
    assert refusal(paid)[0] == "rules"
    (void,) = play("kuhn_poker", {"player_0": "uniform", "player_1": Says(Failure("no power"))}, [0])
    assert (void.end, void.failed) == ("error", "player_1")
    assert verify([Episode.from_json(void.to_json())])[0].reached == "rules"


def test_a_folder_of_episodes_is_verified(tmp_path) -> None:
    (tmp_path / "episodes").mkdir()
    write([first(seed=1)], tmp_path / "episodes" / "first.jsonl")
    write([first(seed=2)], tmp_path / "episodes.jsonl")
    assert [v.reached for v in verify(tmp_path)] == ["rules", "rules"]
    with pytest.raises(RecordError, match="does not exist"):
        verify(tmp_path / "nothing")


def test_matches_are_recorded_in_names() -> None:
    match = Match("nim", {"player": "uniform"}, seed=1, params={"stones": 5})
    (episode,) = play(match)
    assert episode.match.params == {"stones": 5}
    assert episode.lineup == {"player_0": "uniform", "player_1": "uniform"}
