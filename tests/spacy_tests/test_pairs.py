"""Pairs of texts: the files in which they come, and a stock textcat that reads both."""

import random

import pytest
import spacy
import torch
from thinc.api import ConfigValidationError

from spacy_dice.pairs import join, pairs_reader, read
from spacy_tests.helpers import invoke, scores
from spacy_tests.reading import BERT

WORDS = "river stone cloud garden window market".split()


def write(path, n, seed=0):
    """Pairs are the same if they speak of the same thing."""
    rng, lines = random.Random(seed), []
    for i in range(n):
        first, second = rng.sample(WORDS, 2)
        second = first if i % 3 == 0 else second
        lines.append(f"we saw the {first} today\tyou looked at a {second}\t{int(i % 3 == 0)}")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize(
    "content", ['a\tb\t1\n\nc\t"d\t0', '\ufefftext\tother\tlabel\r\na\tb\t1\r\nc\t"d\t0\r\n']
)
def test_files(content, tmp_path):
    (tmp_path / "a.tsv").write_text(content, encoding="utf8", newline="")
    assert read(tmp_path / "a.tsv") == [("a", "b", "1"), ("c", '"d', "0")]


@pytest.mark.parametrize(
    "content, message",
    [
        ("a\tb\t1\na\tb", "line 2: expected two texts and 0 or 1"),
        ("a\tb\t1\na\tb\t2", "line 2: expected two texts and 0 or 1"),
        ("a\tb\t1\na\t\t0", "line 2: expected two texts and 0 or 1"),
        ("a\tb\t2", "line 1: expected two texts and 0 or 1"),
        ("1\ta\tb\t0", "line 1: expected two texts and 0 or 1"),
        ("", "has no pairs"),
    ],
)
def test_lines_that_are_none(content, message, tmp_path):
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.tsv")
    with pytest.raises(ConfigValidationError, match=message):
        list(pairs_reader(tmp_path / "a.tsv")(spacy.blank("en")))


def test_examples(tmp_path):
    examples = list(pairs_reader(write(tmp_path / "a.tsv", 9), limit=6)(spacy.blank("en")))
    assert len(examples) == 6
    assert examples[0].reference.cats == {"SAME": 1.0, "DIFFERENT": 0.0}
    assert examples[1].reference.cats == {"SAME": 0.0, "DIFFERENT": 1.0}
    first, _, second = examples[0].predicted.text.partition("\t")
    assert first.startswith("we saw") and second.startswith("you looked")
    with pytest.raises(ConfigValidationError, match="has a text with the separator 'saw'"):
        list(pairs_reader(tmp_path / "a.tsv", separator="saw")(spacy.blank("en")))
    with pytest.raises(ConfigValidationError, match="path is null"):
        list(pairs_reader(None)(spacy.blank("en")))


def test_both_texts_are_encoded_as_a_pair():
    """The vector is that of the tokenizer's own encoding of pairs, with its types of pieces."""
    from transformers import AutoModel, AutoTokenizer

    nlp = spacy.blank("en")
    block = {"@architectures": "spacy_dice.TextPair.v1", "name": BERT}
    nlp.add_pipe("textcat", config={"model": block})
    doc = nlp.make_doc(join("we saw it", "you did not"))
    model = nlp.get_pipe("textcat").model
    model.initialize(X=[doc], Y=model.ops.alloc2f(1, 2))
    ours = model.layers[0].predict([doc, nlp.make_doc(join("a", "b"))])[0]
    encoded = AutoTokenizer.from_pretrained(BERT)("we saw it", "you did not", return_tensors="pt")
    assert encoded["token_type_ids"].sum() == 4
    with torch.no_grad():
        theirs = AutoModel.from_pretrained(BERT)(**encoded).last_hidden_state[0, 0]
    torch.testing.assert_close(torch.tensor(ours), theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigValidationError, match="between its two texts"):
        model.predict([nlp.make_doc("one text")])


def test_paraphrases_by_the_command_line(configs, tmp_path):
    train, dev = write(tmp_path / "train.tsv", 120), write(tmp_path / "dev.tsv", 30, seed=1)
    status, output = invoke(
        *("train", configs / "textcat_pairs.cfg", "-o", tmp_path),
        *("--paths.train", train, "--paths.dev", dev, "--paths.transformer", BERT),
        *("--training.max_epochs", 4, "--training.eval_frequency", 8),
        *("--training.optimizer.learn_rate.initial_rate", 0.0005),
        *("--training.optimizer.learn_rate.warmup_steps", 4),
    )
    assert status == 0, output
    assert max(scores(output)) > 0.9, output
    nlp = spacy.load(tmp_path / "model-best")
    texts = [join("we saw the river", "you looked at a river"), join("the river", "a stone")]
    same, different = (doc.cats["SAME"] for doc in nlp.pipe(texts))
    assert same > 0.5 > different
