"""The loss of whole entities."""

from typing import TYPE_CHECKING, Tuple

from .. import arrays, formulas, tags
from ..arrays import Array, namespace
from ..labels import LabelSpec
from ..slopes import Slope
from ..targets import Targets
from ..views import View
from .base import Loss

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..options import Reading


class EntityDice(Loss):
    """1 - soft F-beta over whole entities, times the number of rows: for BILUO, BIOES and BIO.

    An entity is found with the probability that its tags are predicted exactly: the product of
    p(gold tag) over its tokens or, with a CRF, the marginal of its span. The expected number of
    predictions E is the sum of p over tags that start one. With G gold entities,
    F = ((1 + beta^2) sum of P + smooth) / (E + beta^2 G + smooth). Entities with a token of
    missing annotation are left out. For use beside a cross-entropy (see Compound).

    Args:
        smooth: Added above and below, from 0 on.
        beta: From 0 on; above 1 recall weighs more.
        log: -log F instead of 1 - F.

    Raises:
        ValueError: For options out of range, and for labels that are no tags of entities.
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        beta: float = 1.0,
        log: bool = False,
        **reading: "Unpack[Reading]",
    ):
        super().__init__(**reading)
        self.smooth = self.read_number("smooth", smooth)
        self.beta = self.read_number("beta", beta)
        self.log = self.read_flag("log", log)

    @property
    def collapses(self) -> bool:
        return True

    @property
    def set_level(self) -> bool:
        return True

    def check(self, spec: LabelSpec) -> None:
        super().check(spec)
        if spec.names is None:
            raise spec.config_error("EntityDice needs the tag of each column. Pass names=[...].")
        if not spec.sequence or not tags.is_scheme(spec.names):
            raise spec.config_error(
                "EntityDice needs a head of tags of entities over tokens (BILUO, BIOES or BIO), as "
                "dice_ner and Flair's SequenceTagger have. Use another loss here, e.g. DiceCE."
            )

    def of_counts(self, found: Array, expected: Array, n_gold: Array) -> Tuple[Array, Array, Array]:
        """1 - F or -log F, and its derivatives by ``found`` and by ``expected``, for arrays.

        Args:
            found: The sum over gold entities of the probability to predict each exactly.
            expected: The expected number of predictions.
            n_gold: The number of gold entities.
        """
        factor = 1 + self.beta**2
        alpha, beta = 1 / factor, self.beta**2 / factor
        return formulas.overlap(
            found, expected, n_gold, alpha, beta, self.smooth / factor, self.log
        )

    def gold_paths(self, targets: Targets) -> Tuple[tags.Scheme, tags.Paths]:
        """The tags, and the cells of gold entities."""
        assert targets.spec.names is not None
        scheme, ids = tags.Scheme(targets.spec.names), targets.best_ids()
        return scheme, scheme.gold_paths(ids, targets.lengths or [len(ids)])

    def compute_loss(self, view: View, targets: Targets) -> Tuple[Array, Slope]:
        # Probabilities are asked for in blocks: those of sigmoids are made of logits.
        xp, like = namespace(view.like), view.like
        scheme, paths = self.gold_paths(targets)
        n_classes, device = like.shape[1], like.device
        flat = xp.asarray(paths.rows * n_classes + paths.columns, device=device)
        which = xp.asarray(paths.ids, device=device)
        log_p = view.cells(flat).log_p()
        signs = arrays.like(paths.signs, like)
        found = xp.exp(arrays.sum_by(log_p, which, len(paths.signs))) * signs
        starts = arrays.like(scheme.starts.astype("float32"), like)
        known, blocks = _known_rows(targets, like), list(arrays.blocks(like))
        of_rows = arrays.full_like(known, 0.0)
        for rows in blocks:
            of_rows[rows] = view.rows(rows).p @ starts
        expected = known @ of_rows
        n_gold = arrays.like(float(paths.n_spans), like)
        counts = targets.whole(xp.stack([xp.sum(found), expected, n_gold]))
        value, by_found, by_expected = self.of_counts(counts[0], counts[1], counts[2])
        n = targets.n_rows()
        whole = targets.whole(n)
        # d P / d log p = P for each cell of a path.
        cells = arrays.sum_by(xp.take(found, which), flat, like.shape[0] * n_classes)
        cells *= whole * by_found
        cells = xp.reshape(cells, like.shape)
        of_start = (known * (whole * by_expected))[:, None]
        for rows in blocks:
            part, factors = view.rows(rows), of_start[rows, :] * starts
            cells[rows, :] = arrays.add_product(cells[rows, :], factors, part.p)
            if view.activation == "sigmoid":
                cells[rows, :] *= part.q()
        return n * value, Slope(cells=cells)


def _known_rows(targets: Targets, like: Array) -> Array:
    """``(N,)``: how much each row counts."""
    if targets.mask is not None:
        return namespace(like).max(targets.known(), axis=1)
    return arrays.full_like(like[:, 0], 1.0) if targets.weights is None else targets.weights
