"""`spacy dice compare`: two pipelines side by side, or two sets of pipelines by seed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy

from . import common, dice_cli

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.training import Example

LEVEL = 95
CHUNK = 250
NOTHING, BOUNDARIES = "(nothing)", "(other boundaries)"
SIDE = "Folder or package of a trained pipeline; several, separated by commas, are seeds of one"

# First and last gold token (exclusive) and label; the tokens are 0 and 0 for the text as such.
Item = tuple[int, int, str]


class Found(NamedTuple):
    """The items of one document: those that are right, and those of one pipeline."""

    gold: set[Item]
    predicted: set[Item]


# By kind of annotation, a document each; None where the gold document is not annotated.
Reading = dict[str, list[Optional[Found]]]


@dataclass
class Row:
    """The scores of one label, or of all.

    Attributes:
        label: The label, "all (micro)" or "all (macro)".
        n: How many gold items it has.
        a: "p", "r" and "f" of the first side from 0 to 1, the mean over its pipelines.
        b: The same of the second side.
        difference: F1 of the second side less that of the first.
        low: The lower end of the 95 % interval of the difference.
        high: The upper end.
        significant: Whether the interval leaves 0 out.
    """

    label: str
    n: int
    a: dict[str, float]
    b: dict[str, float]
    difference: float
    low: float
    high: float
    significant: bool


@dataclass
class Confusion:
    """How often an item was predicted as another, the mean over the pipelines of a side.

    Attributes:
        gold: The gold label; "(nothing)" where there is no gold item.
        predicted: The predicted label; "(nothing)" where there is none, "(other boundaries)"
            where the label is right.
        a: How often the first side does so.
        b: How often the second side does so.
    """

    gold: str
    predicted: str
    a: float
    b: float


@dataclass
class Task:
    """One kind of annotation.

    Attributes:
        kind: "ents", "spans:KEY", "cats" or "tags".
        n_docs: How many documents have gold annotation of this kind.
        rows: All pooled (micro), the mean over labels with gold items (macro), then each label,
            the most frequent first.
        confusions: What is predicted wrong and as what, the most frequent first.
    """

    kind: str
    n_docs: int
    rows: list[Row]
    confusions: list[Confusion]


@dataclass
class Comparison:
    """What `compare` found.

    Attributes:
        n_a: How many pipelines the first side has.
        n_b: How many the second has.
        tasks: By kind of annotation.
    """

    n_a: int
    n_b: int
    tasks: list[Task]

    def __str__(self) -> str:
        tables = [_as_text(task) for task in self.tasks]
        return "\n\n".join([*tables, f"* The interval leaves 0 out.\n{self.scope}"])

    @property
    def scope(self) -> str:
        """What the intervals are about."""
        if self.n_a > 1 and self.n_b > 1:
            return f"Intervals are over texts and seeds (A: {self.n_a}, B: {self.n_b})."
        return (
            "Intervals are over texts alone: other seeds of the training are not in them.\n"
            "Train with several, and give the pipelines separated by commas."
        )

    def to_dict(self) -> dict[str, object]:
        """Return plain values, for common.JSON."""
        return {"level": LEVEL, "scope": self.scope, **asdict(self)}


@dice_cli.command("compare")
def compare_cli(
    model_a: str = common.Arg(..., metavar="A", help=SIDE),
    model_b: str = common.Arg(..., metavar="B", help="The same, of what it is compared with"),
    data: Path = common.Arg(
        ..., metavar="DATA", help=f"Texts that none was trained on: {common.DATA}", exists=True
    ),
    samples: int = common.Opt(2000, "--samples", "-n", min=100, help="Samples of the bootstrap"),
    seed: int = common.Opt(0, "--seed", help="Seed of the bootstrap"),
    json_path: Optional[str] = common.JSON,
    code_path: Optional[Path] = common.CODE,
    use_gpu: int = common.GPU,
) -> None:
    """
    Compare two pipelines, by label.

    For entities, spans, categories and tags: precision, recall and F1 of both as in 'spacy
    evaluate', the difference with a 95 % interval (bootstrap over texts, and over seeds where
    several pipelines are given), and which labels are confused.

    \b
    Examples:
      python -m spacy dice compare stock/model-best dice/model-best test.spacy
      python -m spacy dice compare stock-0/model-best,stock-1/model-best \\
          dice-0/model-best,dice-1/model-best test.spacy --json comparison.json
    """
    with common.one_line_errors():
        from spacy.util import load_model

        common.prepare(code_path, use_gpu)
        sides = [_split(names) for names in (model_a, model_b)]
        a, b = (map(load_model, names) for names in sides)
        found = compare(
            a, b, lambda nlp: common.read_examples(data, nlp), samples=samples, seed=seed
        )
        if not common.write_json(json_path, {"a": sides[0], "b": sides[1], **found.to_dict()}):
            print(f"A: {', '.join(sides[0])}\nB: {', '.join(sides[1])}\n\n{found}")


def _split(names: str) -> list[str]:
    if Path(names).exists():
        return [names]
    found = [name.strip() for name in names.split(",")]
    if len(set(found)) < len(found):
        raise ValueError(f"{names}: a pipeline is named twice. Each must be of a seed of its own.")
    return found


def compare(
    side_a: "Iterable[Language]",
    side_b: "Iterable[Language]",
    corpus: "Callable[[Language], Iterable[Example]]",
    *,
    samples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two pipelines, or two sets of pipelines that differ by seed alone, on the same texts.

    The intervals are of a hierarchical bootstrap: each sample draws pipelines of each side and
    documents, the same for both sides. The deviation of a side's pipelines from their mean is
    widened by sqrt(n / (n - 1)), without which few seeds seem to agree more than they do. One
    pipeline a side leaves documents alone.

    Args:
        side_a: Trained pipelines. Each is read once, so that they may be loaded one by one.
        side_b: Others.
        corpus: What gives each pipeline its examples, such as `spacy.training.Corpus`.
        samples: How many samples are drawn.
        seed: Seed of the drawing.

    Returns:
        A `Comparison`, with a `Task` for each kind of annotation that all pipelines predict and
        the documents have: entities, spans by key, categories, tags.

    Raises:
        ConfigValidationError: If there is no such kind.

    Example:
        >>> from spacy.training import Corpus
        >>> print(compare([stock], [ours], Corpus("test.spacy")))  # doctest: +SKIP
    """
    from ..errors import config_error

    sides = [[_read(nlp, list(corpus(nlp))) for nlp in side] for side in (side_a, side_b)]
    everyone = [*sides[0], *sides[1]]
    tasks = []
    for kind in everyone[0]:
        if all(kind in reading for reading in everyone):
            by_doc = list(zip(*(reading[kind] for reading in everyone)))
            known = [found for found in by_doc if any(found)]
            if any(each.gold for found in known for each in found if each):
                docs = [[each or Found(set(), set()) for each in found] for found in zip(*known)]
                a, b = docs[: len(sides[0])], docs[len(sides[0]) :]
                tasks.append(_score(kind, a, b, samples, seed))
    if not tasks:
        kinds = [", ".join(reading) or "nothing" for reading in everyone]
        raise config_error(
            "compare: there is no annotation that the documents have and all pipelines predict. "
            f"The pipelines predict: {'; '.join(dict.fromkeys(kinds))}."
        )
    return Comparison(len(sides[0]), len(sides[1]), tasks)


