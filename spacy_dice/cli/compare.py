"""`spacy dice compare`: two pipelines side by side, or two sets of pipelines by seed."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

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


class Items(NamedTuple):
    """The items of one document."""

    gold: set[Item]
    predicted: set[Item]


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
        scope: What the intervals are about: texts, or texts and seeds.
        tasks: By kind of annotation.
    """

    scope: str
    tasks: list[Task]

    def __str__(self) -> str:
        tables = [_as_text(task) for task in self.tasks]
        return "\n\n".join([*tables, f"* The interval leaves 0 out.\n{self.scope}"])


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
        result = {"a": sides[0], "b": sides[1], "level": LEVEL, **asdict(found)}
        if not common.write_json(json_path, result):
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
    n_a, n_b = map(len, sides)
    pipelines = [*sides[0], *sides[1]]
    tasks = []
    for kind in pipelines[0]:
        if not all(kind in found for found in pipelines):
            continue
        by_doc = [doc for doc in zip(*(found[kind] for found in pipelines)) if any(doc)]
        if any(items.gold for doc in by_doc for items in doc if items):
            docs = [[items or Items(set(), set()) for items in doc] for doc in zip(*by_doc)]
            tasks.append(_score(kind, docs[:n_a], docs[n_a:], samples, seed))
    if not tasks:
        kinds = dict.fromkeys(", ".join(found) or "nothing" for found in pipelines)
        raise config_error(
            "compare: there is no annotation that the documents have and all pipelines predict. "
            f"The pipelines predict: {'; '.join(kinds)}."
        )
    scope = f"Intervals are over texts and seeds (A: {n_a}, B: {n_b})."
    if n_a == 1 or n_b == 1:
        scope = (
            "Intervals are over texts alone: other seeds of the training are not in them.\n"
            "Train with several, and give the pipelines separated by commas."
        )
    return Comparison(scope, tasks)


# -- what is right and what is predicted, as spaCy's scorers have it ------------------------


def _read(nlp: "Language", examples: "list[Example]") -> "dict[str, list[Optional[Items]]]":
    """The items of each document, by kind of annotation."""
    from spacy.training import Example

    docs = nlp.pipe([eg.predicted.copy() for eg in examples])
    examples = [Example(doc, eg.reference) for doc, eg in zip(docs, examples)]
    readers: dict[str, Callable[[Example], Optional[Items]]] = {}
    for name, pipe in nlp.pipeline:
        cfg = getattr(pipe, "cfg", None) or {}
        for attribute in nlp.get_pipe_meta(name).assigns:
            if attribute == "doc.ents":
                readers["ents"] = _read_ents
            elif attribute == "token.tag":
                readers["tags"] = _read_tags
            elif attribute == "doc.cats":
                readers["cats"] = partial(_read_cats, nlp)
            elif attribute == "doc.spans" and "spans_key" in cfg:
                key = str(cfg["spans_key"])
                readers[f"spans:{key}"] = partial(_read_spans, key)
    return {kind: [read(eg) for eg in examples] for kind, read in readers.items()}


def _read_ents(eg: "Example") -> Optional[Items]:
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
    return Items({(ent.start, ent.end, ent.label_) for ent in eg.reference.ents}, predicted)


def _read_spans(key: str, eg: "Example") -> Optional[Items]:
    if key not in eg.reference.spans:
        return None
    aligned = eg.get_aligned_spans_x2y(eg.predicted.spans.get(key, []), allow_overlap=True)
    both = (eg.reference.spans[key], aligned)
    return Items(*({(span.start, span.end, span.label_) for span in spans} for spans in both))


def _read_tags(eg: "Example") -> Optional[Items]:
    gold = {(token.i, token.i + 1, token.tag_) for token in eg.reference if token.tag_}
    known = {start for start, _, _ in gold}
    predicted = set()
    for token in eg.predicted:
        aligned = eg.alignment.x2y[token.i]
        if len(aligned) == 1 and int(aligned[0]) in known and not token.is_space:
            predicted.add((int(aligned[0]), int(aligned[0]) + 1, token.tag_))
    return Items(gold, predicted) if gold else None


def _read_cats(nlp: "Language", eg: "Example") -> Optional[Items]:
    from spacy.pipeline.textcat import TextCategorizer
    from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer

    known, cats = eg.reference.cats, eg.predicted.cats
    gold = {label for label, value in known.items() if value and value > 0}
    predicted: set[str] = set()
    is_annotated = bool(known)
    for name, pipe in nlp.pipeline:
        if "doc.cats" not in nlp.get_pipe_meta(name).assigns:
            continue
        labels = [label for label in nlp.pipe_labels.get(name, []) if label in cats]
        multi_label = isinstance(pipe, MultiLabel_TextCategorizer)
        if isinstance(pipe, TextCategorizer) and not multi_label:
            # One label each; where gold has none, the predicted one is wrong.
            is_annotated = True
            predicted.update(sorted(labels, key=lambda label: -cats[label])[:1])
        else:
            threshold = (getattr(pipe, "cfg", None) or {}).get("threshold", 0.5)
            predicted.update(x for x in labels if cats[x] >= threshold and x in known)
    if not is_annotated:
        return None
    return Items(*({(0, 0, label) for label in labels} for labels in (gold, predicted)))


# -- scores ---------------------------------------------------------------------------------


