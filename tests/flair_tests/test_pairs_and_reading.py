"""The examples of paraphrases and of NER as reading train, from their command lines."""

import json

import pytest
from flair.data import Corpus
from flair.datasets import FlairDatapointDataset

from corpora import in_flair, pairs_in_flair
from examples import flair_pairs, flair_reading
from flair_tests.helpers import BERT
from spacy_dice import pairs

WORDS = "river stone cloud garden window market".split()


def write(path, n, first=0):
    """Pairs of which every third speaks of the same thing."""
    lines = []
    for i in range(first, first + n):
        one, other = WORDS[i % 6], WORDS[(i + 1 + i // 6 % 5) % 6]
        label = int(i % 3 == 0)
        lines.append(f"we saw the {one} today\tyou looked at a {one if label else other}\t{label}")
    path.write_text("\n".join(lines))
    return path


def test_pairs_as_a_corpus_of_flair(tmp_path):
    path = write(tmp_path / "a.tsv", 6)
    corpus = pairs_in_flair.corpus(path, path, path, train_limit=4)
    assert [len(split) for split in (corpus.train, corpus.dev, corpus.test)] == [4, 6, 6]
    for pair, found in zip(corpus.test, pairs.read(path)):
        label = pair.get_label(pairs_in_flair.LABEL_TYPE).value
        assert (pair.first.text, pair.second.text, label) == found


@pytest.mark.parametrize(
    "loss", [pytest.param("stock", marks=pytest.mark.slow), json.dumps(flair_pairs.DICE_CE)]
)
def test_paraphrases(loss, run, small_bert, tmp_path):
    files = {split: write(tmp_path / f"{split}.tsv", n, n) for split, n in SIZES.items()}
    output = run(
        "examples.flair_pairs",
        *(item for split, path in files.items() for item in (f"--{split}", path)),
        *("--loss", loss, "--transformer", small_bert, "--epochs", 6, "--learning-rate", 5e-4),
        *("--tune-threshold", "--output", tmp_path / "out"),
    )
    line = json.loads(output.splitlines()[-1])
    assert line["test"]["f"] > 80 and line["dev"]["f"] > 80
    assert 0 < line["threshold"] < 1


SIZES = {"train": 48, "dev": 18, "test": 18}


def test_scores_of_the_positive_class():
    found = [(0.9, True), (0.6, False), (0.4, True), (0.2, False)]
    assert flair_pairs.scores(found, 0.5) == {"p": 50.0, "r": 50.0, "f": 50.0}
    assert flair_pairs.best_threshold(found) == pytest.approx(0.3)
    assert flair_pairs.scores(found, 0.3)["f"] == 80.0


@pytest.mark.slow
def test_reading(run, folder, tmp_path):
    output = run(
        "examples.flair_reading",
        *("--loss", "DiceCE", "--transformer", BERT, "--data", folder, "--size", 100),
        *("--output", tmp_path, "--question", "person=a person", "city=a place"),
        *("--learning-rate", 5e-4, "--epochs", 5, "--mini-batch-size", 4),
    )
    line = json.loads(output.splitlines()[-1])
    assert line["dev"] > 15


def test_questions_take_the_place_of_labels():
    sentences = in_flair.sentences([(["Ada", "saw", "Rome"], ["B-person", "O", "B-city"])])
    corpus = Corpus(FlairDatapointDataset(sentences), sample_missing_splits=False)
    flair_reading.rename(corpus, {"person": "name of a person"})
    labels = [span.get_label("ner").value for span in sentences[0].get_spans("ner")]
    assert labels == ["name of a person", "city"]
    with pytest.raises(ValueError, match="'planet' is none of the labels"):
        flair_reading.rename(corpus, {"planet": "x"})
