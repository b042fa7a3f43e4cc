"""How imbalanced a corpus is, which loss to take, and what was gained on such data.

The functions behind `python -m spacy dice imbalance`.
"""

import textwrap
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Union

import numpy
from spacy.tokens import Doc, Span

from dice_core import figures
from dice_core.label_counts import MAX_ROWS, LabelCount, count_labels, label_lines, ratio

from .check import DEFAULT, NOTHING, call_in_words
from .config import CLASS_OF_FACTORY, OWN_BLOCK
from .formats import ANSWERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SIZE = 20


class Gain(NamedTuple):
    """A measured gain.

    data: What was trained on. n_labels: how many it has. stock: F1 on test before (macro for texts
    and tags, micro for spans). loss: what was trained with; * with class_weights="balanced".
    gain: points of F1, with a 95 % interval by seeds, as text. seeds: how many.
    """

    data: str
    n_labels: int
    stock: float
    loss: str
    gain: str
    seeds: int


# What docs/evidence.md and README.md say, word for word; a test compares them.
MEASURED: Dict[str, List[Gain]] = {
    "textcat_multilabel": [Gain("GoEmotions, 3,000 texts", 28, 13.5, "DiceCE*", "+14.3 ± 1.4", 5)],
    "spancat": [
        Gain("WNUT 2017, 300 sentences", 6, 0.8, "CrossEntropy*", "+8.5 ± 4.2", 5),
        Gain("NCBI Disease, 300 sentences", 1, 57.6, "CrossEntropy", "+2.8 ± 2.4", 5),
        Gain("LitBank events, 300 sentences", 1, 40.2, "CrossEntropy", "+1.6 ± 2.0", 5),
        Gain("toxic spans, 300 texts", 1, 59.6, "CrossEntropy", "-0.3 ± 1.5", 5),
    ],
    "span_finder": [Gain("toxic spans, 300 texts", 1, 53.7, "CrossEntropy", "+2.2 ± 5.1", 5)],
    "ner": [
        Gain("WNUT 2017, 300 sentences", 6, 5.6, "DiceCE", "+1.3 ± 1.7", 5),
        Gain("NCBI Disease, 300 sentences", 1, 57.7, "DiceCE", "+0.6 ± 2.2", 5),
    ],
    "dice_ner": [
        Gain("WNUT 2017, all", 6, 17.1, "DiceCE", "+2.2 ± 2.1", 5),
        Gain("NCBI Disease, 300 sentences", 1, 58.1, "DiceCE", "+2.1 ± 2.7", 5),
        Gain("NCBI Disease, all", 1, 78.1, "DiceCE", "+0.1 ± 1.7", 5),
    ],
    "textcat": [
        Gain("EDOS task C, all", 11, 16.3, "DiceCE*", "+5.1 ± 1.7", 5),
        Gain("SMS spam, 300 messages", 2, 85.3, "LogitAdjustedCE", "+1.3 ± 2.8", 5),
        Gain("EDOS task A, all", 2, 62.3, "LogitAdjustedCE", "-0.1 ± 4.5", 3),
    ],
    "tagger": [
        Gain("UD English-LinES, 300 sentences", 17, 57.8, "DiceCE", "-0.9 ± 2.0", 10),
        Gain("UD English-LinES, all", 17, 87.7, "DiceCE", "-0.8 ± 1.5", 5),
    ],
}


GAIN_WIDTH = max(len(gain.data) for gains in MEASURED.values() for gain in gains)


