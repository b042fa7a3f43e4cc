"""The example scripts and the benchmark run, from the command lines that their docstrings give."""

import json

import pytest

from corpora import columns, in_flair


@pytest.mark.parametrize(
    "loss", [pytest.param("stock", marks=pytest.mark.slow), '{"name": "DiceCE", "weight": 0.5}']
)
@pytest.mark.parametrize(
    "script, options",
    [
        ("flair_transformer", ["--learning-rate", 5e-4, "--epochs", 5, "--mini-batch-size", 4]),
        ("flair_stacked", ["--epochs", 8, "--mini-batch-size", 8]),
    ],
)
def test_scripts_train(script, options, loss, run, folder, small_bert, tmp_path):
    output = run(
        f"examples.{script}",
        *("--loss", loss, "--transformer", small_bert, "--data", folder, "--size", 100),
        *("--output", tmp_path, *options),
    )
    line = json.loads(output.splitlines()[-1])
    assert line["loss"] == ("None" if loss == "stock" else "{'name': 'DiceCE', 'weight': 0.5}")
    assert line["dev"] > 30 and line["test"] > 30


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A word for each label; one text in eight has both."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "labels.txt").write_text("glad\nsad\n")
    kinds = [("what a fine day", "0"), ("it rains again", "1")] * 4
    kinds[-1] = ("fine , it rains", "0,1")
    for split in ("train", "dev", "test"):
        rows = [f"{kinds[i % 8][0]} {i}\t{kinds[i % 8][1]}" for i in range(64)]
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_texts_with_several_labels(run, texts, small_bert, tmp_path):
    """The last line is JSON; F1 of each label is in the lines before it. Cross-entropy is what
    Flair trains with."""
    command = ["examples.flair_texts", "--data", texts, "--transformer", small_bert, "--tune"]
    command += ["--size", 48, "--epochs", 2, "--mini-batch-size", 4, "--learning-rate", 3e-4]
    curves = []
    for i, loss in enumerate(("stock", "CrossEntropy", '{"name": "DiceCE", "weight": 2.0}')):
        rows = run(*command, "--loss", loss, "--output", tmp_path / f"{i}").splitlines()
        line, by_label = json.loads(rows[-1]), [row.split() for row in rows[-3:-1]]
        assert [row[0] for row in by_label] == ["glad", "sad"]
        for column, split in ((1, "test"), (2, "tuned")):
            label_scores = [float(row[column]) for row in by_label]
            assert sum(label_scores) / 2 == pytest.approx(line[split], abs=0.06)
        assert line["dev"] > 60 and line["tuned"] > 60
        written = (tmp_path / f"{i}/loss.tsv").read_text().splitlines()
        head, *epochs = [row.split("\t") for row in written]
        curves.append([row[head.index("DEV_LOSS")] for row in epochs])
        best = max(float(row[head.index("DEV_F1")]) for row in epochs)
        assert 100 * best == pytest.approx(line["dev"], abs=0.01)
    assert curves[0] == curves[1] != curves[2]


def test_cost_of_marginals(run):
    """That it measures; what it measures is not asked of a machine that runs tests."""
    lines = run("benchmarks.speed.crf", "--rounds", 1, "--length", 8).splitlines()
    assert len([line for line in lines if "/ ViterbiLoss" in line]) == 3


def test_columns_as_a_corpus_of_flair(folder):
    files = {split: folder / f"{split}.conll" for split in ("train", "dev", "test")}
    corpus = in_flair.corpus(files, train_limit=7)
    assert [len(split) for split in (corpus.train, corpus.dev, corpus.test)] == [7, 120, 120]
    drawn = [[s.text for s in in_flair.corpus(files, 7, seed).train] for seed in (0, 1)]
    assert drawn[0] == [s.text for s in corpus.train] != drawn[1]
    for sentence, (words, tags) in zip(corpus.test, columns.read(files["test"])):
        assert [token.text for token in sentence] == words
        spans = [(span[0].idx - 1, span.tag) for span in sentence.get_spans("ner")]
        assert spans == [(i, tag[2:]) for i, tag in enumerate(tags) if tag[0] == "B"]
        covered = sum(len(span) for span in sentence.get_spans("ner"))
        assert covered == sum(tag != "O" for tag in tags)
