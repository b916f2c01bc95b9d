"""What a run is made with: records that a TOML file fills, checked by pydantic.

Every choice is the registered name of a Python function plus keyword values. The text under a field
is its help. `ludus.config.load` reads a file into a `RunConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from ludus.training.choices import STRICT, Choice, Choices, Count, Named, Number, Rate, Share
from ludus.training.gathering import Collect


@dataclass(frozen=True, slots=True)
class Objective:
    """What a learner makes small."""

    __pydantic_config__: ClassVar[Any] = STRICT

    loss: Choice = Named("clip")
    """Policy loss: clip (low, high, dual), plain, two_sided, cispo, cispo_clip, sapo, nft, clip_cov, kl_cov, dppo, ipo;
    with one ratio a reply: gspo, luspo, gmpo, rloo_sequence, vespo; without any: sft, dpo (beta, form, smoothing, pairs),
    cross_entropy (to what a search would play); neurd (regularisation, threshold, most), which looks at all legal moves;
    none, where values alone are learned."""
    modifiers: Choices = ()
    """What else weighs the policy loss, one or several: off_policy_sequence_mask (delta), top_entropy (share)."""
    aggregation: Choice = Named("token_mean")
    """What each token counts: token_mean, decision_token_mean, decision_token_sum, constant (length)."""
    correction: Choices = ()
    """For engines that sample otherwise than the policy scores, one or several whose weights multiply: truncate,
    truncate_sequence, mask_token, mask_sequence, mask_geometric, icepop, reject. Wants old = "recompute"."""
    rejected: Literal["count", "drop"] = "count"
    """Whether tokens to which a correction gave weight zero still count in what the loss is divided by, as in TRL, or
    not, as in verl."""
    value: Rate = 0.0
    """Coefficient of the value loss."""
    value_clip: float | None = None
    """How far a value may move in one batch before its loss stops falling; absent: any distance."""
    entropy: float = 0.0
    """Coefficient of the entropy bonus."""
    entropy_over: Literal["choices", "tokens"] = "choices"
    """Entropy of the legal moves or replies, which every decision must list, or of each token."""
    entropy_control: Choice = Named("fixed")
    """The coefficient of the entropy bonus: fixed, adaptive (target, step, least, most), or falling (share, least)."""
    legality: Rate = 0.0
    """Coefficient of minus the log-probability of all legal replies together; language models that choose drift away
    from them where a lenient reader takes other spellings for them too."""
    divergence: Rate = 0.0
    """Coefficient of the divergence from the learner's reference."""
    divergence_by: Literal["exact", "k1", "k2", "k3", "k3+", "abs"] = "exact"
    """Exact over the legal moves or replies, or estimated on the sampled tokens."""
    divergence_weighted: bool = False
    """Multiply the estimate of each token by its ratio, which makes it unbiased once the policy has moved."""
    divergence_control: Choice = Named("fixed")
    """The coefficient of the divergence, in the loss and in the reward: fixed, or adaptive (target, horizon)."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """How weights move."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: Literal["adam", "adamw", "sgd"] = "adam"
    """The rule."""
    rate: Rate = 2.5e-4
    """Learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Constant, or falling to zero at the end of the run, over the steps of all phases: linearly or as a cosine."""
    warmup: Count = 0
    """Steps in which the rate first rises linearly to what the schedule says."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """How slowly the first and the second moment move (adam, adamw)."""
    eps: Rate = 1e-5
    """Added to the root of the second moment (adam, adamw)."""
    decay: Rate = 0.0
    """Weight decay (adamw)."""
    clip: Rate = 0.5
    """Largest norm of a gradient; 0: any."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which decisions a learner learns from."""

    __pydantic_config__: ClassVar[Any] = STRICT

    roles: tuple[str, ...] = ()
    """Roles or seats; all if empty."""
    max_age: Count = 0
    """How many versions old a decision may be."""
    sources: tuple[str, ...] = ("fresh",)
    """Where decisions may come from: "fresh", from this run's play; "file", from what a phase reads."""
    keep: Choice = Named("all")
    """A filter by name: all, with_credit, varied, quantile, untruncated, but_sample, won (above), best (count)."""
    most: Count = 0
    """How many of these decisions are learned from, drawn at random; 0: all."""
    of: tuple[str, ...] = ()
    """Whose decisions, by name; those of the policy that learns if empty."""


