"""Marginals of a linear-chain CRF, by forward-backward, as a head that losses read.

Scores are Flair's: features ``(B, L, T, T)``, the emission of a token and tag plus the transition
to that tag, ``[to, from]``, of sentences padded at their ends. T counts <START> and <STOP>.
"""

from typing import NamedTuple, Sequence, Tuple

import numpy
import torch
from torch import Tensor

from dice_core.options import Activation
from dice_core.tags import Paths
from dice_core.views import View

from .heads import torch_view, widen


class Chain(NamedTuple):
    """Log-probabilities, each token's up to a constant, so that they stay near 0 in sentences of
    any length. before, after: ``(B, L, T)``, of all that leads to a tag, its own emission
    included, and of all that follows it. going_on: ``(B, L, T)``, for a token but the last, the
    log of the sum over the next tag of feature times ``after``, by this token's tag. log_z:
    ``(B,)``, of everything, with all constants.
    """

    before: Tensor
    after: Tensor
    going_on: Tensor
    log_z: Tensor


def forward_backward(
    features: Tensor, mask: Tensor, transitions: Tensor, start: int, stop: int
) -> Chain:
    """features: ``(B, L, T, T)``; mask: bools ``(B, L)``, true at tokens; transitions ``(T, T)``.

    Values at padding mean nothing, but are finite.
    """
    length = features.shape[1]
    steps = features.unbind(dim=1)  # not features[:, t], whose gradients are as large as features
    known = mask.unbind(dim=1)
    before = steps[0][:, :, start]
    after = transitions[stop].expand_as(before)
    befores, afters, going_ons = [before], [after], [after]
    constant = before.new_zeros(len(before))
    for t in range(1, length):
        is_token = known[t][:, None]
        new = torch.logsumexp(steps[t] + before[:, None], dim=2)
        highest = new.detach().amax(dim=1, keepdim=True)
        before = torch.where(is_token, new - highest, before)
        constant = constant + torch.where(is_token, highest, 0.0)[:, 0]
        befores.append(before)
        t = length - t
        new = torch.logsumexp(steps[t] + after[:, :, None], dim=1)
        going_ons.append(new)
        highest = new.detach().amax(dim=1, keepdim=True)
        after = torch.where(known[t][:, None], new - highest, after)
        afters.append(after)
    log_z = constant + torch.logsumexp(before + transitions[stop], dim=1)
    return Chain(
        torch.stack(befores, dim=1),
        torch.stack(afters[::-1], dim=1),
        torch.stack(going_ons[::-1], dim=1),
        log_z,
    )


class ChainHead:
    """A CRF's scores of a batch. Rows are its tokens, sentence by sentence.

    scores: Flair's triple of features, lengths ``(B,)`` (none of them 0) and
    transitions. gold: long ``(N,)``, the tag of each row. columns: the tags that rows can have,
    which are all but ``start`` and ``stop``. logits: floats ``(N, C)``, the logarithms of their
    marginals. gold_columns: ``(N,)``, the gold tags as columns of these.
    """

    activation: Activation = "softmax"

    def __init__(
        self,
        scores: Tuple[Tensor, Tensor, Tensor],
        gold: Tensor,
        columns: Sequence[int],
        start: int,
        stop: int,
    ):
        features, lengths, self._transitions = widen(scores[0]), scores[1], widen(scores[2])
        self._gold, self._start, self._stop = gold, start, stop
        device = features.device
        mask = torch.arange(features.shape[1])[None] < lengths.cpu()[:, None]
        self._sentence, self._token = (index.to(device) for index in mask.nonzero(as_tuple=True))
        self._features = features
        self._chain = forward_backward(
            features, mask.to(device), self._transitions, self._start, self._stop
        )
        self._columns = torch.tensor(columns, device=device)
        column_of = gold.new_full((features.shape[2],), -1)
        column_of[self._columns] = torch.arange(len(columns), device=device)
        self.gold_columns = column_of[gold]
        log_marginals = (self._chain.before + self._chain.after)[self._sentence, self._token]
        self.logits = log_marginals[:, self._columns]

    def view(self) -> View:
        """The probabilities."""
        return torch_view(self.logits, self.activation)

    def negative_log_likelihood(self) -> Tensor:
        """Of the gold tags, summed over sentences: what Flair's ViterbiLoss is."""
        first = self._token == 0
        last = torch.ones_like(first)
        last[:-1] = first[1:]
        from_tag = torch.where(first, self._start, self._gold.roll(1))
        steps = self._features[self._sentence, self._token, self._gold, from_tag]
        ends = self._transitions[self._stop, self._gold[last]]
        return self._chain.log_z.sum() - steps.sum() - ends.sum()

    def path_probabilities(self, paths: Paths) -> Tensor:
        """Of spans: the marginal probability that the tags of a path's rows are its own."""
        device = self._features.device
        cells = torch.from_numpy(numpy.stack([paths.rows, paths.columns, paths.ids])).to(device)
        rows, path, tags = cells[0], cells[2], self._columns[cells[1]]
        first = torch.ones_like(path, dtype=torch.bool)
        first[1:] = path[1:] != path[:-1]
        sentence, token = self._sentence[rows], self._token[rows]
        # The first tag's marginal times the probability of each next tag given the one before.
        # Both are near 0 as logarithms; differences of whole sequences' scores would cancel.
        given = self._chain.going_on[sentence, token - 1, tags.roll(1)]
        step = self._features[sentence, token, tags, tags.roll(1)]
        step = step + self._chain.after[sentence, token, tags] - given
        marginals = torch.log_softmax(self.logits, dim=1)
        scores = torch.where(first, marginals[rows, cells[1]], step)
        return scores.new_zeros(len(paths.signs)).index_add(0, path, scores).exp()
