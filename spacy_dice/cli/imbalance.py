"""`spacy dice imbalance`: how imbalanced a corpus is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Optional

from . import common, dice_cli

if TYPE_CHECKING:
    from spacy.tokens import Doc

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
    or texts have none, which spans the n-grams of a spancat suggest, and the loss that "auto"
    stands for in use_loss.

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
        found.append(_spans(with_ents, None, ["ner", "dice_ner"]))
    for key in dict.fromkeys(key for doc in docs for key in doc.spans):
        with_key = [doc for doc in docs if key in doc.spans]
        if any(doc.spans[key] for doc in with_key):
            found.append(_spans(with_key, key, ["spancat", "span_finder"]))
    with_cats = [doc for doc in docs if doc.cats]
    if with_cats:
        cats = [{k: int(bool(v and v > 0)) for k, v in doc.cats.items()} for doc in with_cats]
        exclusive = all(sum(values.values()) == 1 for values in cats)
        background = sum(not any(values.values()) for values in cats) / len(cats)
        factory = "textcat" if exclusive else "textcat_multilabel"
        labels = [(label, n, n) for values in cats for label, n in values.items()]
        size = (len(cats), len(cats), None if exclusive else background)
        found.append(_imbalance("cats", "texts", *size, labels, [factory]))
    tags = [[token.tag_ for token in doc if token.tag_] for doc in docs]
    labels = [(tag, 1, 1) for doc_tags in tags for tag in doc_tags]
    if labels:
        size = (sum(map(bool, tags)), len(labels), None)
        found.append(_imbalance("tags", "tokens", *size, labels, ["tagger"]))
    if not found:
        raise ValueError(
            f"The {len(docs)} documents have no entities, spans, categories or tags. Is this "
            "training data?"
        )
    return found


def _spans(docs: "list[Doc]", key: Optional[str], factories: list[str]) -> Imbalance:
    """key: That of ``doc.spans``, None for entities."""
    by_doc = [list(doc.ents if key is None else doc.spans[key]) for doc in docs]
    spans = [span for doc_spans in by_doc for span in doc_spans]
    n_tokens = sum(map(len, docs))
    covered = sum(len({token.i for span in spans for token in span}) for spans in by_doc)
    labels = [(span.label_, 1, len(span)) for span in spans]
    size = (len(docs), n_tokens, 1 - covered / n_tokens)
    kind = "ents" if key is None else f"spans:{key}"
    made = _imbalance(kind, "tokens", *size, labels, factories)
    if key is not None:
        lengths = Counter(map(len, spans))
        n_covered = n_candidates = 0
        for length in range(1, MAX_SIZE + 1):
            n_covered += lengths[length]
            n_candidates += sum(max(len(doc) - length + 1, 0) for doc in docs)
            made.coverage[length] = n_covered / len(spans)
            made.candidates[length] = n_candidates / len(spans)
    return made


def _imbalance(
    kind: str,
    unit: str,
    n_docs: int,
    n_units: int,
    background: Optional[float],
    labels: list[tuple[str, int, int]],
    factories: list[str],
) -> Imbalance:
    """labels: Labels, how many examples of them, and how many units these cover."""
    examples: Counter[str] = Counter()
    units: Counter[str] = Counter()
    for label, n, size in labels:
        examples[label] += n
        units[label] += size
    counts = [LabelCount(label, n, units[label] / n_units) for label, n in examples.items()]
    counts.sort(key=lambda count: (-count.n, count.label))
    losses = {factory: _auto_loss(factory, tuple(examples)) for factory in factories}
    return Imbalance(kind, unit, n_docs, n_units, background, counts, losses)


def _auto_loss(factory: str, labels: tuple[str, ...]) -> str:
    """The loss that "auto" stands for, in words."""
    from ..switch import STOCK_TO_DICE

    if factory == "dice_ner":  # It has a loss of its own by default.
        return "DiceCE()"
    (ours,) = (ours for ours in STOCK_TO_DICE.values() if factory in ours.factories)
    spec = ours.recommended(SimpleNamespace(labels=labels, add_negative_label=False))
    if not spec:
        return "spaCy's own"
    options = ", ".join(f"{key}={value!r}" for key, value in spec.items() if key != "name")
    return f"{spec['name']}({options})"
