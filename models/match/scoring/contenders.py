"""The candidates that may still be the best of each query while scores pass by; no search."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# More contenders than this are not compared one by one.
MOST_CONTENDERS = 16


@dataclass(frozen=True)
class Pairs:
    """Queries, as rows of the scores, with one candidate and its score each."""

    queries: Int64[Tensor, "n"]
    candidates: Int64[Tensor, "n"]
    scores: Float[Tensor, "n"]

    def only(self, keep: Tensor) -> "Pairs":
        """Those where the boolean ``keep`` (n) is true."""
        return Pairs(self.queries[keep], self.candidates[keep], self.scores[keep])


class Contenders:
    """Keeps, per query, the candidates whose score is within the slack of the best so far.

    Args:
        slack: Per query how far two scores must lie apart to be surely in the right order;
            -inf where nothing is asked.
    """

    def __init__(self, slack: Float[Tensor, "n"]) -> None:
        self._slack = slack.clone()
        self._best = torch.full_like(slack, -torch.inf)
        self._found: list[Pairs] = []
        self._held, self._tidy_at = 0, MOST_CONTENDERS * len(slack)

    def add(
        self, scores: Float[Tensor, "n rows columns"], indices: Int64[Tensor, "rows columns"]
    ) -> None:
        """Take in the scores of some candidates, which have these indices."""
        of_row = scores.amax(2)
        torch.maximum(self._best, of_row.amax(1), out=self._best)
        least = self._best - self._slack
        query, row = (of_row >= least[:, None]).nonzero(as_tuple=True)
        lines = scores[query, row]
        line, column = (lines >= least[query, None]).nonzero(as_tuple=True)
        self._found.append(Pairs(query[line], indices[row[line], column], lines[line, column]))
        self._held += len(line)
        if self._held > self._tidy_at:
            self._tidy()

    def settled(self) -> Pairs:
        """The contenders of the queries that have some and not too many.

        A best score within the slack of 0 is none: windows that are no candidates have 0.
        """
        self._tidy()
        (pairs,) = self._found
        return pairs.only((self._best > self._slack)[pairs.queries])

    def _tidy(self) -> None:
        """Drop what has been overtaken since, and queries with too many contenders."""
        pairs = Pairs(
            torch.cat([pairs.queries for pairs in self._found]),
            torch.cat([pairs.candidates for pairs in self._found]),
            torch.cat([pairs.scores for pairs in self._found]),
        )
        pairs = pairs.only(pairs.scores >= (self._best - self._slack)[pairs.queries])
        crowded = pairs.queries.bincount(minlength=len(self._slack)) > MOST_CONTENDERS
        # Nothing is within the slack of them from now on.
        self._slack[crowded] = -torch.inf
        pairs = pairs.only(~crowded[pairs.queries])
        self._found, self._held = [pairs], len(pairs.queries)
        self._tidy_at = max(self._tidy_at, 2 * self._held)
