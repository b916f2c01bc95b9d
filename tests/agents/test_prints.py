"""What tells weights apart: every bit, every place, every name, type and shape; not where in memory they lie."""

import pytest
import torch

from ludus.agents.language.models import prints as module
from ludus.agents.language.models.prints import prints


def told(**weights):
    return list(prints(weights))


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def weight(request):
    return (torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 9).to(request.param)


def test_the_same_numbers_have_the_same_print(weight):
    elsewhere = torch.cat([weight, weight])[7:]
    across = weight.T.contiguous().T
    assert not across.is_contiguous()
    assert told(a=weight, b=weight) == told(b=weight.clone(), a=elsewhere) == told(a=across, b=across)


def test_every_number_counts(weight):
    before = told(a=weight)
    for place in range(weight.numel()):
        other = weight.clone()
        other.view(-1)[place] = ~other.view(-1)[place] if weight.dtype == torch.bool else 77
        assert told(a=other) != before


def test_the_last_bit_counts():
    weight = torch.ones(5)
    other = weight.clone()
    other[3] = torch.nextafter(other[3], torch.tensor(2.0))
    assert told(a=weight) != told(a=other)


def test_places_count(weight, monkeypatch):
    some = torch.tensor([True, False]) if weight.dtype == torch.bool else weight.flatten()[:6]
    assert told(a=some) != told(a=some.flip(0))
    monkeypatch.setattr(module, "SUMMED_AT_ONCE", 1)  # also beyond what is summed at once
    assert told(a=some) != told(a=some.flip(0))


def test_names_shapes_and_types_count():
    zeros = torch.zeros(2, 3)
    assert len({tuple(told(**{name: w})) for name, w in (
        ("a", zeros), ("b", zeros), ("a", zeros.T), ("a", zeros.half()), ("a", zeros[:0]), ("a", torch.tensor(0.0)),
    )}) == 6  # fmt: skip


def test_no_weights_have_no_prints():
    assert told() == []
