"""The stock ner with our losses: gradients on real parser states, parity, missing annotation."""

from functools import partial

import numpy
import pytest
import spacy
from numpy.testing import assert_allclose
from spacy.pipeline.ner import EntityRecognizer
from spacy.tokens import Span

from dice_core.losses import BoundLoss
from spacy_dice import use_loss
from spacy_dice.components.transition import merged_gold_loss
from spacy_dice.losses import (
    Compound,
    CrossEntropy,
    Dice,
    DiceCE,
    Focal,
    SelfAdjustingDice,
    Tversky,
    WeightedCrossEntropy,
)
from spacy_tests.helpers import NER_SENTENCES as SENTENCES
from spacy_tests.helpers import ner_examples as examples
from spacy_tests.helpers import numeric_gradient, pipeline


def make(sentences=SENTENCES, **config):
    return pipeline("ner", partial(examples, sentences=sentences), **config)


def real_steps(ner, data, n_steps=5):
    """Scores and gold of real parser states, with wrong turns taken as in training."""
    states, golds, _ = ner.moves.init_gold_batch(data)
    model, _ = ner.model.begin_update([eg.x for eg in data])
    rng = numpy.random.default_rng(0)
    for _ in range(n_steps):
        scores, _ = model.begin_update(states)
        yield list(states), list(golds), scores
        noisy = (scores + rng.normal(size=scores.shape) * 3).astype("f")
        ner.transition_states(states, noisy)
        pairs = [(s, g) for s, g in zip(states, golds) if not s.is_final()]
        if not pairs:
            break
        states, golds = map(list, zip(*pairs))


def stock_twin(ner):
    """A stock component with the same settings and moves."""
    stock = EntityRecognizer(ner.vocab, ner.model, ner.name, moves=ner.moves)
    stock.cfg = dict(ner.cfg)
    return stock


LOSSES = [
    CrossEntropy(),
    Focal(),
    Dice(),
    SelfAdjustingDice(alpha=0.5),
    Tversky(alpha=0.3, beta=0.7),
    Dice(level="batch", average="micro", background=None),
    DiceCE(),
    WeightedCrossEntropy(),
    Compound([Focal(), Dice(level="batch", log=True)], [1, 0.5]),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_gradient_on_real_states_equals_finite_differences(loss):
    """And that of cross-entropy equals stock's."""
    nlp, data = make()
    for _ in range(5):
        nlp.update(data)
    use_loss(nlp, {"ner": CrossEntropy()})
    ner = nlp.get_pipe("ner")
    if isinstance(loss, WeightedCrossEntropy):
        loss = WeightedCrossEntropy(counts=list(range(1, ner.moves.n_moves + 1)))
    n_ambiguous, spec = 0, ner.label_spec(ner)
    stock = stock_twin(ner)
    for states, golds, scores in real_steps(ner, data):
        zeros = numpy.zeros_like(scores)
        gold = stock.get_batch_loss(states, golds, zeros, None) < 0
        n_ambiguous += int((gold.sum(axis=1) > 1).sum())

        def value(z, gold=gold):
            return merged_gold_loss(BoundLoss(loss.core), z, gold, spec)[1]

        # Apart from ties, where the best-scored gold action is not unique.
        scores = scores + numpy.random.default_rng(1).normal(size=scores.shape).astype("f") / 100
        z = scores.astype("float64")
        gradient, _ = merged_gold_loss(BoundLoss(loss.core), z, gold, spec)
        ner.set_loss(loss)
        losses = {}
        through = ner.get_batch_loss(states, golds, scores, losses)
        assert through.dtype == "float32" and through.flags["C_CONTIGUOUS"]
        if isinstance(loss, CrossEntropy):
            expected = stock.get_batch_loss(states, golds, scores, None)
            assert_allclose(through, expected, atol=1e-5 * abs(expected).max())
        assert losses["ner"] == pytest.approx(value(z), rel=1e-4)
        assert_allclose(through, gradient, atol=1e-5 * max(1, abs(gradient).max()))
        numeric = numeric_gradient(value, z)
        assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7 * max(1, abs(numeric).max()))
    assert n_ambiguous, "the states should include some with several gold actions"


@pytest.mark.parametrize("loss", LOSSES[:8], ids=lambda loss: type(loss).__name__)
def test_missing_annotation_and_incorrect_spans(loss):
    """Nothing to learn gives a zero gradient; "not this entity" still teaches."""
    sentences = [("Ann met Bob .", "- - - -"), ("Rome is far", "U-LOC O -")]
    nlp, data = make(SENTENCES, incorrect_spans_key="wrong")
    use_loss(nlp, {"ner": loss})
    ner = nlp.get_pipe("ner")
    partial = examples(nlp, sentences)
    partial[0].reference.spans["wrong"] = [Span(partial[0].reference, 0, 1, label="LOC")]
    losses = {}
    for _ in range(3):
        nlp.update(partial, losses=losses)
    assert numpy.isfinite(losses["ner"])
    states, golds, _ = ner.moves.init_gold_batch(partial[:1])
    scores = numpy.zeros((1, ner.moves.n_moves), dtype="f")
    gradient = ner.get_batch_loss(states, golds, scores, None)
    names = ner.label_spec(ner).names
    if isinstance(loss, (CrossEntropy, Focal)):
        assert gradient[0, names.index("U-LOC")] > 0 > gradient[0, names.index("O")]
    assert numpy.isfinite(gradient).all()


def test_beam_updates_are_refused_and_beam_decoding_is_not():
    nlp = spacy.blank("en")
    nlp.add_pipe("beam_ner", name="ner")
    data = examples(nlp)
    nlp.initialize(lambda: data)
    with pytest.raises(ValueError, match="'ner': beam_update_prob is 0.5"):
        use_loss(nlp, {"ner": DiceCE()})
    nlp = spacy.blank("en")
    nlp.add_pipe("beam_ner", name="ner", config={"beam_update_prob": 0.0, "beam_width": 4})
    nlp.initialize(lambda: examples(nlp))
    use_loss(nlp, {"ner": DiceCE()})
    for _ in range(30):
        nlp.update(examples(nlp))
    assert [e.label_ for e in nlp("Ann Lee met Bob in Rome").ents] == ["PER", "PER", "LOC"]
    nlp.get_pipe("ner").to_bytes()
