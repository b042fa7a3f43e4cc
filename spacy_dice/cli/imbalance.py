"""`spacy dice imbalance`: how imbalanced a corpus is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Optional

from . import common, dice_cli

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span

# The largest n-grams of a spancat's suggester that are looked at.
MAX_SIZE = 10


@dataclass
class LabelCount:
    """How often a label is there.

    Attributes:
        label: The label.
        n: How many examples it has: spans, texts or tokens.
        share: The share of the units (tokens or texts) that it covers, from 0 to 1.
    """

    label: str
    n: int
    share: float


@dataclass
class Imbalance:
    """One kind of annotation of a corpus.

    Attributes:
        kind: "ents", "spans:KEY", "cats" or "tags".
        unit: What a loss is a sum over: "tokens" or "texts".
        n_docs: How many documents are annotated.
        n_units: How many units they have.
        background: The share of units without a label; None where each has one.
        labels: Counts, the most frequent label first.
        losses: For each component that learns such annotation, the loss that "auto" stands for.
        coverage: The share of spans that n-grams up to a size suggest, by size.
        candidates: How many candidates such n-grams give for each gold span, by size.
    """

    kind: str
    unit: str
    n_docs: int
    n_units: int
    background: Optional[float]
    labels: list[LabelCount]
    losses: dict[str, str]
    coverage: dict[int, float] = field(default_factory=dict)
    candidates: dict[int, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Examples of the most frequent label for each of the rarest one that has any."""
        counts = [row.n for row in self.labels if row.n] or [1]
        return max(counts) / min(counts)

    def __str__(self) -> str:
        n_tokens = f", {self.n_units:,} tokens" if self.unit == "tokens" else ""
        lines = [f"{self.kind}: {self.n_docs:,} texts{n_tokens}"]
        if self.background is not None:
            lines.append(f"{100 * self.background:.1f} % of the {self.unit} have no label.")
        if len(self.labels) > 1:
            lines.append(f"The most frequent label : the rarest label = {self.ratio:,.1f} : 1.")
        rows = [(row.label, f"{row.n:,}", f"{100 * row.share:.2f} %") for row in self.labels]
        lines.append(common.as_table(["label", "examples", f"share of {self.unit}"], rows))
        if self.coverage:
            grams = [
                (str(n), f"{100 * self.coverage[n]:.0f} %", f"{self.candidates[n]:,.0f}")
                for n in self.coverage
            ]
            header = ["n-grams up to", "spans suggested", "candidates per span"]
            lines += ["", common.as_table(header, grams, n_left=0)]
        losses = list(self.losses.items())
        lines += ["", common.as_table(["component", 'loss of "auto"'], losses, n_left=2)]
        return "\n".join(lines)


@dice_cli.command("imbalance")
def imbalance_cli(
    data: Path = common.Arg(..., metavar="DATA", help=f"Training data: {common.DATA}", exists=True),
    json_path: Optional[str] = common.JSON,
    code_path: Optional[Path] = common.CODE,
    use_gpu: int = common.GPU,
) -> None:
    """
    Show how imbalanced a corpus is.

    For entities, spans, categories and tags: how often each label is there, how many of the tokens
    or texts have none, which spans the n-grams of a spancat suggest, and the loss that use_loss
    takes for "auto".

    \b
    Example:
      python -m spacy dice imbalance train.spacy
    """
    with common.one_line_errors():
        import spacy

        common.prepare(code_path, use_gpu)
        found = measure(eg.reference for eg in common.read_examples(data, spacy.blank("xx")))
        plain = [{**asdict(part), "ratio": part.ratio} for part in found]
        if not common.write_json(json_path, plain):
            print("\n\n".join(map(str, found)))


