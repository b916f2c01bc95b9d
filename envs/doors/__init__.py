"""Doors: every game as others expect it. Each is written once, for all games.

    pettingzoo       `AEC` and `Parallel`: all players act from outside
    gymnasium        `Against`: one seat acts from outside, agents sit at the others
    vector           `Vector`: many games of an array game, one learner in each
    text             `Conversation`: prose in, prose out, for anybody's language model
    from_pettingzoo  the other direction: a third party's environment as a game

The first three also go by the id `ludus/<game>-v<N>` in the registries of Gymnasium and PettingZoo, which are
filled by `registration` when `ludus` is imported. Crew and chance are settled inside a door and never listed.
"""
