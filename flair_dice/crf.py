"""A linear-chain CRF as a head that losses read: its likelihood, and marginals of tokens and spans
by forward-backward.

Scores are Flair's: features ``(B, L, T, T)``, the emission of a token and tag plus the transition
to that tag, ``[to, from]``, of sentences padded at their ends. T counts <START> and <STOP>.
"""

from typing import NamedTuple, Optional, Sequence, Tuple, cast

import numpy
import torch
from torch import Tensor

from dice_core import losses as core
from dice_core.arrays import Array
from dice_core.losses import BoundLoss
from dice_core.losses.entity import gold_paths
from dice_core.probabilities import Probabilities
from dice_core.tags import Paths
from dice_core.targets import Targets

from .heads import Head, closed_form, read_logits, widen


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


class ChainHead(Head):
    """A CRF's scores of a batch. Rows are its tokens, sentence by sentence.

    CrossEntropy is its negative log-likelihood, EntityDice is over its span marginals, and all
    other losses are over its token marginals.

    Args:
        scores: Flair's triple of features, lengths ``(B,)`` (none of them 0) and transitions.
        gold: Ints ``(N,)``, the tag of each row.
        columns: The tags that rows can have, which are all but ``start`` and ``stop``.
        start: The tag before the first token.
        stop: The tag after the last one.

    Attributes:
        logits: Floats ``(N, C)``, the logarithms of the marginals of these columns.
        gold: Ints ``(N,)``, the gold tags as columns.
        lengths: Rows of each sentence.
    """

    def __init__(
        self,
        scores: Tuple[Tensor, Tensor, Tensor],
        gold: Tensor,
        columns: Sequence[int],
        start: int,
        stop: int,
    ):
        features, lengths, self._transitions = widen(scores[0]), scores[1], widen(scores[2])
        self._tags, self._start, self._stop = gold, start, stop
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
        self.gold, self.lengths = column_of[gold], lengths.tolist()
        log_marginals = (self._chain.before + self._chain.after)[self._sentence, self._token]
        self.logits = log_marginals[:, self._columns]
        # Computed once for the totals and the loss of a batch.
        self._read: Optional[Probabilities] = None
        self._counted: Optional[Tuple[Tensor, Tensor]] = None

    def totals(self, bound: BoundLoss, targets: Targets) -> Tensor:
        probabilities = self._probabilities(targets)
        found = [self.logits.new_zeros(0)]
        for loss, _, own in bound.parts(targets.n_classes):
            if isinstance(loss, core.EntityDice):
                counts, n_gold = self._entities(targets)
                n_rows = cast(Tensor, targets.n_rows())
                found.append(torch.stack([*counts.detach(), n_gold, n_rows]))
            elif own.stop > own.start:
                found.append(cast(Tensor, loss.totals(probabilities, targets)))
        return torch.cat(found)

    def loss(self, bound: BoundLoss, targets: Targets, totals: Tensor) -> Tensor:
        probabilities = self._probabilities(targets)
        value = 0.0 * self.logits.sum()
        for loss, weight, own in bound.parts(targets.n_classes):
            if not weight:
                continue
            if type(loss) is core.CrossEntropy:
                term = self._negative_log_likelihood()
            elif isinstance(loss, core.EntityDice):
                term = self._entity_loss(loss, targets, totals[own])
            else:
                term = closed_form(
                    self.logits, BoundLoss(loss), probabilities, targets, totals[own]
                )
            value = value + weight * term
        return value

    def _probabilities(self, targets: Targets) -> Probabilities:
        if self._read is None:
            self._read = read_logits(self.logits, "softmax", targets)
            self._read.reusable = False  # each term reads them
        return self._read

    def _entities(self, targets: Targets) -> Tuple[Tensor, Tensor]:
        """Of entities how many are found and expected, ``(2,)`` with a gradient, and gold."""
        if self._counted is not None:
            return self._counted
        scheme, paths = gold_paths(targets)
        found = self._path_probabilities(paths)
        found = found @ found.new_tensor(paths.signs)
        p = self.logits.softmax(dim=1)
        expected = p[:, torch.from_numpy(scheme.starts).to(p.device)].sum()
        self._counted = torch.stack([found, expected]), p.new_tensor(float(paths.n_spans))
        return self._counted

    def _entity_loss(self, loss: core.EntityDice, targets: Targets, totals: Tensor) -> Tensor:
        """The share of these rows of the value, with the gradient of that of the set."""
        counts, _ = self._entities(targets)
        value, *slopes = (cast(Tensor, x) for x in loss.coefficient(cast(Array, totals)))
        change = totals[3] * (torch.stack(slopes) @ (counts - counts.detach()))
        return cast(Tensor, targets.n_rows()) * value + change

    def _negative_log_likelihood(self) -> Tensor:
        """Of the gold tags, summed over sentences: what Flair's ViterbiLoss is."""
        first = self._token == 0
        last = torch.ones_like(first)
        last[:-1] = first[1:]
        from_tag = torch.where(first, self._start, self._tags.roll(1))
        steps = self._features[self._sentence, self._token, self._tags, from_tag]
        ends = self._transitions[self._stop, self._tags[last]]
        return self._chain.log_z.sum() - steps.sum() - ends.sum()

    def _path_probabilities(self, paths: Paths) -> Tensor:
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