# -- what is right and what is predicted, as spaCy's scorers have it ------------------------


def _read(nlp: "Language", examples: "list[Example]") -> Reading:
    """The items of each document, by kind of annotation."""
    from spacy.training import Example

    docs = nlp.pipe([eg.predicted.copy() for eg in examples])
    examples = [Example(doc, eg.reference) for doc, eg in zip(docs, examples)]
    readers: dict[str, Callable[[Example], Optional[Found]]] = {}
    for name, pipe in nlp.pipeline:
        for attribute in nlp.get_pipe_meta(name).assigns:
            if attribute == "doc.ents":
                readers["ents"] = _read_ents
            elif attribute == "token.tag":
                readers["tags"] = _read_tags
            elif attribute == "doc.cats":
                readers["cats"] = _cats_reader(nlp)
            elif attribute == "doc.spans" and "spans_key" in _cfg(pipe):
                key = str(_cfg(pipe)["spans_key"])
                readers[f"spans:{key}"] = _spans_reader(key)
    return {kind: [reader(eg) for eg in examples] for kind, reader in readers.items()}


def _cfg(pipe: object) -> dict[str, Any]:
    return getattr(pipe, "cfg", None) or {}


def _read_ents(eg: "Example") -> Optional[Found]:
    if not eg.reference.has_annotation("ENT_IOB"):
        return None
    predicted = set()
    for ent in eg.predicted.ents:
        aligned = eg.alignment.x2y[ent.start : ent.end]
        if len(aligned):
            start, end = int(aligned[0]), int(aligned[-1]) + 1
            # Where gold is missing nothing is right or wrong.
            if all(token.ent_iob != 0 for token in eg.reference[start:end]):
                predicted.add((start, end, ent.label_))
    return Found({(ent.start, ent.end, ent.label_) for ent in eg.reference.ents}, predicted)