@dataclass
class Imbalance:
    """One kind of annotation of a corpus.

    Attributes:
        kind: "entities", "spans", "categories", "tags" or "answers".
        what: What it is, in words, with the key of spans.
        unit: What the loss is a sum over: "tokens", "candidates", "texts".
        n_docs, n_units: How many.
        labels: Counts, the most frequent label first.
        background: Share of units that have no label; None where each has one.
        exclusive: Whether each unit has just one label.
        lengths: Number of spans by their length in tokens.
        coverage: Share of spans that n-grams up to a size suggest, by size.
        candidates: Candidates for each gold span, by size.
        components: Which components learn it.
    """

    kind: str
    what: str
    unit: str
    n_docs: int
    n_units: int
    labels: List[LabelCount]
    background: Optional[float] = None
    exclusive: bool = True
    lengths: Dict[int, int] = field(default_factory=dict)
    coverage: Dict[int, float] = field(default_factory=dict)
    candidates: Dict[int, float] = field(default_factory=dict)
    components: List[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Examples of the most frequent label for each of the rarest."""
        return ratio(self.labels)

    def size_for(self, share: float = 0.95) -> int:
        """The smallest n of n-grams up to n that suggest this share of the spans."""
        total = sum(self.lengths.values())
        covered = 0
        for length in sorted(self.lengths):
            covered += self.lengths[length]
            if covered >= share * total:
                return min(length, MAX_SIZE)
        return min(max(self.lengths, default=1), MAX_SIZE)

    def to_dict(self) -> Dict[str, Any]:
        """As plain values, for JSON, with the advice."""
        return {**asdict(self), "ratio": self.ratio, "advice": advise(self)}


def measure(docs: Iterable[Doc]) -> List[Imbalance]:
    """How imbalanced each kind of annotation of these docs is.

    Args:
        docs: With their gold annotation.

    Returns:
        One `Imbalance` for each kind that the docs have: entities, each key of doc.spans, answers
        (of SQuAD), categories, tags.

    Raises:
        ValueError: If the docs have no annotation of these kinds.

    Example:
        >>> from spacy_dice.commands.formats import read_docs
        >>> for found in measure(read_docs("train.spacy")):
        ...     print(found.what, found.ratio)
    """
    docs = list(docs)
    found = []
    with_ents = [doc for doc in docs if len(doc) and doc.has_annotation("ENT_IOB")]
    if any(doc.ents for doc in with_ents):
        found.append(_entities(with_ents))
    keys = dict.fromkeys(key for doc in docs for key in doc.spans)
    for key in keys:
        if any(len(doc.spans[key]) for doc in docs if key in doc.spans):
            found.append(_spans([doc for doc in docs if key in doc.spans], key))
    with_cats = [doc for doc in docs if doc.cats]
    if with_cats:
        found.append(_categories(with_cats))
    with_tags = [doc for doc in docs if doc.has_annotation("TAG")]
    if with_tags:
        found.append(_tags(with_tags))
    if not found:
        raise ValueError(
            f"The {len(docs)} documents have no entities, spans, categories or tags. Is this "
            "training data?"
        )
    return found


def advise(found: Imbalance) -> List[Dict[str, Any]]:
    """Which loss to take, by what was measured.

    Args:
        found: Of `measure`.

    Returns:
        For each component that learns such annotation: "component"; "loss", in words; "block", of
        a config, or None; "measured", what was gained on which data, as dicts of `Gain`, "notes".
    """
    n_labels = len(found.labels)
    advice = []
    for component in found.components:
        notes = []
        measured = MEASURED.get(component, [])
        # Of one label, or of several: what is like this corpus comes first.
        alike = [gain for gain in measured if (gain.n_labels <= 2) == (n_labels <= 2)]
        others = [gain for gain in measured if gain not in alike]
        block: Optional[str]
        if component in OWN_BLOCK:
            loss, block = DEFAULT, f'[components.{component}]\nfactory = "{component}"'
        else:
            loss = _in_words_for(component, n_labels)
            block = '[initialize.after_init]\n@callbacks = "spacy_dice.use_loss.v1"'
            if loss == NOTHING:
                block = None
        if component == "spancat" and found.lengths:
            size = found.size_for()
            notes.append(
                f"n-grams up to {size} suggest {100 * found.coverage[size]:.0f} % of the spans "
                f"({found.candidates[size]:.0f} candidates for each); spaCy's default is 3 "
                f"({100 * found.coverage[3]:.0f} %)."
            )
        advice.append(
            {
                "component": component,
                "loss": loss,
                "block": block,
                "measured": [gain._asdict() for gain in alike],
                "measured_elsewhere": [gain._asdict() for gain in others],
                "notes": notes,
            }
        )
    return advice


def _in_words_for(component: str, n_labels: int) -> str:
    pipe = SimpleNamespace(labels=("x",) * n_labels, add_negative_label=False)
    spec = CLASS_OF_FACTORY[component].recommended(pipe)
    if spec is None:
        return NOTHING
    return call_in_words(spec)


# -- counting -------------------------------------------------------------------------------


def _entities(docs: Sequence[Doc]) -> Imbalance:
    n_tokens = sum(len(doc) for doc in docs)
    spans = [ent for doc in docs for ent in doc.ents]
    made = _of_spans(spans, docs, n_tokens)
    labels = count_labels(Counter(s.label_ for s in spans), _tokens_of(spans), n_tokens)
    outside = 1 - sum(len(span) for span in spans) / max(n_tokens, 1)
    return Imbalance(
        kind="entities",
        what="entities (doc.ents)",
        unit="tokens",
        n_docs=len(docs),
        n_units=n_tokens,
        labels=labels,
        background=outside,
        components=["ner", "dice_ner", "spancat"],
        **made,
    )


def _spans(docs: Sequence[Doc], key: str) -> Imbalance:
    n_tokens = sum(len(doc) for doc in docs)
    spans = [span for doc in docs for span in doc.spans[key]]
    labels = count_labels(Counter(s.label_ for s in spans), _tokens_of(spans), n_tokens)
    inside = sum(len({t.i for span in doc.spans[key] for t in span}) for doc in docs)
    answers = key == ANSWERS
    return Imbalance(
        kind="answers" if answers else "spans",
        what="answers of SQuAD" if answers else f'spans (doc.spans["{key}"])',
        unit="tokens",
        n_docs=len(docs),
        n_units=n_tokens,
        labels=labels,
        background=1 - inside / max(n_tokens, 1),
        exclusive=False,
        components=["dice_qa"] if answers else ["spancat", "span_finder"],
        **_of_spans(spans, docs, n_tokens),
    )


def _of_spans(spans: Sequence[Span], docs: Sequence[Doc], n_tokens: int) -> Dict[str, Any]:
    lengths = Counter(len(span) for span in spans)
    n_spans = max(len(spans), 1)
    doc_lengths = numpy.asarray([len(doc) for doc in docs])
    coverage, candidates = {}, {}
    for size in range(1, MAX_SIZE + 1):
        coverage[size] = sum(n for length, n in lengths.items() if length <= size) / n_spans
        grams = sum(int(numpy.maximum(doc_lengths - n + 1, 0).sum()) for n in range(1, size + 1))
        candidates[size] = grams / n_spans
    return {
        "lengths": dict(sorted(lengths.items())),
        "coverage": coverage,
        "candidates": candidates,
    }


def _categories(docs: Sequence[Doc]) -> Imbalance:
    counts: Counter = Counter()
    for doc in docs:
        for label, value in doc.cats.items():
            counts[label] += value > 0
    per_doc = [sum(value > 0 for value in doc.cats.values()) for doc in docs]
    exclusive = all(n == 1 for n in per_doc)
    return Imbalance(
        kind="categories",
        what=f"categories (doc.cats), {'one' if exclusive else 'any number'} for each text",
        unit="texts",
        n_docs=len(docs),
        n_units=len(docs),
        labels=count_labels(counts, counts, len(docs)),
        background=None if exclusive else sum(n == 0 for n in per_doc) / len(docs),
        exclusive=exclusive,
        components=["textcat"] if exclusive else ["textcat_multilabel"],
    )


def _tags(docs: Sequence[Doc]) -> Imbalance:
    counts = Counter(token.tag_ for doc in docs for token in doc if token.tag_)
    n_tokens = sum(counts.values())
    return Imbalance(
        kind="tags",
        what="tags (token.tag)",
        unit="tokens",
        n_docs=len(docs),
        n_units=n_tokens,
        labels=count_labels(counts, counts, n_tokens),
        components=["tagger"],
    )


def _tokens_of(spans: Iterable[Span]) -> Dict[str, int]:
    tokens: Counter = Counter()
    for span in spans:
        tokens[span.label_] += len(span)
    return tokens


# -- saying it ------------------------------------------------------------------------------


def as_text(found: Imbalance) -> str:
    """What `measure` found of one kind of annotation, on 80 columns."""
    lines = [f"{found.what}: {found.n_docs:,} texts"]
    if found.unit == "tokens":
        lines[0] += f", {found.n_units:,} tokens"
    if found.background is not None:
        of = {"texts": "texts without any", "tokens": "tokens outside of all"}[found.unit]
        lines.append(f"  {100 * found.background:.1f} % {of}")
    lines += label_lines(found.labels, found.unit)
    if found.lengths:
        lines += ["", *_length_lines(found)]
    return "\n".join(lines)


def _length_lines(found: Imbalance) -> List[str]:
    sizes = sorted({1, 2, 3, 5, 8, found.size_for()})
    cells = [
        ("n-grams up to", [str(size) for size in sizes]),
        ("spans suggested", [f"{100 * found.coverage[size]:.0f} %" for size in sizes]),
        ("candidates a span", [f"{found.candidates[size]:,.0f}" for size in sizes]),
    ]
    longest = max(found.lengths)
    return [
        f"  lengths from {min(found.lengths)} to {longest} tokens",
        *(f"  {name:18}" + "".join(f"{value:>8}" for value in values) for name, values in cells),
    ]


def advice_as_text(found: Imbalance) -> str:
    """What `advise` says, on 80 columns."""
    lines = []
    for advice in advise(found):
        lines.append(f"{advice['component']}: {advice['loss']}")
        lines += [f"  {note}" for note in advice["notes"]]
        base = "cross-entropy" if advice["component"] in OWN_BLOCK else "spaCy's own loss"
        gained, elsewhere = (
            f"F1 on test, {base}, and what was gained",
            "on corpora less like this one",
        )
        if not advice["measured"]:
            elsewhere = f"{gained} {elsewhere}"
        for what, heading in (
            ("measured", gained),
            ("measured_elsewhere", f"{elsewhere}, by the number of labels"),
        ):
            if advice[what]:
                lines.append(f"  {heading}:")
                lines += [
                    f"    {gain['data']:{GAIN_WIDTH}} {gain['stock']:>5}  {gain['gain']:>12}  "
                    f"{gain['seeds']:>2} seeds  {gain['loss']}"
                    for gain in advice[what]
                ]
    if any(line.endswith("*") for line in lines):
        lines.append('(* with class_weights = "balanced")')
    return "\n".join(wrapped for line in lines for wrapped in _wrap(line))


def _wrap(line: str) -> List[str]:
    indent = " " * (len(line) - len(line.lstrip()))
    if len(line) <= 80:
        return [line]
    return textwrap.wrap(line.strip(), 80, initial_indent=indent, subsequent_indent=indent + "  ")


def plot(found: Sequence[Imbalance], path: Union[str, Path]) -> None:
    """Draw the counts of labels, and span lengths with what n-grams suggest of them.

    Args:
        found: Of `measure`.
        path: A PNG, or what else its name ends in.

    Raises:
        ImportError: Without matplotlib; it names the extra.
    """
    n_columns = 2 if any(part.lengths for part in found) else 1
    height = sum(_height(part) for part in found)
    figure = figures.new(5.5 * n_columns, height)
    grid = figure.subplots(
        len(found),
        n_columns,
        squeeze=False,
        gridspec_kw={"height_ratios": [_height(part) for part in found]},
    )
    for axes, part in zip(grid, found):
        _plot_labels(axes[0], part)
        if n_columns == 2:
            if part.lengths:
                _plot_lengths(axes[1], part)
            else:
                axes[1].axis("off")
    figures.save(figure, path)


def _height(part: Imbalance) -> float:
    return max(2.6, 1.2 + 0.24 * min(len(part.labels), MAX_ROWS))


def _plot_labels(ax: "Axes", part: Imbalance) -> None:
    rows = part.labels[:MAX_ROWS]
    counts = [row.n for row in rows]
    ax.barh(range(len(rows)), counts, color="0.6", edgecolor="0.2")
    ax.set_yticks(range(len(rows)), [row.label for row in rows])
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(0.8, max([1, *counts]) * 6)
    for y, row in enumerate(rows):
        ax.text(max(row.n, 0.9) * 1.15, y, f"{row.n:,}", va="center", fontsize="small")
    ax.set_xlabel("examples (log scale)")
    title = part.what
    if part.background is not None:
        title += f"\n{100 * part.background:.1f} % of {part.unit} have none"
    ax.set_title(title, fontsize="medium")


def _plot_lengths(ax: Any, part: Imbalance) -> None:
    sizes = list(part.coverage)
    total = sum(part.lengths.values())
    shares = [100 * part.lengths.get(size, 0) / total for size in sizes]
    ax.bar(sizes, shares, color="0.8", edgecolor="0.2", label="spans of this length")
    ax.plot(
        sizes,
        [100 * part.coverage[size] for size in sizes],
        "o-",
        color="black",
        markersize=4,
        label="suggested by n-grams up to it",
    )
    ax.set(xlabel="tokens", ylabel="% of spans", ylim=(0, 105))
    ax.set_xlim(0.4, min(max(part.lengths) + 1.6, MAX_SIZE + 0.6))
    ax.legend(fontsize="small", loc="center right")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title("span lengths, and the suggester", fontsize="medium")