def measure(docs: "Iterable[Doc]") -> list[Imbalance]:
    """Measure how imbalanced each kind of annotation of these documents is.

    Args:
        docs: Documents with gold annotation.

    Returns:
        An `Imbalance` for each kind that the documents have: entities, spans of each key,
        categories, tags.

    Raises:
        ValueError: If the documents have no annotation of these kinds.

    Example:
        >>> import spacy
        >>> from spacy.tokens import Doc
        >>> words, ents = ["Ann", "is", "in", "Rome"], ["B-PER", "O", "O", "B-LOC"]
        >>> (found,) = measure([Doc(spacy.blank("xx").vocab, words=words, ents=ents)])
        >>> found.kind, found.background, found.ratio
        ('ents', 0.5, 1.0)
    """
    docs = list(docs)
    found = []
    with_ents = [doc for doc in docs if doc.has_annotation("ENT_IOB")]
    if any(doc.ents for doc in with_ents):
        ents = [list(doc.ents) for doc in with_ents]
        found.append(_spans("ents", with_ents, ents, ["ner", "dice_ner"]))
    for key in dict.fromkeys(key for doc in docs for key in doc.spans):
        with_key = [doc for doc in docs if key in doc.spans]
        spans = [list(doc.spans[key]) for doc in with_key]
        if any(spans):
            found.append(_spans(f"spans:{key}", with_key, spans, ["spancat", "span_finder"]))
    with_cats = [doc for doc in docs if doc.cats]
    if with_cats:
        found.append(_categories(with_cats))
    tags = [[token.tag_ for token in doc if token.tag_] for doc in docs]
    counts = Counter(tag for group in tags for tag in group)
    if counts:
        n = sum(counts.values())
        labels = _label_counts(counts, counts, n)
        n_docs = sum(map(bool, tags))
        losses = auto_losses(["tagger"], list(counts))
        found.append(Imbalance("tags", "tokens", n_docs, n, None, labels, losses))
    if not found:
        raise ValueError(
            f"The {len(docs)} documents have no entities, spans, categories or tags. Is this "
            "training data?"
        )
    return found


def auto_losses(components: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """The losses that "auto" stands for.

    Args:
        components: Names of factories.
        labels: The labels that the components have.

    Returns:
        Losses by component, in words.

    Example:
        >>> auto_losses(["spancat", "ner"], ["PER"])
        {'spancat': 'CrossEntropy()', 'ner': "spaCy's own"}
    """
    from ..switch import STOCK_TO_DICE

    by_factory = {factory: ours for ours in STOCK_TO_DICE.values() for factory in ours.factories}
    pipe = SimpleNamespace(labels=tuple(labels), add_negative_label=False)
    losses = {}
    for name in components:
        # A dice_ner has a loss of its own by default.
        spec = {"name": "DiceCE"} if name == "dice_ner" else by_factory[name].recommended(pipe)
        options = dict(spec or {})
        loss = options.pop("name", None)
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        losses[name] = f"{loss}({given})" if loss else "spaCy's own"
    return losses


def _label_counts(
    counts: Mapping[str, int], units: Mapping[str, int], n_units: int
) -> list[LabelCount]:
    rows = [LabelCount(label, n, units[label] / max(n_units, 1)) for label, n in counts.items()]
    return sorted(rows, key=lambda row: (-row.n, row.label))


def _spans(
    kind: str, docs: "list[Doc]", by_doc: "list[list[Span]]", components: list[str]
) -> Imbalance:
    n_tokens = sum(map(len, docs))
    spans = [span for group in by_doc for span in group]
    counts = Counter(span.label_ for span in spans)
    tokens: Counter[str] = Counter()
    for span in spans:
        tokens[span.label_] += len(span)
    covered = sum(len({token.i for span in group for token in span}) for group in by_doc)
    made = Imbalance(
        kind,
        "tokens",
        len(docs),
        n_tokens,
        1 - covered / n_tokens,
        _label_counts(counts, tokens, n_tokens),
        auto_losses(components, list(counts)),
    )
    if kind != "ents":
        lengths = Counter(map(len, spans))
        n_covered = n_candidates = 0
        for size in range(1, MAX_SIZE + 1):
            n_covered += lengths[size]
            n_candidates += sum(max(len(doc) - size + 1, 0) for doc in docs)
            made.coverage[size] = n_covered / len(spans)
            made.candidates[size] = n_candidates / len(spans)
    return made


def _categories(docs: "list[Doc]") -> Imbalance:
    counts: Counter[str] = Counter()
    for doc in docs:
        for label, value in doc.cats.items():
            counts[label] += bool(value and value > 0)
    n_labels = [sum(bool(value and value > 0) for value in doc.cats.values()) for doc in docs]
    exclusive = all(n == 1 for n in n_labels)
    return Imbalance(
        "cats",
        "texts",
        len(docs),
        len(docs),
        None if exclusive else n_labels.count(0) / len(docs),
        _label_counts(counts, counts, len(docs)),
        auto_losses(["textcat" if exclusive else "textcat_multilabel"], list(counts)),
    )
