"""Two pipelines on the same documents: F1 by label, whether the difference is more than chance,
and what one finds that the other misses.

The functions behind `python -m spacy dice compare`.
"""

import html
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from spacy.language import Language
from spacy.pipeline.textcat import TextCategorizer
from spacy.pipeline.textcat_multilabel import MultiLabel_TextCategorizer
from spacy.tokens import Doc, Span
from spacy.training import Example

from dice_core.comparison import (
    LEVEL,
    Comparison,
    Item,
    Task,
    Triple,
    calibration_or_note,
    percent,
    score_items,
    sections,
)
from dice_core.tuning.report import CalibrationReport

from ..errors import config_error
from ..tuning.run import calibrate


class Read(NamedTuple):
    """A document, as it is annotated and as both see it."""

    gold: Doc
    a: Doc
    b: Doc


@dataclass
class PipelineComparison(Comparison):
    """What `compare` found: print it, or ask for `to_dict`, `plot` and `to_html`."""

    docs: List[Read] = field(default_factory=list, repr=False)
    items: Dict[str, List[Triple]] = field(default_factory=dict, repr=False)

    __str__ = Comparison.__str__

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
    calibration: bool = True,
) -> PipelineComparison:
    """Compare two pipelines on the same documents.

    The intervals are of a paired bootstrap over documents: both are scored on the same resampled
    documents, and the interval holds the middle 95 % of the differences. It says what other
    documents of the same kind would do, and nothing about other seeds of the training.

    Args:
        nlp_a: A trained pipeline.
        nlp_b: Another.
        examples_a: With gold annotation. What is predicted already is not read.
        examples_b: The same documents for ``nlp_b``, if its tokenizer or vocabulary is another;
            None makes them from the texts.
        names: What to call the two.
        samples: Resamplings.
        seed: Of them.
        calibration: Whether to measure how well probabilities hold, of the first component that
            predicts each kind of annotation. It runs the pipelines once more.

    Returns:
        A `PipelineComparison`, with a `Task` for each kind of annotation that both predict and the
        examples have: entities, spans by key, categories, tags.

    Raises:
        ConfigValidationError: If there is no such kind, or no documents.

    Example:
        >>> from spacy_dice.commands.formats import read_examples
        >>> examples = read_examples("test.spacy", nlp_a)
        >>> print(compare(nlp_a, nlp_b, examples))
    """
    if samples < 100:
        raise config_error(f"compare: samples must be at least 100, got {samples}.")
    examples_a = list(examples_a)
    if not examples_a:
        raise config_error("compare: there are no documents.")
    gold = [eg.reference for eg in examples_a]
    pairs_b = [(eg.predicted, eg.reference) for eg in examples_b or ()] or [(d, d) for d in gold]
    examples_a = [Example(_fresh(eg.predicted, nlp_a), eg.reference) for eg in examples_a]
    examples_b = [Example(_fresh(doc, nlp_b), of) for doc, of in pairs_b]
    docs = [
        Read(*of_doc)
        for of_doc in zip(
            gold,
            nlp_a.pipe([eg.predicted.copy() for eg in examples_a]),
            nlp_b.pipe([eg.predicted.copy() for eg in examples_b]),
        )
    ]
    found = PipelineComparison(*names, tasks=[], docs=docs)
    for key, what, read in _tasks(nlp_a, nlp_b, docs):
        items = [read(doc) for doc in docs]
        kept = [triple for triple in items if triple is not None]
        if not kept or not any(gold for gold, _, _ in kept):
            continue
        found.items[key] = [triple or (set(), set(), set()) for triple in items]
        task = score_items(key, what, kept, samples, seed)
        if calibration:
            task.calibration_a = _calibration(nlp_a, key, examples_a, names[0], task.notes)
            task.calibration_b = _calibration(nlp_b, key, examples_b, names[1], task.notes)
        found.tasks.append(task)
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


def _predicted_by(nlp: Language) -> Dict[str, str]:
    """What a pipeline predicts, and the first component that does."""
    kinds = {"doc.ents": "ents", "doc.cats": "cats", "token.tag": "tags"}
    found: Dict[str, str] = {}
    for name, pipe in nlp.pipeline:
        for attribute in nlp.get_pipe_meta(name).assigns:
            if attribute in kinds:
                found.setdefault(kinds[attribute], name)
            elif attribute == "doc.spans":
                key = (getattr(pipe, "cfg", None) or {}).get("spans_key")
                if key:
                    found.setdefault(f"spans:{key}", name)
    return found


def _calibration(
    nlp: Language, key: str, examples: Sequence[Example], whose: str, notes: List[str]
) -> Optional[CalibrationReport]:
    """How well a component's probabilities hold; why they are not known goes to the notes."""
    measure = partial(calibrate, nlp, examples, [_predicted_by(nlp)[key]], fit=False)
    return calibration_or_note(measure, whose, notes)


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


def _read_ents(doc: Read) -> Optional[Triple]:
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


