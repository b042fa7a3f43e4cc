"""Cuts: what a threshold tuned on dev makes of scores that a model has given already.

Sigmoid heads: a label is predicted where its score is at least the cut, one for all labels or one
for each. Softmax heads: each label's logit gets a number added before the best is taken; the
same for all would do nothing.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy

Array = Any
CUTS = tuple(i / 100 for i in (1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 80, 90))
SHIFTS = (-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


class Read(NamedTuple):
    """What a model gives for the rows of a split, and what is true of them.

    p, y: ``(rows, labels)``, probabilities, and 1 or 0. missed: ``(labels,)``, how many are true
    of what is no row (spans that the suggester does not suggest).
    """

    p: Array
    y: Array
    missed: Array


def f_scores(predicted: Array, read: Read, macro: bool) -> float:
    """F1 of predictions ``(rows, labels)``: pooled over labels, or the mean of those that are
    true or predicted somewhere."""
    hits = (predicted & (read.y > 0)).sum(axis=0)
    both = predicted.sum(axis=0) + (read.y > 0).sum(axis=0) + read.missed
    if not macro:
        return float(2 * hits.sum() / max(both.sum(), 1))
    there = both > 0
    return float((2 * hits[there] / both[there]).mean()) if there.any() else 0.0


def of_sigmoids(dev: Read, test: Read, macro: bool) -> Dict[str, Any]:
    """One cut for all labels, and one for each, with the best F1 on dev; F1 on dev and test."""
    one = max(CUTS, key=lambda cut: (f_scores(dev.p >= cut, dev, macro), -abs(cut - 0.5)))
    each = numpy.array([_best_cut(dev, column) for column in range(dev.p.shape[1])])
    return {"one": _at(one, dev, test, macro), "each": _at(each, dev, test, macro)}


def of_softmax(dev: Read, test: Read, macro: bool) -> Dict[str, Any]:
    """A shift for each label but the first, found label by label, twice over."""
    shifts = numpy.zeros(dev.p.shape[1])
    logits: Tuple[Array, Array] = (_log(dev.p), _log(test.p))

    def f(read: Read, of_logits: Array) -> float:
        best = (of_logits + shifts).argmax(axis=1)
        return f_scores(best[:, None] == numpy.arange(len(shifts)), read, macro)

    best = f(dev, logits[0])
    for column in [*range(1, len(shifts))] * 2:
        for shift in SHIFTS:
            kept, shifts[column] = shifts[column], shift
            found = f(dev, logits[0])
            if found > best:
                best = found
            else:
                shifts[column] = kept
    return {"each": {"dev": best, "test": f(test, logits[1])}}


def _best_cut(read: Read, column: int) -> float:
    one = Read(*(part[..., column : column + 1] for part in read))
    return max(CUTS, key=lambda cut: (f_scores(one.p >= cut, one, False), -abs(cut - 0.5)))


def _at(cut: Any, dev: Read, test: Read, macro: bool) -> Dict[str, Any]:
    made: Dict[str, Any] = {
        s: f_scores(r.p >= cut, r, macro) for s, r in (("dev", dev), ("test", test))
    }
    return {**made, "cut": cut} if isinstance(cut, float) else made


def _log(p: Array) -> Array:
    return numpy.log(numpy.maximum(p.astype("float64"), 1e-12))


def read(pipe: Any, examples: Any, guesses: List[Any]) -> Optional[Read]:
    """What a component predicted for the docs of examples, batch by batch, against their truth.
    None for a component whose scores no cut of this kind can be tried on."""
    if hasattr(pipe, "suggester"):
        return _joined(_of_spans, pipe, examples, guesses, [len(g[0].lengths) for g in guesses])
    if hasattr(pipe, "_validate_categories"):
        return _joined(_of_cats, pipe, examples, guesses, [len(g) for g in guesses])
    return None


def _joined(of: Any, pipe: Any, examples: Any, guesses: List[Any], sizes: List[int]) -> Read:
    parts, first = [], 0
    for guess, n in zip(guesses, sizes):
        parts.append(of(pipe, examples[first : first + n], guess))
        first += n
    return Read(
        numpy.concatenate([part.p for part in parts]),
        numpy.concatenate([part.y for part in parts]),
        numpy.sum([part.missed for part in parts], axis=0),
    )


def _of_spans(pipe: Any, examples: Any, guess: Any) -> Read:
    indices, p = guess
    index = {label: i for i, label in enumerate(pipe.labels)}
    p = numpy.asarray(p)[:, : len(index)]
    y, missed = numpy.zeros(p.shape, dtype="int8"), numpy.zeros(p.shape[1], dtype="int64")
    first, candidates = 0, numpy.asarray(indices.dataXd)
    for eg, n in zip(examples, numpy.asarray(indices.lengths).tolist()):
        gold = {(s.start, s.end, s.label_) for s in eg.reference.spans[pipe.key]}
        if gold:
            pairs = enumerate(candidates[first : first + n].tolist(), first)
            rows = {tuple(pair): row for row, pair in pairs}
            for start, end, label in gold:
                if (start, end) in rows and label in index:
                    y[rows[start, end], index[label]] = 1
                elif label in index:
                    missed[index[label]] += 1
        first += n
    return Read(p, y, missed)


def _of_cats(pipe: Any, examples: Any, guess: Any) -> Read:
    y = [[int(eg.reference.cats.get(name, 0) > 0.5) for name in pipe.labels] for eg in examples]
    missed = numpy.zeros(len(pipe.labels), dtype="int64")
    return Read(numpy.asarray(guess), numpy.array(y, dtype="int8"), missed)
