"""Leading principal components against a full singular value decomposition in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clickmap_cli.models import eigencam
from clickmap_cli.models.eigencam import compute_component

LARGE = eigencam._EXACT_SIDE + 30
"""On both sides it takes the iterated path."""


def dense(rows: torch.Tensor, number: int) -> tuple[np.ndarray, float]:
    """Projection and share of variance from numpy's full decomposition."""
    exact = rows.numpy().astype(np.float64)
    u, s, _ = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    return u[:, number - 1] * s[number - 1], float(s[number - 1] ** 2 / (s**2).sum())


def of_spectrum(n: int, d: int, values: list[float], seed: int = 0) -> torch.Tensor:
    """(n, d) rows whose centred singular values are these and fall off from the last."""
    rng = np.random.default_rng(seed)
    k = min(n - 1, d)
    raw = rng.standard_normal((n, k))
    left = np.linalg.qr(raw - raw.mean(axis=0))[0]
    right = np.linalg.qr(rng.standard_normal((d, k)))[0]
    tail = values[-1] * 0.5 * 0.9 ** np.arange(k - len(values))
    s = np.array([*values, *tail])[:k]
    return torch.from_numpy((left * s) @ right.T + rng.standard_normal(d)).float()


def agree(rows: torch.Tensor, number: int, atol: float = 1e-5) -> None:
    """Projections are equal up to their sign, in units of the largest value."""
    found = compute_component(rows, number)
    wanted, share = dense(rows, number)
    ours = found[0].numpy().astype(np.float64)
    assert ours.shape == (len(rows),)
    assert found[0].dtype == torch.float32
    ours *= np.sign(ours @ wanted)
    np.testing.assert_allclose(ours / abs(wanted).max(), wanted / abs(wanted).max(), atol=atol)
    assert found[1] == pytest.approx(share, abs=1e-5)


@pytest.fixture
def iterations(monkeypatch):
    """Results of the iterated path, call by call."""
    given = []
    real = eigencam._iterated

    def watched(centred, number):
        given.append(real(centred, number))
        return given[-1]

    monkeypatch.setattr(eigencam, "_iterated", watched)
    return given


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("n", "d"), [(200, 12), (12, 200), (500, 60), (60, 500), (40, 40), (4, 5), (5, 4)]
)
def test_tall_wide_and_tiny_rows(n, d, number, iterations) -> None:
    agree(torch.from_numpy(np.random.default_rng(n + d).gamma(1, 1, (n, d))).float(), number)
    assert iterations == []


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("n", "d"), [(LARGE, 900), (900, LARGE), (LARGE, LARGE)])
def test_large_rows_are_iterated(n, d, number, iterations) -> None:
    agree(of_spectrum(n, d, [30.0, 20.0, 12.0, 7.0]), number, 5e-5)
    (given,) = iterations
    assert given is not None


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("ratio", [1 - 1e-3, 1 - 1e-2])
@pytest.mark.parametrize(("n", "d"), [(LARGE, 600), (600, LARGE), (40, 600), (600, 40)])
def test_nearly_equal_leading_values_are_told_apart(n, d, ratio, number) -> None:
    agree(of_spectrum(n, d, [30.0, 30.0 * ratio, 5.0]), number, 2e-4)


@pytest.mark.parametrize(("n", "d"), [(LARGE, 500), (500, LARGE)])
def test_it_falls_back_where_iterating_does_not_converge(n, d, iterations) -> None:
    rows = of_spectrum(n, d, [30.0, 30.0 * (1 - 1e-3), 5.0])
    agree(rows, 1, 2e-4)
    (given,) = iterations
    assert given is None


def test_many_equal_values_take_the_fallback_too(iterations) -> None:
    """Noise has no leading direction to speak of; the answer is right all the same."""
    rows = torch.from_numpy(np.random.default_rng(5).standard_normal((700, LARGE))).float()
    agree(rows, 1, 1e-4)
    assert iterations == [None]


@pytest.mark.parametrize(("n", "d"), [(30, 50), (50, 30), (LARGE, 400)])
def test_what_is_of_lower_rank_has_no_further_components(n, d) -> None:
    rng = np.random.default_rng(1)
    # whole numbers, and columns that sum to 0: no rounding makes a third direction
    left = rng.integers(-3, 4, (n, 2))
    left[-1] -= left.sum(axis=0)
    rows = torch.from_numpy(left @ rng.integers(-3, 4, (2, d)) + 5).float()
    for number in (1, 2):
        agree(rows, number)
    shares = [compute_component(rows, number)[1] for number in (1, 2, 3)]
    assert sum(shares[:2]) == pytest.approx(1, abs=1e-5)
    third = compute_component(rows, 3)
    assert third[1] == 0
    assert not third[0].any()


@pytest.mark.parametrize(("n", "d"), [(4, 9), (9, 4)])
def test_a_component_that_does_not_exist_is_zeros(n, d) -> None:
    rows = torch.from_numpy(np.random.default_rng(2).standard_normal((n, d))).float()
    # four rows have three directions once they are centred, four columns have four
    last = n - 1 if n < d else d
    agree(rows, last)
    for number in (last + 1, 10, 99):
        found = compute_component(rows, number)
        assert found[1] == 0
        assert torch.equal(found[0], torch.zeros(n))


@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 7.7, -1e4, 1e-20])
@pytest.mark.parametrize(("n", "d"), [(1, 5), (7, 50), (80, 30), (LARGE, LARGE)])
def test_constant_rows_have_no_component(n, d, value) -> None:
    """A mean that rounds must not look like variance."""
    found = compute_component(torch.full((n, d), value), 1)
    assert found[1] == 0
    assert torch.equal(found[0], torch.zeros(n))


def test_shares_add_up() -> None:
    rows = torch.from_numpy(np.random.default_rng(3).gamma(2, 1, (50, 8))).float()
    shares = [compute_component(rows, number)[1] for number in range(1, 9)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 25), (25, 60), (LARGE, 400)])
def test_the_order_of_rows_does_not_matter(n, d) -> None:
    rows = of_spectrum(n, d, [9.0, 5.0, 2.0])
    order = torch.from_numpy(np.random.default_rng(4).permutation(n))
    plain, turned = compute_component(rows, 1), compute_component(rows[order], 1)
    mine, other = plain[0][order], turned[0]
    other = other * torch.sign(torch.dot(mine, other))
    np.testing.assert_allclose(other, mine, atol=2e-5 * float(mine.abs().max()))
    assert turned[1] == pytest.approx(plain[1], abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(60, 25), (LARGE, 400)])
def test_it_is_the_same_every_time_and_leaves_the_global_generator_alone(n, d) -> None:
    rows = of_spectrum(n, d, [9.0, 5.0, 2.0])
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = compute_component(rows, 1)[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(compute_component(rows, 1)[0], first)


def test_rows_are_overwritten_only_where_that_is_allowed() -> None:
    rows = of_spectrum(30, 20, [9.0, 5.0])
    kept = rows.clone()
    found = compute_component(rows, 1)
    assert torch.equal(rows, kept)
    again = compute_component(rows, 1, overwrite=True)
    assert torch.equal(again[0], found[0])
    assert not torch.equal(rows, kept)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_layout_in_memory_does_not_matter(transposed) -> None:
    rows = of_spectrum(LARGE, 400, [30.0, 20.0, 12.0, 7.0])
    agree(rows.T.contiguous().T if transposed else rows, 1, 5e-5)


def test_a_large_offset_costs_little() -> None:
    rows = of_spectrum(50, 20, [9.0, 5.0, 2.0]) + 50
    agree(rows, 1, 1e-4)
