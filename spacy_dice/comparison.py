"""Two pipelines on the same documents: F1 by label, whether the difference is more than chance,
and what one finds that the other misses.

The functions behind `python -m spacy dice compare`.
"""

import html
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy
from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc
from spacy.training import Example

from . import figures
from .errors import config_error

# Where in a text (first and last character, exclusive; 0 and 0 for the whole), and which label.
Item = Tuple[int, int, str]
LEVEL = 95
CHUNK = 250
MAX_ROWS = 40


class Prf(NamedTuple):
    """Precision, recall and F1, from 0 to 1."""

    p: float
    r: float
    f: float


@dataclass
class Row:
    """One label, or all. n: gold examples. a, b: scores. difference, low, high: F1 of B less that
    of A, and its interval, from -1 to 1."""

    label: str
    n: int
    a: Prf
    b: Prf
    difference: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass
class Task:
    """One kind of annotation.

    Attributes:
        key: "ents", "spans:sc", "cats" or "tags".
        what: In words.
        n_docs: Documents with gold annotation of this kind.
        micro: All decisions pooled.
        macro: The mean over labels that have gold examples.
        labels: Rows, the most frequent label first.
        only_a, only_b: How many gold items just one of the two found.
        both, neither: How many both found, and none.
        errors_a, errors_b: Errors by their kind: "other label", "other boundaries", "missed",
            "spurious" (of spans), "wrong" (of tags and exclusive categories).
    """

    key: str
    what: str
    n_docs: int
    micro: Row
    macro: Row
    labels: List[Row]
    only_a: int = 0
    only_b: int = 0
    both: int = 0
    neither: int = 0
    errors_a: Dict[str, int] = field(default_factory=dict)
    errors_b: Dict[str, int] = field(default_factory=dict)


class Read(NamedTuple):
    """A document, as it is annotated and as both see it."""

    gold: Doc
    a: Doc
    b: Doc