def _spans_reader(key: str) -> "Callable[[Example], Optional[Found]]":
    def read(eg: "Example") -> Optional[Found]:
        if key not in eg.reference.spans:
            return None
        aligned = eg.get_aligned_spans_x2y(eg.predicted.spans.get(key, []), allow_overlap=True)
        gold, predicted = (
            {(span.start, span.end, span.label_) for span in spans}
            for spans in (eg.reference.spans[key], aligned)
        )
        return Found(gold, predicted)

    return read


def _read_tags(eg: "Example") -> Optional[Found]:
    gold = {(token.i, token.i + 1, token.tag_) for token in eg.reference if token.tag_}
    known = {start for start, _, _ in gold}
    predicted = set()
    for token in eg.predicted:
        aligned = eg.alignment.x2y[token.i]
        if len(aligned) == 1 and int(aligned[0]) in known and not token.is_space:
            predicted.add((int(aligned[0]), int(aligned[0]) + 1, token.tag_))
    return Found(gold, predicted) if gold else None


def _cats_reader(nlp: "Language") -> "Callable[[Example], Optional[Found]]":
    from spacy.pipeline.textcat import TextCategorizer
    from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer

    pipes = [
        (pipe, nlp.pipe_labels.get(name, []))
        for name, pipe in nlp.pipeline
        if "doc.cats" in nlp.get_pipe_meta(name).assigns
    ]

    def read(eg: "Example") -> Optional[Found]:
        known, cats = eg.reference.cats, eg.predicted.cats
        gold = {label for label, value in known.items() if value and value > 0}
        predicted: set[str] = set()
        exclusive = False
        for pipe, own_labels in pipes:
            labels = [label for label in own_labels if label in cats]
            multi_label = isinstance(pipe, MultiLabel_TextCategorizer)
            if isinstance(pipe, TextCategorizer) and not multi_label:
                # One label each; where gold has none, the predicted one is wrong.
                exclusive = True
                predicted.update(sorted(labels, key=lambda label: -cats[label])[:1])
            else:
                threshold = _cfg(pipe).get("threshold", 0.5)
                predicted.update(x for x in labels if cats[x] >= threshold and x in known)
        if not known and not exclusive:
            return None
        return Found(*({(0, 0, label) for label in part} for part in (gold, predicted)))

    return read


# -- scores ---------------------------------------------------------------------------------


def _score(kind: str, a: list[list[Found]], b: list[list[Found]], samples: int, seed: int) -> Task:
    """Scores, intervals and confusions of one kind. a, b: by pipeline, then by document."""
    labels = sorted({x[2] for docs in (*a, *b) for found in docs for part in found for x in part})
    counts_a, counts_b = (numpy.stack([_count(docs, labels) for docs in side]) for side in (a, b))
    totals_a, totals_b = counts_a.sum(axis=1), counts_b.sum(axis=1)
    n_gold = (totals_a[0, :, 0] + totals_a[0, :, 2]).astype(int)
    present = n_gold > 0
    micro, macro, by_label = resample(counts_a, counts_b, present, samples, seed)
    label_scores = [_prf(totals_a), _prf(totals_b)]
    pooled = [_prf(totals.sum(axis=1)) for totals in (totals_a, totals_b)]
    means = [prf[:, present].mean(axis=1) for prf in label_scores]
    rows = [_row("all (micro)", n_gold.sum(), pooled, micro)]
    if len(labels) > 1:
        rows.append(_row("all (macro)", n_gold.sum(), means, macro))
    for i in sorted(range(len(labels)), key=lambda i: (-n_gold[i], labels[i])):
        rows.append(_row(labels[i], n_gold[i], [prf[:, i] for prf in label_scores], by_label[:, i]))
    return Task(kind, len(a[0]), rows, _confusions(a, b))


def _count(docs: list[Found], labels: list[str]) -> numpy.ndarray:
    """True positives, false positives and false negatives ``(documents, labels, 3)``."""
    column = {label: i for i, label in enumerate(labels)}
    counts = numpy.zeros((len(docs), len(labels), 3), dtype="float32")
    for d, (gold, predicted) in enumerate(docs):
        for k, items in enumerate((gold & predicted, predicted - gold, gold - predicted)):
            for item in items:
                counts[d, column[item[2]], k] += 1
    return counts


def _prf(counts: numpy.ndarray) -> numpy.ndarray:
    """Precision, recall and F1 ``(..., 3)`` of counts ``(..., 3)``."""
    tp, fp, fn = (counts[..., k].astype("float64") for k in range(3))
    scores = [tp / numpy.maximum(tp + wrong, 1) for wrong in (fp, fn)]
    return numpy.stack([*scores, 2 * tp / numpy.maximum(2 * tp + fp + fn, 1)], axis=-1)


