"""The loss of whole entities."""

from dataclasses import dataclass
from typing import List, Optional, Tuple

from .. import arrays, formulas, tags
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..probabilities import Probabilities
from ..slopes import Slope
from ..targets import Targets
from .base import Loss


@dataclass(frozen=True, kw_only=True)
class EntityDice(Loss):
    """1 - soft F-beta over whole entities, times the number of rows: for BILUO, BIOES and BIO.

    An entity is found with the probability that its tags are predicted exactly: the product of
    p(gold tag) over its tokens or, with a CRF, the marginal of its span. The expected number of
    predictions E is the sum of p over tags that start one. With G gold entities,
    F = ((1 + beta^2) sum of P + smooth) / (E + beta^2 G + smooth). Rows of unknown tags are
    skipped, such as the later pieces of a word; an entity that is not whole without them is left
    out. Combine it with a cross-entropy (see Compound).

    Args:
        smooth: Added above and below, from 0 on.
        beta: From 0 on; above 1 recall weighs more.
        log: -log F instead of 1 - F; needs smooth above 0.

    Raises:
        ValueError: For options out of range, and for labels that are no tags of entities.
    """

    smooth: float = 1.0
    beta: float = 1.0
    log: bool = False

    trains_alone = False

    def check_options(self) -> None:
        self.set_number("smooth")
        self.set_number("beta")
        self.set_flag("log")
        if self.log and not self.smooth:
            self.refuse("log=True needs smooth above 0: without it, -log of 0 is infinite.")

    @property
    def counts_over_batch(self) -> bool:
        return True

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if spec.names is None and spec.sequence:
            raise spec.config_error("EntityDice needs the tag of each column. Pass names=[...].")
        if not spec.sequence or not tags.is_scheme(spec.names or ()):
            raise spec.config_error(
                "EntityDice needs a head of tags of entities over tokens (BILUO, BIOES or BIO), as "
                "dice_ner and Flair's SequenceTagger have. Use another loss here, e.g. DiceCE."
            )

    def blocks(self, probabilities: Probabilities, targets: Targets) -> Optional[List[slice]]:
        most_rows = arrays.blocks(probabilities.like)[0].stop
        return targets.documents(most_rows)

    def n_totals(self, n_classes: int) -> int:
        return 4

    def totals(self, probabilities: Probabilities, targets: Targets) -> Array:
        """Entities found, expected and gold, and the number of rows."""
        xp, like = namespace(probabilities.like), probabilities.like
        scheme, paths = gold_paths(targets)
        found, _, _ = self._found(probabilities, paths)
        expected = targets.known_rows() @ (probabilities.p @ _starts(scheme, like))
        n_gold = arrays.like(float(paths.n_spans), like)
        return xp.stack([xp.sum(found), expected, n_gold, targets.n_rows()])

    def coefficient(self, totals: Array) -> Tuple[Array, Array, Array]:
        """1 - F or -log F, and its derivatives by what is found and by what is expected.

        Args:
            totals: ``(4,)``, as `totals` gives.
        """
        factor = 1 + self.beta**2
        alpha, beta, smooth = 1 / factor, self.beta**2 / factor, self.smooth / factor
        return formulas.overlap(totals[0], totals[1], totals[2], alpha, beta, smooth, self.log)

    def value_and_slope(
        self, probabilities: Probabilities, targets: Targets, totals: Array
    ) -> Tuple[Array, Slope]:
        xp, like = namespace(probabilities.like), probabilities.like
        scheme, paths = gold_paths(targets)
        found, flat, which = self._found(probabilities, paths)
        value, by_found, by_expected = self.coefficient(totals)
        n = totals[3]
        # d P / d log p = P for each cell of a path.
        cells = arrays.sum_by(xp.take(found, which), flat, like.shape[0] * like.shape[1])
        cells *= n * by_found
        cells = xp.reshape(cells, like.shape)
        factors = n * by_expected * _starts(scheme, like)
        cells = arrays.add_product(cells, factors, probabilities.p)
        if probabilities.activation == "sigmoid":
            cells *= probabilities.q()
        return targets.n_rows() * value, Slope(cells=cells)

    def _found(self, probabilities: Probabilities, paths: tags.Paths) -> Tuple[Array, Array, Array]:
        """Of each path its probability, with its sign; and the cells of paths, flat, and whose
        they are.
        """
        xp, like = namespace(probabilities.like), probabilities.like
        flat = xp.asarray(paths.rows * like.shape[1] + paths.columns, device=arrays.device(like))
        which = xp.asarray(paths.ids, device=arrays.device(like))
        log_p = probabilities.cells(flat).log_p()
        signs = arrays.like(paths.signs, like)
        return xp.exp(arrays.sum_by(log_p, which, len(paths.signs))) * signs, flat, which


def gold_paths(targets: Targets) -> Tuple[tags.Scheme, tags.Paths]:
    """The tags, and the cells of gold entities."""
    assert targets.spec.names is not None
    if targets.weights is not None:
        weights = arrays.to_numpy(targets.weights)
        if ((weights != 0) & (weights != 1)).any():
            raise targets.spec.config_error(
                "EntityDice counts whole entities, so that their rows have no weights of their "
                "own. Leave sample_weight out."
            )
    scheme, ids = tags.Scheme(targets.spec.names), targets.best_ids()
    lengths = [len(ids)] if targets.lengths is None else targets.lengths
    return scheme, scheme.gold_paths(ids, lengths)


def _starts(scheme: tags.Scheme, like: Array) -> Array:
    return arrays.like(scheme.starts.astype("float32"), like)