def _read_spans(doc: Read, key: str, in_gold: bool) -> Optional[Triple]:
    if in_gold and key not in doc.gold.spans:
        return None
    gold = doc.gold.spans[key] if in_gold else doc.gold.ents
    a, b = (_items(of.spans.get(key, [])) for of in (doc.a, doc.b))
    return _items(gold), a, b


def _items(spans: Iterable[Span]) -> Set[Item]:
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


def _read_cats(doc: Read, decide_a: Any, decide_b: Any) -> Optional[Triple]:
    known = doc.gold.cats
    if not known:
        return None
    gold = {(0, 0, label) for label, value in known.items() if value > 0.5}
    a, b = (
        {(0, 0, label) for label in decide(of) if label in known}
        for decide, of in ((decide_a, doc.a), (decide_b, doc.b))
    )
    return gold, a, b


def _read_tags(doc: Read) -> Optional[Triple]:
    missing = {token.idx for token in doc.gold if not token.tag_}
    if len(missing) == len(doc.gold):
        return None
    gold, a, b = (
        {(t.idx, t.idx + len(t), t.tag_) for t in of if t.tag_ and t.idx not in missing}
        for of in doc
    )
    return gold, a, b


# -- saying it ------------------------------------------------------------------------------


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
article { border-top: 1px solid #ccc; padding: 0.75rem 0; }
.row { display: grid; grid-template-columns: 4.5rem 1fr; gap: 0.5rem; align-items: baseline; }
.who { font-weight: 600; } .entities { line-height: 2.2 !important; }
.note { color: #555; font-size: 0.9rem; } table { border-collapse: collapse; }
td, th { padding: 0.1rem 0.6rem; text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; border-bottom: 1px solid #999; } .wide { overflow-x: auto; }
tr.section td { font-weight: 600; padding-top: 0.7rem; white-space: normal; }
@media (max-width: 40rem) { td, th { padding: 0.1rem 0.25rem; } body { margin: 1rem auto; } }
"""
# Readable in black on all of them, and told apart by the colour-blind (Okabe and Ito, lightened).
COLORS = ("#fcd9a0", "#b5dcf3", "#a3dcc8", "#f6efa0", "#a9c8e0", "#f0bb95", "#e6bcd2", "#d9d9d9")


def _page(found: PipelineComparison, limit: int) -> Tuple[str, int]:
    parts, n_shown = [], 0
    for task in found.tasks:
        items = found.items[task.key]
        n_different = {i: len(a ^ b) for i, (_, a, b) in enumerate(items) if a != b}
        order = sorted(n_different, key=lambda i: (-n_different[i], i))[:limit]
        labels = [row.label for row in task.labels]
        colors = {label: COLORS[i % len(COLORS)] for i, label in enumerate(labels)}
        parts.append(f"<h2>{html.escape(task.what)}</h2>")
        parts.append(_tables(task))
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


def _tables(task: Task) -> str:
    """Scores by label, and what else is said of both."""
    names = [task.micro, *([task.macro] if len(task.labels) > 1 else []), *task.labels]
    rows = []
    for row in names:
        f1 = "".join(f"<td>{percent(of.f)}</td>" for of in (row.a, row.b))
        rest = "".join(f"<td>{percent(x)}</td>" for of in (row.a, row.b) for x in of[:2])
        rows.append(
            f"<tr><td>{html.escape(row.label)}</td><td>{row.n:,}</td>{f1}"
            f"<td>{100 * row.difference:+.1f}</td><td>{100 * row.low:+.1f} to "
            f"{100 * row.high:+.1f}{'*' if row.clear else ''}</td>{rest}</tr>"
        )
    heads = ["gold", "F1 A", "F1 B", "B - A", f"{LEVEL} % interval", "P A", "R A", "P B", "R B"]
    tables = [
        f'<tr class="section"><td colspan="3">{html.escape(heading)}</td></tr>'
        + "".join(
            f"<tr><td>{html.escape(words)}</td><td>{a}</td><td>{b}</td></tr>"
            for words, a, b in of_section
        )
        for heading, of_section in sections(task)
    ]
    return (
        f"<p>{task.n_docs:,} texts. Of {task.micro.n:,} gold, both find {task.both:,}, only A "
        f"{task.only_a:,}, only B {task.only_b:,}, neither {task.neither:,}.</p>"
        f'<div class="wide"><table><tr><th></th>{"".join(f"<th>{h}</th>" for h in heads)}'
        f"</tr>{''.join(rows)}</table></div>"
        '<p class="note">* 0 is outside of the interval, of a paired bootstrap over texts.</p>'
        f'<div class="wide"><table><tr><th></th><th>A</th><th>B</th></tr>{"".join(tables)}</table>'
        "</div>" + "".join(f'<p class="note">{html.escape(note)}</p>' for note in task.notes)
    )


def _shown(key: str, doc: Read, items: Triple, colors: Any) -> str:
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