def _score(kind: str, a: list[list[Items]], b: list[list[Items]], samples: int, seed: int) -> Task:
    """Scores, intervals and confusions of one kind. a, b: by pipeline, then by document."""
    labels = sorted({x[2] for docs in (*a, *b) for both in docs for items in both for x in items})
    counts = [numpy.stack([_count(docs, labels) for docs in side]) for side in (a, b)]
    n_gold = counts[0][0][..., [0, 2]].sum(axis=(0, 2)).astype(int).tolist()
    present = numpy.asarray(n_gold) > 0
    names, n = ["all (micro)", "all (macro)", *labels], [sum(n_gold)] * 2 + n_gold
    prf = [_prf(side.sum(axis=1), present).mean(axis=0).tolist() for side in counts]
    differences = resample(counts, present, samples, seed)
    tail = (100 - LEVEL) / 2
    low, high = numpy.percentile(differences, [tail, 100 - tail], axis=0).tolist()
    order = sorted(range(2, len(names)), key=lambda i: (-n[i], names[i]))
    rows = []
    for i in [0, 1, *order] if len(labels) > 1 else [0, *order]:
        scores_a, scores_b = (dict(zip("prf", side[i])) for side in prf)
        difference, significant = scores_b["f"] - scores_a["f"], low[i] > 0 or high[i] < 0
        interval = (low[i], high[i], significant)
        rows.append(Row(names[i], n[i], scores_a, scores_b, difference, *interval))
    return Task(kind, len(a[0]), rows, _confusions(a, b))


def _count(docs: list[Items], labels: list[str]) -> numpy.ndarray:
    """True positives, false positives and false negatives ``(documents, labels, 3)``."""
    column = {label: i for i, label in enumerate(labels)}
    counts = numpy.zeros((len(docs), len(labels), 3), dtype="float32")
    for d, (gold, predicted) in enumerate(docs):
        for k, items in enumerate((gold & predicted, predicted - gold, gold - predicted)):
            for item in items:
                counts[d, column[item[2]], k] += 1
    return counts


def _prf(counts: numpy.ndarray, present: numpy.ndarray) -> numpy.ndarray:
    """Precision, recall and F1 ``(..., 2 + labels, 3)`` of counts ``(..., labels, 3)``: of all
    labels pooled, the mean over those that are present, and of each.
    """
    from dice_core.thresholds.objectives import precision_recall

    pooled = numpy.stack(precision_recall(counts.sum(axis=-2, keepdims=True)), axis=-1)
    by_label = numpy.stack(precision_recall(counts), axis=-1)
    macro = by_label[..., present, :].mean(axis=-2, keepdims=True)
    return numpy.concatenate([pooled, macro, by_label], axis=-2)


def resample(
    sides: Sequence[numpy.ndarray], present: numpy.ndarray, samples: int, seed: int
) -> numpy.ndarray:
    """Differences of F1, B less A, on samples of pipelines and documents.

    Args:
        sides: True positives, false positives and false negatives of A and of B ``(pipelines,
            documents, labels, 3)``; one may have more pipelines than the other.
        present: Which labels count for the macro average ``(labels,)``.
        samples: How many samples are drawn.
        seed: Seed of the drawing.

    Returns:
        Floats ``(samples, 2 + labels)``: micro, macro and of each label.
    """
    n_docs, differences = sides[0].shape[1], []
    rng = numpy.random.default_rng(seed)
    for first in range(0, samples, CHUNK):
        size = min(CHUNK, samples - first)
        times = rng.multinomial(n_docs, numpy.full(n_docs, 1 / n_docs), size).astype("float32")
        means = []
        for counts in sides:
            n, _, n_labels, _ = counts.shape
            drawn = numpy.stack([times @ pipeline.reshape(n_docs, -1) for pipeline in counts])
            f1 = _prf(drawn.reshape(n, size, n_labels, 3), present)[..., 2]
            weights = rng.multinomial(n, numpy.full(n, 1 / n), size).T / n
            weights = 1 / n + (weights - 1 / n) * (n / max(n - 1, 1)) ** 0.5
            means.append(numpy.einsum("ps,psr->sr", weights, f1))
        differences.append(means[1] - means[0])
    return numpy.concatenate(differences)


def _confusions(a: list[list[Items]], b: list[list[Items]]) -> list[Confusion]:
    counts = [
        sum((_confused(items) for docs in side for items in docs), Counter()) for side in (a, b)
    ]
    found = [
        Confusion(*pair, *(n[pair] / len(side) for n, side in zip(counts, (a, b))))
        for pair in counts[0] | counts[1]
    ]
    return sorted(found, key=lambda row: (-row.a - row.b, row.gold, row.predicted))


def _confused(items: Items) -> "Counter[tuple[str, str]]":
    """What gold items were missed for what, and what was predicted where nothing is."""
    missed, spurious = sorted(items.gold - items.predicted), items.predicted - items.gold
    pairs: Counter[tuple[str, str]] = Counter()
    for start, end, label in missed:
        # The one that shares the most with it: of the text as such, any.
        shared = [
            (min(end, x[1]) - max(start, x[0]), x[2] == label, x)
            for x in spurious
            if end == 0 or (x[0] < end and start < x[1])
        ]
        _, is_label, best = max(shared, default=(0, False, None))
        spurious.discard(best)
        pairs[label, NOTHING if best is None else BOUNDARIES if is_label else best[2]] += 1
    return pairs + Counter((NOTHING, label) for _, _, label in spurious)


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
