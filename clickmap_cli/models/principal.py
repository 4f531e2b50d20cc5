"""Leading principal components, from the smaller Gram matrix or by iteration."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_EXACT_SIDE = 320
"""Gram matrices up to this size are decomposed completely, which takes milliseconds."""

_MORE = 8  # extra vectors to iterate; more of them converge faster
_TOLERANCE = 2e-5  # largest angle to the true direction
_ROUNDS = 40
_SETTLED = 5  # rounds after which the residual must fall from one to the next
_NOTHING = 1e-12  # a smaller share of squares is rounding error, not variance


@dataclass(frozen=True)
class Component:
    """One principal component.

    Attributes:
        projection: (n) the rows' coordinates along it; its sign is arbitrary.
        explained: its share of the variance.
    """

    projection: torch.Tensor
    explained: float


def principal_component(rows: torch.Tensor, number: int, overwrite: bool = False) -> Component:
    """Compute a principal component of rows, after centring over rows.

    The components are eigenvectors of the smaller of the two Gram matrices. A small matrix is
    decomposed completely. For a large one only the leading vectors are computed, by subspace
    iteration with Rayleigh-Ritz (Halko et al. 2011); if that does not converge, the matrix is
    decomposed after all.

    Args:
        rows: (n, d) float32.
        number: number of the component, from 1; one that does not exist has a projection of zeros.
        overwrite: True if `rows` may be centred in place.

    Returns:
        The component.
    """
    on = rows.device
    if on.type == "mps":  # it has neither double precision nor decompositions
        rows = rows.cpu()
    mean = rows.mean(dim=0, keepdim=True)
    centred = rows.sub_(mean) if overwrite else rows - mean
    total = _squares(centred)
    nothing = Component(torch.zeros_like(rows[:, 0]).to(on), 0.0)
    if total <= _NOTHING * len(rows) * _squares(mean) or number > min(rows.shape):
        return nothing
    found = _iterated(centred, number) if min(rows.shape) > _EXACT_SIDE else None
    projection, value = _decomposed(centred, number) if found is None else found
    if value <= _NOTHING * total:
        return nothing
    return Component(projection.to(on), value / total)


def _squares(values: torch.Tensor) -> float:
    """Return the sum of squares; norms of columns are summed in double precision."""
    return float(torch.linalg.vector_norm(values, dim=0).double().square().sum())


def _decomposed(centred: torch.Tensor, number: int) -> tuple[torch.Tensor, float]:
    """Compute the projection and eigenvalue from the smaller Gram matrix, in double precision."""
    exact = centred.double()
    wide = exact.shape[0] <= exact.shape[1]
    values, vectors = torch.linalg.eigh(exact @ exact.T if wide else exact.T @ exact)
    value = max(float(values[-number]), 0.0)
    along = vectors[:, -number]
    return (along * value**0.5 if wide else exact @ along).to(centred.dtype), value


def _iterated(centred: torch.Tensor, number: int) -> tuple[torch.Tensor, float] | None:
    """Compute the projection on a leading direction and its eigenvalue; None if not converged.

    A direction's error is its residual over the distance to the nearest other eigenvalue, so close
    eigenvalues need more than single precision.
    """
    columns = centred.T  # contiguous if an image's features were, which the products below assume
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(centred.shape[1], number + _MORE, generator=generator)
    basis = torch.linalg.qr(start.to(centred))[0]
    before = float("inf")
    for done in range(_ROUNDS):
        projected = basis.T @ columns
        image = columns @ projected.T
        values, turn = torch.linalg.eigh((basis.T @ image).double())
        wanted = turn[:, -number].to(centred)
        value = float(values[-number])
        residual = float((image @ wanted - value * (basis @ wanted)).norm())
        apart = (values - value).abs()
        apart[-number] = float("inf")
        if value > 0 and residual <= _TOLERANCE * float(apart.min()):
            return wanted @ projected, value
        if done >= _SETTLED and residual > before:
            return None
        before = residual
        basis = torch.linalg.qr(image)[0]
    return None