@dataclass(frozen=True, slots=True)
class LearnerConfig:
    """A learner: which policy learns what from which decisions."""

    __pydantic_config__: ClassVar[Any] = STRICT

    policy: str
    """The policy that learns."""
    name: str = ""
    """Its name in metrics; the policy's if empty."""
    preset: str = ""
    """A preset of `ludus.training.recipes` that fills what is not given here."""
    estimator: Choice = Named("gae")
    """Advantages: gae, group_mean, leave_one_out, role_baseline, returns, opo, pass_at_k, gpg, remax, token_gae,
    reinforce_pp, reinforce_pp_baseline, otb, multi_critic, normalise_then_sum, v_trace (two players)."""
    shaping: Choices = ()
    """What is added to the rewards before the estimator, one or several: overlong, missing_end, kl (coefficient)."""
    objective: Objective = Objective()
    """What is made small."""
    optimiser: Optimiser = Optimiser()
    """How weights move."""
    selector: Selector = Selector()
    """Which decisions are learned from."""
    epochs: Number = 1
    """Passes over each batch."""
    minibatches: Number = 1
    """Updates in each pass."""
    micro: Count = 0
    """Decisions scored at once; 0: the whole minibatch. Changes memory, not results."""
    micro_tokens: Count = 0
    """Tokens scored at once, those of replies and of each distinct prompt; 0: no bound. Changes memory, not results."""
    normalise: Literal["none", "batch", "minibatch"] = "none"
    """Bring advantages to mean zero and deviation one, over the batch or each minibatch."""
    old: Literal["recompute", "rollout"] = "recompute"
    """Old log-probabilities: scored again before the update, or as they were when sampled."""
    reference: Literal["", "init", "magnet", "target", "regularisation"] = ""
    """What the divergence is from: the first weights, a moving average, the weights of some steps ago, or such a state of
    the moving average, which the next one replaces by and by (R-NaD)."""
    magnet_rate: Share = 0.01
    """How fast the moving average follows, for each step."""
    reference_every: Number = 100
    """Steps after which a target or a regularisation is replaced."""
    values: Literal["rollout", "reference"] = "rollout"
    """Values that estimators read: those of when decisions were made, or the reference's, as it now is."""
    buffer: Choice = Named("none")
    """Decisions of earlier steps that batches are drawn from: none, circular (the last ones) or reservoir (all alike);
    both take capacity, draw (decisions of a batch; all, each once, where there are no more), least (how many there must
    be) and augment (each drawn one is taken for a random one of its images by the game's symmetries)."""
    truncated: Literal["keep", "mask", "drop"] = "keep"
    """Replies cut at the token limit: learned from; not learned from, while their rewards still count in what others are
    compared with; or left out, with all of their seat's decisions in that episode, before anything is compared."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Where the decisions of a phase come from: this run's play, or a file of episodes."""

    __pydantic_config__: ClassVar[Any] = STRICT

    file: str = ""
    """Episodes as JSON lines; empty: play. Selectors know the two as "file" and "fresh"."""
    agents: tuple[str, ...] = ()
    """File: whose decisions, by the names in the file's lineups; everybody's if empty."""
    games: Count = 0
    """File: episodes in a step, pass after pass through the file in an order of its own; 0: all."""
    words: Literal["own", "given"] = "own"
    """File: replies of others written as the learning policy would write the move, or taken word for word where they
    spoke. What was recorded of the policy itself stays as it is, token by token."""


def _read_from(given: Any) -> Any:
    """`"fresh"` and `"file:episodes.jsonl"` as `Reads`."""
    if given == "fresh":
        return Reads()
    if isinstance(given, str):
        kind, _, path = given.partition(":")
        if kind != "file" or not path:
            raise ValueError(f"{given!r} is nothing to read: 'fresh' or 'file:PATH'")
        return Reads(path)
    return given


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps with its own lineup and learners."""

    __pydantic_config__: ClassVar[Any] = STRICT

    steps: Number
    """How many steps."""
    lineup: dict[str, str] = field(default_factory=dict)
    """Who sits where, by seat or role; the run's lineup if empty."""
    learners: tuple[str, ...] = ()
    """Names of the learners that learn; all if empty."""
    reads: tuple[Annotated[Reads, BeforeValidator(_read_from)], ...] = (Reads(),)
    """What they learn from: "fresh", "file:PATH", or tables (file, agents, games, words). Nothing is played where "fresh"
    is not among them."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measures of policies, taken while training."""

    __pydantic_config__: ClassVar[Any] = STRICT

    every: Count = 0
    """Steps between measures; 0: never. The last step is always measured where this is not 0."""
    policies: tuple[str, ...] = ()
    """Which policies are measured: main, main@magnet (the moving average of its weights), main@init; all of the
    run's if empty."""
    measures: Choices = (Named("nash_conv"),)
    """What is measured: nash_conv, nash_conv_average (weighting, after), return_exact (opponents), loss_rate,
    seat_balance, legal_mass, all exact and of games that can be tabulated; against (opponents, games) and self_play
    (games), which play. All take only (names of games) and policies. Opponents are a list of names, or a table of
    names, folders and { name = ..., ... } by label: uniform, optimal, mcts, main@init, runs/a/policies/b."""


