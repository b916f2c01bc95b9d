"""A tiny model that knows Kuhn poker's language, made once for the tests of this folder."""

import pytest


@pytest.fixture(scope="session")
def taught(tmp_path_factory):
    pytest.importorskip("transformers")
    from ludus.agents.language.models.tiny import make_tiny
    from ludus.agents.language.teach import teach

    folder = make_tiny(tmp_path_factory.mktemp("tiny") / "kuhn", width=64, seed=1)
    teach(folder, ["kuhn_poker"], steps=100, episodes=100)
    return folder