def _row(label: str, n: int, scores: list[numpy.ndarray], differences: numpy.ndarray) -> Row:
    """scores: of each side, ``(pipelines, 3)``."""
    a, b = (dict(zip("prf", side.mean(axis=0).tolist())) for side in scores)
    tail = (100 - LEVEL) / 2
    low, high = numpy.percentile(differences, [tail, 100 - tail]).tolist()
    return Row(label, int(n), a, b, b["f"] - a["f"], low, high, low > 0 or high < 0)


def resample(
    counts_a: numpy.ndarray,
    counts_b: numpy.ndarray,
    present: numpy.ndarray,
    samples: int,
    seed: int,
) -> tuple[numpy.ndarray, ...]:
    """Differences of F1, B less A, on samples of pipelines and documents.

    Args:
        counts_a: True positives, false positives and false negatives of the first side
            ``(pipelines, documents, labels, 3)``.
        counts_b: The same of the second side; its pipelines may be more or fewer.
        present: Which labels count for the macro average ``(labels,)``.
        samples: How many samples are drawn.
        seed: Seed of the drawing.

    Returns:
        Micro ``(samples,)``, macro ``(samples,)`` and of labels ``(samples, labels)``.
    """
    n_docs = counts_a.shape[1]
    rng = numpy.random.default_rng(seed)
    parts: list[list[numpy.ndarray]] = [[], [], []]
    for first in range(0, samples, CHUNK):
        size = min(CHUNK, samples - first)
        times = rng.multinomial(n_docs, numpy.full(n_docs, 1 / n_docs), size).astype("float32")
        scores = []
        for counts in (counts_a, counts_b):
            n, _, n_labels, _ = counts.shape
            drawn = numpy.stack([times @ part.reshape(n_docs, -1) for part in counts])
            drawn = drawn.reshape(n, size, n_labels, 3)
            by_label = _prf(drawn)[..., 2]
            weights = rng.multinomial(n, numpy.full(n, 1 / n), size).T / n
            weights = 1 / n + (weights - 1 / n) * (n / max(n - 1, 1)) ** 0.5
            micro, macro = _prf(drawn.sum(axis=2))[..., 2], by_label[..., present].mean(axis=-1)
            f1 = (micro, macro, by_label)
            scores.append([numpy.einsum("ps,ps...->s...", weights, f) for f in f1])
        for part, a, b in zip(parts, *scores):
            part.append(b - a)
    return tuple(numpy.concatenate(part) for part in parts)


def _confusions(a: list[list[Found]], b: list[list[Found]]) -> list[Confusion]:
    means: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for i, side in enumerate((a, b)):
        for docs in side:
            for found in docs:
                for pair, n in _confused(found).items():
                    means[pair][i] += n / len(side)
    order = sorted(means.items(), key=lambda pair: (-sum(pair[1]), pair[0]))
    return [Confusion(*pair, *mean) for pair, mean in order]


def _confused(found: Found) -> "Counter[tuple[str, str]]":
    """What gold items were missed for what, and what was predicted where nothing is."""
    missed, spurious = sorted(found.gold - found.predicted), found.predicted - found.gold
    pairs: Counter[tuple[str, str]] = Counter()
    for start, end, label in missed:
        # The one that shares the most with it: of the text as such, any.
        shared = [
            (min(end, x[1]) - max(start, x[0]), x[2] == label, x)
            for x in spurious
            if end == 0 or (x[0] < end and start < x[1])
        ]
        best = max(shared, default=None)
        if best is None:
            pairs[label, NOTHING] += 1
        else:
            spurious.remove(best[2])
            pairs[label, BOUNDARIES if best[1] else best[2][2]] += 1
    for _, _, label in spurious:
        pairs[NOTHING, label] += 1
    return pairs


# -- tables ---------------------------------------------------------------------------------


def _as_text(task: Task) -> str:
    scores = [
        (
            row.label,
            f"{row.n:,}",
            *(f"{100 * side[key]:.1f}" for side in (row.a, row.b) for key in "prf"),
            f"{100 * row.difference:+.1f}",
            f"{100 * row.low:+.1f} to {100 * row.high:+.1f}{'*' if row.significant else ' '}",
        )
        for row in task.rows
    ]
    header = "label,gold,P A,R A,F1 A,P B,R B,F1 B,B - A".split(",")
    lines = [
        f"{task.kind}: {task.n_docs:,} texts",
        common.as_table([*header, f"{LEVEL} % interval "], scores),
    ]
    wrong = [(c.gold, c.predicted, f"{c.a:,.4g}", f"{c.b:,.4g}") for c in task.confusions]
    if wrong:
        lines += ["", common.as_table(["gold", "predicted", "A", "B"], wrong, n_left=2)]
    return "\n".join(lines)
