"""How far a score may be from the truth: bounds on rounding, nothing of searching."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import PATCH, SMALLEST_NORM, Search, window_norms

# Half precision is brought to this largest norm of a cell: products stay finite in float16.
_LARGEST_NORM = 128.0
# Rows of cells whose rounding is measured at one time.
_ROWS = 16
# Steps of float32 arithmetic that a score goes through after the sum over channels.
_STEPS = 32


def scale_for(search: Search, dtype: torch.dtype) -> float:
    """What both maps are multiplied by before they are rounded to ``dtype``: a power of two."""
    if dtype != torch.float16:
        return 1.0
    largest = max(
        float(torch.linalg.vector_norm(keys, dim=0).amax())
        for keys in (search.query_keys, search.candidate_keys)
    )
    return float(2.0 ** torch.tensor(_LARGEST_NORM / max(largest, SMALLEST_NORM)).log2().floor())


def score_error(
    search: Search, candidates: Bool[Tensor, "rows columns"], dtype: torch.dtype
) -> Float[Tensor, "queries_down queries_across"]:
    """A bound on |score - truth| / |p| for every query window p.

    A score is <p, q> / |q| from cell products in ``dtype``, added and weighted in float32.
    With float32 products the bound is that of any order of summation, gamma_n |p| |q| (Higham,
    "Accuracy and Stability of Numerical Algorithms", section 3.1), doubled. With others what
    rounding takes from this search's own windows is measured, and Cauchy-Schwarz does the rest.

    Args:
        candidates: The windows that are scored, none of them zero; at least one.
        dtype: What cells are multiplied in.
    """
    channels = len(search.query_keys)
    summing = (channels + _STEPS) * torch.finfo(torch.float32).eps
    if dtype == torch.float32:
        error = float32_error(channels, search.query_keys.device)
        return search.query_keys.new_full(search.queries.shape, error)
    scale = scale_for(search, dtype)
    query_norms = window_norms(search.query_keys)
    candidate_norms = window_norms(search.candidate_keys)[candidates]
    of_query = _lost_norms(search.query_keys, dtype, scale) / query_norms
    lost = _lost_norms(search.candidate_keys, dtype, scale)[candidates]
    of_candidate = (lost / candidate_norms).amax()
    # Each of the nine products is rounded once more when it is stored, in float16 perhaps
    # to a number below its normal range.
    unit = torch.finfo(dtype).eps / 2
    absolute = PATCH**2 * torch.finfo(dtype).smallest_normal * unit
    below = absolute / (scale**2 * query_norms * candidate_norms.amin())
    rounded = (1 + of_query) * (1 + of_candidate)
    return of_query + of_candidate * (1 + of_query) + (unit + summing) * rounded + below


def float32_error(channels: int, device: torch.device) -> float:
    """`score_error` of float32 products, which is the same for every window."""
    summing = (channels + _STEPS) * torch.finfo(torch.float32).eps
    return summing + _of_float32_products(device)


def _lost_norms(
    keys: Float[Tensor, "C h w"], dtype: torch.dtype, scale: float
) -> Float[Tensor, "rows columns"]:
    """The norm of what rounding takes from every window."""
    squares = torch.cat(
        [
            (rows - (rows * scale).to(dtype).float() / scale).square().sum(0)
            for rows in torch.split(keys, _ROWS, dim=1)
        ]
    )
    return (F.avg_pool2d(squares[None, None], PATCH, 1)[0, 0] * PATCH**2).sqrt()


def _of_float32_products(device: torch.device) -> float:
    """What products of float32 may lose where the program lets PyTorch compute them coarser."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    coarse = {"tf32": torch.finfo(torch.float16).eps, "bf16": torch.finfo(torch.bfloat16).eps}
    # Both factors are rounded, by at most half of this each; doubled for what follows.
    return 2 * coarse.get(str(backend.matmul.fp32_precision), 0.0)