@dataclass
class Comparison:
    """What `compare` found. name_a, name_b: of the pipelines. tasks: by kind of annotation."""

    name_a: str
    name_b: str
    tasks: List[Task]
    docs: List[Read] = field(default_factory=list, repr=False)
    items: Dict[str, List[Tuple[Set[Item], Set[Item], Set[Item]]]] = field(
        default_factory=dict, repr=False
    )

    def __str__(self) -> str:
        return "\n\n".join(
            [f"A = {self.name_a}\nB = {self.name_b}", *(_as_text(task) for task in self.tasks)]
        )

    def to_dict(self) -> Dict[str, Any]:
        """As plain values, for JSON; scores are from 0 to 1."""
        tasks = [asdict(task) for task in self.tasks]
        for task, made in zip(self.tasks, tasks):
            for row, plain in zip(
                [task.micro, task.macro, *task.labels],
                [made["micro"], made["macro"], *made["labels"]],
            ):
                plain.update(a=row.a._asdict(), b=row.b._asdict(), clear=row.clear)
        return {"a": self.name_a, "b": self.name_b, "level": LEVEL, "tasks": tasks}

    def plot(self, path: Union[str, Path]) -> None:
        """Draw F1 of both by label, and the difference with its interval.

        Args:
            path: A PNG, or what else its name ends in.

        Raises:
            ImportError: Without matplotlib; it names the extra.
        """
        heights = [1.3 + 0.26 * (2 + min(len(task.labels), MAX_ROWS)) for task in self.tasks]
        figure = figures.new(9, sum(heights))
        grid = figure.subplots(
            len(self.tasks), 2, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, task in zip(grid, self.tasks):
            _plot_task(axes, task, self.name_a, self.name_b)
        figures.save(figure, path)

    def to_html(self, path: Union[str, Path], limit: int = 50) -> int:
        """Write a page of the texts that the two do not see alike, by displaCy.

        Args:
            path: Of the page.
            limit: How many texts of each task, those with the most differences first.

        Returns:
            How many texts are in it.
        """
        page, n = _page(self, limit)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf8")
        return n


def compare(
    nlp_a: Language,
    nlp_b: Language,
    examples_a: Sequence[Example],
    examples_b: Optional[Sequence[Example]] = None,
    *,
    names: Tuple[str, str] = ("A", "B"),
    samples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two pipelines on the same documents.

    The intervals are of a paired bootstrap over documents: both are scored on the same resampled
    documents, and the interval holds the middle 95 % of the differences. It says what other
    documents of the same kind would do, and nothing about other seeds of the training.

    Args:
        nlp_a, nlp_b: Trained pipelines.
        examples_a: With gold annotation. What is predicted already is not read.
        examples_b: The same documents for ``nlp_b``, if its tokenizer or vocabulary is another;
            None makes them from the texts.
        names: What to call the two.
        samples: Resamplings.
        seed: Of them.

    Returns:
        A `Comparison`, with a `Task` for each kind of annotation that both predict and the
        examples have: entities, spans by key, categories, tags.

    Raises:
        ConfigValidationError: If there is no such kind, or no documents.

    Example:
        >>> from spacy_dice.formats import read_examples
        >>> examples = read_examples("test.spacy", nlp_a)
        >>> print(compare(nlp_a, nlp_b, examples))
    """
    if samples < 100:
        raise config_error(f"compare: samples must be at least 100, got {samples}.")
    examples_a = list(examples_a)
    if not examples_a:
        raise config_error("compare: there are no documents.")
    if examples_b is None:
        examples_b = [Example(_fresh(eg.reference, nlp_b), eg.reference) for eg in examples_a]
    docs = [
        Read(eg.reference, a, b)
        for eg, a, b in zip(
            examples_a,
            nlp_a.pipe([_fresh(eg.predicted, nlp_a) for eg in examples_a]),
            nlp_b.pipe([_fresh(eg.predicted, nlp_b) for eg in examples_b]),
        )
    ]
    found = Comparison(*names, tasks=[], docs=docs)
    for key, what, read in _tasks(nlp_a, nlp_b, docs):
        items = [read(doc) for doc in docs]
        kept = [triple for triple in items if triple is not None]
        if not kept or not any(gold for gold, _, _ in kept):
            continue
        found.items[key] = [triple or (set(), set(), set()) for triple in items]
        found.tasks.append(_score(key, what, kept, samples, seed))
    if not found.tasks:
        raise config_error(
            "compare: there is nothing that the documents have and both pipelines predict. The "
            f"documents have: {', '.join(_kinds_of(docs)) or 'nothing'}; {names[0]} predicts "
            f"{', '.join(_predicted_by(nlp_a)) or 'nothing'}, {names[1]} "
            f"{', '.join(_predicted_by(nlp_b)) or 'nothing'}."
        )
    return found


def _fresh(doc: Doc, nlp: Language) -> Doc:
    """A doc with nothing but its tokens, or its text, if spaces are known."""
    if doc.has_unknown_spaces:
        words = [token.text for token in doc]
        return Doc(nlp.vocab, words=words)
    return nlp.make_doc(doc.text)


# -- what is decided ------------------------------------------------------------------------


def _tasks(
    nlp_a: Language, nlp_b: Language, docs: Sequence[Read]
) -> Iterable[Tuple[str, str, Any]]:
    """Key, words, and how to read the items of a document (gold, A, B), or None."""
    both = [key for key in _predicted_by(nlp_a) if key in _predicted_by(nlp_b)]
    for key in both:
        if key == "ents":
            yield key, "entities", _read_ents
        elif key == "cats":
            decide_a, decide_b = _decide_cats(nlp_a), _decide_cats(nlp_b)
            yield key, "categories", lambda doc: _read_cats(doc, decide_a, decide_b)
        elif key == "tags":
            yield key, "tags", _read_tags
        else:
            name = key.partition(":")[2]
            in_gold = any(name in doc.gold.spans for doc in docs)
            what = f'spans (doc.spans["{name}"])' + ("" if in_gold else ", against the entities")
            yield key, what, lambda doc, name=name, in_gold=in_gold: _read_spans(doc, name, in_gold)


def _predicted_by(nlp: Language) -> List[str]:
    kinds = {"doc.ents": "ents", "doc.cats": "cats", "token.tag": "tags"}
    found: Dict[str, None] = {}
    for name, pipe in nlp.pipeline:
        for attribute in nlp.get_pipe_meta(name).assigns:
            if attribute in kinds:
                found[kinds[attribute]] = None
            elif attribute == "doc.spans":
                key = (getattr(pipe, "cfg", None) or {}).get("spans_key")
                if key:
                    found[f"spans:{key}"] = None
    return list(found)


def _kinds_of(docs: Sequence[Read]) -> List[str]:
    found = {f"spans:{key}": None for doc in docs for key in doc.gold.spans}
    for key, has in (
        ("ents", any(doc.gold.ents for doc in docs)),
        ("cats", any(doc.gold.cats for doc in docs)),
        ("tags", any(doc.gold.has_annotation("TAG") for doc in docs)),
    ):
        if has:
            found[key] = None
    return list(found)


def _read_ents(doc: Read) -> Optional[Tuple[Set[Item], Set[Item], Set[Item]]]:
    if len(doc.gold) and not doc.gold.has_annotation("ENT_IOB"):
        return None
    missing = [
        (token.idx, token.idx + len(token))
        for token in doc.gold
        if token.ent_iob == 0  # unknown, so that nothing there is right or wrong
    ]
    gold, a, b = (_items(of.ents) for of in doc)
    if missing:
        a, b = (
            {x for x in items if not any(s < x[1] and x[0] < e for s, e in missing)}
            for items in (a, b)
        )
    return gold, a, b


def _read_spans(
    doc: Read, key: str, in_gold: bool
) -> Optional[Tuple[Set[Item], Set[Item], Set[Item]]]:
    if in_gold and key not in doc.gold.spans:
        return None
    gold = doc.gold.spans[key] if in_gold else doc.gold.ents
    a, b = (_items(of.spans.get(key, [])) for of in (doc.a, doc.b))
    return _items(gold), a, b


def _items(spans: Iterable[Any]) -> Set[Item]:
    return {(span.start_char, span.end_char, span.label_) for span in spans}


def _decide_cats(nlp: Language) -> Any:
    pipes: List[Any] = [
        pipe for name, pipe in nlp.pipeline if "doc.cats" in nlp.get_pipe_meta(name).assigns
    ]

    def decide(doc: Doc) -> Set[str]:
        chosen = set()
        for pipe in pipes:
            labels = [label for label in pipe.labels if label in doc.cats]
            exclusive = isinstance(pipe, TextCategorizer) and not isinstance(
                pipe, MultiLabel_TextCategorizer
            )
            if exclusive and labels:
                chosen.add(max(labels, key=lambda label: doc.cats[label]))
            elif not exclusive:
                threshold = (getattr(pipe, "cfg", None) or {}).get("threshold", 0.5)
                chosen.update(label for label in labels if doc.cats[label] >= threshold)
        return chosen

    return decide


def _read_cats(
    doc: Read, decide_a: Any, decide_b: Any
) -> Optional[Tuple[Set[Item], Set[Item], Set[Item]]]:
    known = doc.gold.cats
    if not known:
        return None
    gold = {(0, 0, label) for label, value in known.items() if value > 0.5}
    a, b = (
        {(0, 0, label) for label in decide(of) if label in known}
        for decide, of in ((decide_a, doc.a), (decide_b, doc.b))
    )
    return gold, a, b


def _read_tags(doc: Read) -> Optional[Tuple[Set[Item], Set[Item], Set[Item]]]:
    missing = {token.idx for token in doc.gold if not token.tag_}
    if len(missing) == len(doc.gold):
        return None
    gold, a, b = (
        {(t.idx, t.idx + len(t), t.tag_) for t in of if t.tag_ and t.idx not in missing}
        for of in doc
    )
    return gold, a, b


# -- scores ---------------------------------------------------------------------------------


def _score(
    key: str,
    what: str,
    items: Sequence[Tuple[Set[Item], Set[Item], Set[Item]]],
    samples: int,
    seed: int,
) -> Task:
    names = sorted({item[2] for triple in items for of in triple for item in of})
    column = {name: i for i, name in enumerate(names)}
    # (documents, A and B, labels, true positives and false positives and false negatives)
    counts = numpy.zeros((len(items), 2, len(names), 3), dtype="float32")
    for d, (gold, *predicted) in enumerate(items):
        for of, found in enumerate(predicted):
            for kind, members in enumerate((found & gold, found - gold, gold - found)):
                for item in members:
                    counts[d, of, column[item[2]], kind] += 1
    total = counts.sum(axis=0)
    n_gold = total[0, :, 0] + total[0, :, 2]
    present = n_gold > 0
    differences = resample(counts, present, samples, seed)
    scores = [[_prf(total[of, c]) for of in (0, 1)] for c in range(len(names))]
    rows = [
        _row(name, int(n_gold[c]), scores[c], differences[2][:, c]) for c, name in enumerate(names)
    ]
    pooled = [_prf(total[of].sum(axis=0)) for of in (0, 1)]
    in_mean = numpy.flatnonzero(present)
    means = [Prf(*numpy.mean([scores[c][of] for c in in_mean], axis=0).tolist()) for of in (0, 1)]
    n = int(n_gold.sum())
    found_by = [
        sum(len(t[0] & t[1] - t[2]) for t in items),
        sum(len(t[0] & t[2] - t[1]) for t in items),
    ]
    both = sum(len(t[0] & t[1] & t[2]) for t in items)
    return Task(
        key=key,
        what=what,
        n_docs=len(items),
        micro=_row("all (micro)", n, pooled, differences[0]),
        macro=_row("all (macro)", n, means, differences[1]),
        labels=sorted(rows, key=lambda row: (-row.n, row.label)),
        only_a=found_by[0],
        only_b=found_by[1],
        both=both,
        neither=n - both - sum(found_by),
        errors_a=_errors(key, [(t[0], t[1]) for t in items]),
        errors_b=_errors(key, [(t[0], t[2]) for t in items]),
    )


def resample(counts: Any, present: Any, samples: int, seed: int) -> Tuple[Any, Any, Any]:
    """Differences of F1, B less A, on resampled documents.

    Args:
        counts: ``(documents, 2, labels, 3)``, of true positives, false positives and false
            negatives.
        present: ``(labels,)``, which labels count for the mean.
        samples: How many.
        seed: Of the drawing.

    Returns:
        Micro ``(samples,)``, macro ``(samples,)`` and of labels ``(samples, labels)``.
    """
    n_docs, _, n_labels, _ = counts.shape
    flat = counts.reshape(n_docs, -1)
    rng = numpy.random.default_rng(seed)
    micro, macro, by_label = [], [], []
    for first in range(0, samples, CHUNK):
        size = min(CHUNK, samples - first)
        times = rng.multinomial(n_docs, numpy.full(n_docs, 1 / n_docs), size=size)
        drawn = (times.astype("float32") @ flat).reshape(size, 2, n_labels, 3)
        f = _f1(drawn)
        of_all = _f1(drawn.sum(axis=2))
        micro.append(of_all[:, 1] - of_all[:, 0])
        by_label.append(f[:, 1] - f[:, 0])
        macro.append(by_label[-1][:, present].mean(axis=1))
    return numpy.concatenate(micro), numpy.concatenate(macro), numpy.concatenate(by_label)


def _f1(counts: Any) -> Any:
    tp, wrong = counts[..., 0], counts[..., 1] + counts[..., 2]
    return 2 * tp / numpy.maximum(2 * tp + wrong, 1e-9)


def _prf(counts: Any) -> Prf:
    tp, fp, fn = (float(x) for x in counts)
    p, r = tp / max(tp + fp, 1), tp / max(tp + fn, 1)
    return Prf(p, r, 2 * tp / max(2 * tp + fp + fn, 1))


def _row(label: str, n: int, scores: Sequence[Prf], differences: Any) -> Row:
    a, b = scores
    tail = (100 - LEVEL) / 2
    low, high = numpy.percentile(differences, [tail, 100 - tail]).tolist()
    return Row(label, n, a, b, b.f - a.f, low, high)


def _errors(key: str, pairs: Iterable[Tuple[Set[Item], Set[Item]]]) -> Dict[str, int]:
    """Errors by kind. Each gold item that was not found is one, and each prediction that touches
    no gold item."""
    if key == "tags":
        return {"wrong": sum(len(gold - found) for gold, found in pairs)}
    counts = {"other label": 0, "other boundaries": 0, "missed": 0, "spurious": 0}
    if key == "cats":
        counts = {"missed": 0, "spurious": 0}
    for gold, found in pairs:
        for start, end, _ in gold - found:
            if key == "cats":
                counts["missed"] += 1
            elif any(x[:2] == (start, end) for x in found):
                counts["other label"] += 1
            elif any(x[0] < end and start < x[1] for x in found):
                counts["other boundaries"] += 1
            else:
                counts["missed"] += 1
        for start, end, _ in found - gold:
            if key == "cats" or not any(x[0] < end and start < x[1] for x in gold):
                counts["spurious"] += 1
    return counts


# -- saying it ------------------------------------------------------------------------------


def _as_text(task: Task) -> str:
    rows = [task.micro, *([task.macro] if len(task.labels) > 1 else []), *task.labels[:MAX_ROWS]]
    width = min(max(len(row.label) for row in rows), 12)
    of_one = f"{'P':>5}{'R':>5}{'F1':>6}"
    lines = [
        f"{task.what}: {task.n_docs:,} texts",
        f"  {'':{width}} {'':>6} {'A':>16} {'B':>16}",
        f"  {'':{width}} {'gold':>6} {of_one} {of_one}  B - A    {LEVEL} % interval",
    ]
    for row in rows:
        label = row.label if len(row.label) <= width else row.label[: width - 2] + ".."
        scores = " ".join(
            f"{100 * of.p:5.1f}{100 * of.r:5.1f}{100 * of.f:6.1f}" for of in (row.a, row.b)
        )
        lines.append(
            f"  {label:{width}} {row.n:6,} {scores} {100 * row.difference:+6.1f}  "
            f"{100 * row.low:+6.1f} to {100 * row.high:+5.1f}{'*' if row.clear else ''}"
        )
    if len(task.labels) > MAX_ROWS:
        lines.append(f"  ... and {len(task.labels) - MAX_ROWS} more labels; --json has all")
    lines += [
        "  * 0 is outside of the interval, of a paired bootstrap over texts",
        "",
        f"  of {task.micro.n:,} gold: both find {task.both:,}, only A {task.only_a:,}, only B "
        f"{task.only_b:,}, neither {task.neither:,}",
    ]
    for name, errors in (("A", task.errors_a), ("B", task.errors_b)):
        lines.append(
            f"  errors of {name}: " + ", ".join(f"{n:,} {kind}" for kind, n in errors.items())
        )
    return "\n".join(lines)


def _plot_task(axes: Any, task: Task, name_a: str, name_b: str) -> None:
    rows = [task.micro, *([task.macro] if len(task.labels) > 1 else []), *task.labels[:MAX_ROWS]]
    y = numpy.arange(len(rows))
    left, right = axes
    for at, row in zip(y, rows):
        left.plot([100 * row.a.f, 100 * row.b.f], [at, at], color="0.7", zorder=1)
    left.plot(
        [100 * r.a.f for r in rows], y, "o", color="black", fillstyle="none", label=f"A: {name_a}"
    )
    left.plot(
        [100 * r.b.f for r in rows], y, "s", color="black", markersize=5, label=f"B: {name_b}"
    )
    left.set_yticks(y, [f"{row.label} ({row.n:,})" for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set(xlabel="F1", xlim=(-2, 102))
    left.set_title(f"{task.what}, {task.n_docs:,} texts", fontsize="medium")
    left.legend(
        fontsize="x-small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16 - 0.6 / len(rows)),
        ncols=2,
    )
    for at, row in zip(y, rows):
        low, high = 100 * row.low, 100 * row.high
        right.plot([low, high], [at, at], color="black", linewidth=1)
        right.plot(
            100 * row.difference,
            at,
            "o",
            color="black",
            fillstyle="full" if row.clear else "none",
        )
    right.axvline(0, color="0.5", linewidth=1, linestyle=":")
    right.set_yticks(y, [""] * len(rows))
    right.set_ylim(*left.get_ylim())
    right.set_xlabel("F1 of B less that of A, in points")
    right.set_title(f"{LEVEL} % intervals; full: 0 is outside", fontsize="medium")


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
article { border-top: 1px solid #ccc; padding: 0.75rem 0; }
.row { display: grid; grid-template-columns: 4.5rem 1fr; gap: 0.5rem; align-items: baseline; }
.who { font-weight: 600; } .entities { line-height: 2.2 !important; }
.note { color: #555; font-size: 0.9rem; } table { border-collapse: collapse; }
td, th { padding: 0.15rem 0.7rem; text-align: right; } td:first-child { text-align: left; }
pre { overflow-x: auto; font-size: 0.8rem; }
"""
# Readable in black on all of them, and told apart by the colour-blind (Okabe and Ito, lightened).
COLORS = ("#fcd9a0", "#b5dcf3", "#a3dcc8", "#f6efa0", "#a9c8e0", "#f0bb95", "#e6bcd2", "#d9d9d9")


def _page(found: Comparison, limit: int) -> Tuple[str, int]:
    parts, n_shown = [], 0
    for task in found.tasks:
        items = found.items[task.key]
        n_different = {i: len(a ^ b) for i, (_, a, b) in enumerate(items) if a != b}
        order = sorted(n_different, key=lambda i: (-n_different[i], i))[:limit]
        labels = [row.label for row in task.labels]
        colors = {label: COLORS[i % len(COLORS)] for i, label in enumerate(labels)}
        parts.append(f"<h2>{html.escape(task.what)}</h2>")
        parts.append(f"<pre>{html.escape(_as_text(task))}</pre>")
        parts.append(
            f'<p class="note">{len(n_different):,} of {len(items):,} texts are seen differently; '
            f"{len(order):,} are shown, those with the most differences first. Beside each: how "
            "many are right of how many, and + how many are wrong.</p>"
        )
        for i in order:
            parts.append(
                "<article>" + _shown(task.key, found.docs[i], items[i], colors) + "</article>"
            )
        n_shown += len(order)
    title = f"{html.escape(found.name_a)} and {html.escape(found.name_b)}"
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>A = "
        f"{html.escape(found.name_a)}<br>B = {html.escape(found.name_b)}</h1>"
        + "\n".join(parts)
        + "</body></html>\n",
        n_shown,
    )


def _shown(key: str, doc: Read, items: Tuple[Set[Item], Set[Item], Set[Item]], colors: Any) -> str:
    gold, a, b = items
    verdict = {"gold": "", "A": _verdict(gold, a), "B": _verdict(gold, b)}
    rows = []
    if key in ("cats", "tags"):
        rows.append(f'<div class="row"><span></span><div>{html.escape(doc.gold.text)}</div></div>')
    for who, of, found in (("gold", doc.gold, gold), ("A", doc.a, a), ("B", doc.b, b)):
        if key == "cats":
            shown = html.escape(", ".join(sorted(label for _, _, label in found)) or "(none)")
        elif key == "tags":
            wrong = sorted(
                x for x in found if a ^ b and x in a ^ b or x in gold and x[:2] in _starts(a ^ b)
            )
            shown = html.escape(", ".join(f"{of.text[s:e]}/{label}" for s, e, label in wrong))
        else:
            shown = _displacy(key, of, colors, found)
        rows.append(
            f'<div class="row"><span class="who">{who} '
            f'<span class="note">{verdict[who]}</span></span><div>{shown}</div></div>'
        )
    return "\n".join(rows)


def _starts(items: Set[Item]) -> Set[Tuple[int, int]]:
    return {item[:2] for item in items}


def _verdict(gold: Set[Item], found: Set[Item]) -> str:
    return f"{len(gold & found)}/{len(gold)}" + (f" +{len(found - gold)}" if found - gold else "")


def _displacy(key: str, doc: Doc, colors: Any, items: Set[Item]) -> str:
    from spacy import displacy

    overlapping = any(x != y and x[0] < y[1] and y[0] < x[1] for x in items for y in items)
    options = {"colors": colors}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts without any
        if not overlapping:
            ents = [{"start": s, "end": e, "label": label} for s, e, label in sorted(items)]
            return displacy.render(
                {"text": doc.text, "ents": ents, "title": None},
                style="ent",
                manual=True,
                options=options,
                jupyter=False,
            )
        spans = {"spans_key": key.partition(":")[2], **options}
        return displacy.render(doc, style="span", options=spans, jupyter=False)