@dataclass(frozen=True, slots=True)
class Wandb:
    """Weights & Biases."""

    __pydantic_config__: ClassVar[Any] = STRICT

    mode: Literal["disabled", "offline", "online"] = "disabled"
    """Where metrics go besides the run's folder."""
    project: str = "ludus"
    """The project they are filed under."""


@dataclass(frozen=True, slots=True)
class Distributed:
    """Several processes, which a launcher starts: `torchrun`, or `accelerate launch`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    shard: bool = False
    """While a language model learns, hold the weights of its blocks, their gradients and the optimiser's state in parts."""


@dataclass(frozen=True, slots=True)
class GameConfig:
    """The game, by name, and what it is made with."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    """Its registered name."""
    params: dict[str, Any] = field(default_factory=dict)
    """What it is made with."""
    share: Rate = 1.0
    """Where several games are learned together: how many deals are its, beside the others' shares. A game with none is
    taught and measured, and never played: so a specialist is measured on what it was not trained for."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run is made with."""

    __pydantic_config__: ClassVar[Any] = STRICT

    policies: dict[str, Choice]
    """Policies by name: each a registered kind (network, language) and its settings."""
    learners: tuple[LearnerConfig, ...]
    """Who learns what."""
    lineup: dict[str, str]
    """Who sits where, by seat or role: a policy, policy@init, policy@phase_start, policy@past, or an agent."""
    phases: tuple[Phase, ...]
    """Stretches of steps, one after the other."""
    game: GameConfig | None = None
    """The game; or `games`."""
    mixtures: dict[str, dict[str, Rate]] = field(default_factory=dict)
    """Occupants of seats that are one of several, by the names of those and how often; drawn for each seat and game."""
    games: tuple[GameConfig, ...] = ()
    """Games that are learned together, each deal one of them, where all policies can play them all."""
    name: str = "run"
    """The run's name, and that of its folder under `root`."""
    root: str = "runs"
    """Where run folders are made."""
    seed: Count = 0
    """Decides every random number of the run."""
    cycles: Number = 1
    """How often the phases are gone through."""
    minutes: Rate = 0.0
    """Stop after the step in which so many minutes of the run are over, those before it was resumed included; 0: do all
    steps. Schedules then follow the time, where that is further on than the steps."""
    threads: Number = 1
    """Threads of torch; sums change in the last bit with their number."""
    collect: Collect = Collect()
    """How decisions are gathered."""
    evaluate: Evaluate = Evaluate()
    """Exact measures."""
    checkpoint_every: Count = 0
    """Steps between checkpoints; 0: only at the end."""
    keep_checkpoints: Number = 2
    """How many checkpoints are kept."""
    snapshot_every: Count = 0
    """Steps between snapshots, the opponents of policy@past; 0: none."""
    keep_episodes: Count = 0
    """How many of the first and of the last training episodes are written down."""
    log_every: Number = 1
    """Steps between lines of metrics; steps that measure, and the last, have one too."""
    tensorboard: bool = True
    """Write TensorBoard files."""
    wandb: Wandb = Wandb()
    """Weights & Biases."""
    distributed: Distributed = Distributed()
    """Several processes."""
    recipe: str = ""
    """module:function that is called with this configuration and returns the run, for what it cannot say."""
    recipe_settings: dict[str, Any] = field(default_factory=dict)
    """What the recipe takes besides; see its module."""

    def __post_init__(self) -> None:
        if not any(game.share for game in self.every_game):
            raise ValueError("no game has a share of the deals")

    @property
    def every_game(self) -> tuple[GameConfig, ...]:
        """The games, one or several."""
        return self.games if self.game is None else (self.game,)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.cycles * sum(phase.steps for phase in self.phases)
