"""The benchmarks run, from the command line that their docstrings give."""

import json
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from benchmarks import calibration, grid, recipes, report, scores, tried, with_flair
from corpora import folders, generated

ROOT = Path(__file__).resolve().parent.parent


def run(*args):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("model", ["ner", "dice_ner"])
def test_a_cell_is_measured_once(model, tmp_path):
    data = generated.write(tmp_path / "generated")
    results = tmp_path / "results.jsonl"
    command = ["benchmarks.cell", "--data", data, "--model", model, "--loss", "dice_ce"]
    command += ["--size", 50, "--results", results, "--keep", tmp_path / "model"]
    command += ["--set", "training.max_steps=20", "training.eval_frequency=10"]
    run(*command)
    assert "Done already" in run(*command)
    (line,) = results.read_text().splitlines()
    done = json.loads(line)
    assert (done["data"], done["size"], done["seed"]) == ("generated", 50, 0)
    assert [step for step, _ in done["curve"]] == [0, 10, 20]
    assert set(done["test"]) == {"f", "p", "r", "macro_f", "per_type", "seqeval_f"}
    assert done["test"]["seqeval_f"] == pytest.approx(done["test"]["f"])
    assert done["versions"]["spacy"] and sum(done["train_counts"].values()) > 20
    if model == "dice_ner":
        assert done["best_threshold"]["dev"] >= done["dev"]["f"]
        output = run("benchmarks.calibration", "--data", data, tmp_path / "model")
        assert output.count("ECE") + output.count("no entities") == 2
        rows = run("benchmarks.thresholds", "--data", data, tmp_path / "model").splitlines()
        assert len(rows) == 24 and rows[0].split() == ["dev", "precision", "recall", "F1"]


@pytest.mark.parametrize("model, lowest", [("tagger", 0.4), ("textcat", 0.3), ("spancat", 0.4)])
def test_cells_of_other_components(model, lowest, tagged, tmp_path):
    """Their predictions are scored, which scores of 0 would not show."""
    data = tmp_path / "in"
    data.mkdir()
    write = {"tagger": write_conllu, "textcat": write_messages, "spancat": generated.write}
    write[model](data)
    results = tmp_path / "results.jsonl"
    command = ["benchmarks.cell", "--data", data, "--model", model, "--loss", "dice_ce"]
    command += ["--results", results, "--set", "training.max_steps=120"]
    run(*command, "training.eval_frequency=20")
    (line,) = results.read_text().splitlines()
    done = json.loads(line)
    assert done["test"]["f"] > lowest
    assert done["curve"][-1][0] == 120 and sum(done["train_counts"].values()) > 20


def write_conllu(folder):
    row = "{}\t{}\t_\t{}\t_\t_\t0\troot\t_\t_"
    words = [("Dogs", "NOUN"), ("bark", "VERB"), ("loudly", "ADV")]
    sentence = "\n".join(row.format(i, word, tag) for i, (word, tag) in enumerate(words, 1))
    for split in folders.SPLITS:
        (folder / f"{split}.conllu").write_text((sentence + "\n\n") * 30)


def write_messages(folder):
    rows = [f"spam\twin {i} now" if i % 5 == 0 else f"ham\tsee you {i}" for i in range(200)]
    (folder / "sms.tsv").write_text("label\ttext\n" + "\n".join(rows) + "\n")


def test_every_recipe_is_a_loss_of_both_toolkits():
    from thinc.api import registry

    import flair_dice

    for name, recipe in recipes.RECIPES.items():
        ours = registry.resolve({"loss": recipes.as_config(recipe)})["loss"]
        theirs = flair_dice.make_loss(recipe)
        assert type(ours).__name__ == type(theirs).__name__, name


def test_counts_carried_over_batches_by_hand():
    """One batch alone is Dice, balanced or not; then half of what was counted is still there."""
    import torch

    import flair_dice

    torch.manual_seed(0)
    logits, y = torch.randn(2, 6, 3, requires_grad=True), torch.tensor([0, 0, 1, 1, 2, 0])
    for average in ("macro", "micro"):
        options = {"average": average, "background": [0]}
        stock = flair_dice.Dice(level="batch", squared=False, **options)
        for momentum, balance in ((0.5, 0.0), (0.0, 0.0)):
            loss = tried.CarriedDice(momentum=momentum, balance=balance, **options)
            assert loss(logits[0], y).item() == pytest.approx(stock(logits[0], y).item())
            gradient = torch.autograd.grad(loss(logits[1], y), logits)[0]
            kept = torch.softmax(logits[0], 1)[:, 1:].detach(), torch.eye(3)[y][:, 1:]
            p, gold = torch.softmax(logits[1], 1)[:, 1:], torch.eye(3)[y][:, 1:]
            num = momentum * (2 * kept[0] * kept[1]).sum(0) + (2 * p * gold).sum(0)
            den = momentum * (kept[0] + kept[1]).sum(0) + (p + gold).sum(0)
            if average == "micro":
                num, den = num.sum(), den.sum()
            n = 1 + momentum
            by_hand = n * (1 - (num + n) / (den + n)).mean()
            expected = torch.autograd.grad(by_hand, logits)[0]
            assert torch.allclose(gradient, expected, atol=1e-7)


def test_the_grid_names_what_there_is(tmp_path):
    """Each cell once, of a model and a loss that exist."""
    cells = [
        " ".join(map(str, command))
        for block in grid.GRID
        for command in grid.cells(block, tmp_path, "MiniLM")
    ]
    assert len(cells) == len(set(cells)) > 100
    for block in grid.GRID:
        assert set(block.losses) <= set(recipes.RECIPES)
        known = (ROOT / "configs" / f"{block.model}.cfg", ROOT / "examples" / f"{block.model}.py")
        assert any(path.exists() for path in known)


def test_options_of_a_script():
    options = with_flair.options(["crf=false", "epochs=8", "x=true"])
    assert options == ["--no-crf", "--epochs", "8", "--x"]


def test_strict_scores_by_hand(tmp_path):
    """Of two entities one is found whole, the other in part; one more is made up."""
    (tmp_path / "test.tsv").write_text(
        "Ann B-x B-x\nLee I-x I-x\nin O O\n\nNew B-y B-y\nYork I-y O\nnow O B-x\n\n"
    )
    found = scores.of_columns(tmp_path / "test.tsv")
    assert (found["p"], found["r"]) == (pytest.approx(1 / 3), 0.5)
    assert found["per_type"] == {"x": pytest.approx(2 / 3), "y": 0.0}
    assert found["macro_f"] == pytest.approx(1 / 3) and found["f"] == pytest.approx(0.4)


def test_shares(tmp_path):
    command = ["benchmarks.shares", "--data", generated.write(tmp_path), "--size", 50, "--set"]
    rows = run(*command, "training.max_steps=20", "training.eval_frequency=10").splitlines()
    assert rows[0].split("  ")[3:] == [
        "cross_entropy on O, on entities",
        "dice on O, on entities",
    ]
    assert [row.split()[0] for row in rows[1:]] == ["0", "10", "20"]
    assert all(float(value) >= 0 for row in rows[1:] for value in row.split())


@pytest.mark.parametrize("write", ["write_conllu", "write_messages", "generated"])
def test_probe(write, tmp_path):
    """It learns; a seed gives what it gave before, whatever else runs; cells are done once."""
    from flair_tests.helpers import BERT

    {"generated": generated.write}.get(write, globals().get(write))(made(tmp_path / "data/x"))
    command = ["benchmarks.probe", "--data", tmp_path / "data", "--transformer", BERT]
    command += ["--corpus", "x", "--size", 60, "--epochs", 12, "--cache", tmp_path / "cache"]
    command += ["--learning-rate", 0.003, "--loss", "ce", "dice_ce_macro_later", "--seeds"]
    results = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    run(*command, 2, "--results", results[0])
    assert not run(*command, 2, "--results", results[0])
    run(*command, 1, "--results", results[1])
    once, again = ([json.loads(line) for line in path.read_text().splitlines()] for path in results)
    assert [(c["loss"], c["seed"]) for c in once] == [
        ("ce", 0),
        ("ce", 1),
        ("dice_ce_macro_later", 0),
        ("dice_ce_macro_later", 1),
    ]
    assert [c["test"] for c in again] == [c["test"] for c in once[::2]]
    for cell in once:
        assert cell["test"]["f"] > 0.2 and len(cell["curve"]) == 12
        assert cell["best_threshold"]["dev"] >= max(score for _, score in cell["curve"])


def made(folder):
    folder.mkdir(parents=True)
    return folder


def test_spans_of_tags():
    tags = ["B-x", "I-x", "O", "I-x", "I-y", "B-x", "B-x", "I-x", "O"]
    assert scores.spans(tags, [5, 4]) == [
        (0, 2, "x"),
        (3, 4, "x"),
        (4, 5, "y"),
        (5, 6, "x"),
        (6, 8, "x"),
    ]


def results_file(path):
    """Three seeds of cross-entropy and of a loss that gains 1, 2 and 3 points."""
    lines = []
    for loss, points in {"ce": (40, 50, 60), "dice": (41, 52, 63), "one_seed": (45,)}.items():
        for seed, f in enumerate(points):
            test = {"f": f / 100, "p": 0.5, "r": 0.5, "macro_f": 0.1, "per_type": {"X": 0.2}}
            line = {"data": "d", "size": 300, "model": "ner", "loss": loss, "seed": seed}
            line.update(settings=[], dev=test, test=test, curve=[[0, 0.0], [100, f / 100]])
            lines.append(json.dumps({**line, "train_counts": {"X": 7}}))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_report_by_hand(tmp_path):
    """Gains of 1, 2 and 3: the mean is 2, the deviation 1, t of 2 degrees 4.303."""
    groups = report.grouped(report.read([results_file(tmp_path / "r.jsonl")]))
    ((group, by_loss),) = groups.items()
    found = report.gain(by_loss["dice"], by_loss["ce"])
    assert found.mean == pytest.approx(2) and found.half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert report.table(group, by_loss)[2:] == [
        "| loss | seeds | dev | test | gain on test |",
        "|---|---|---|---|---|",
        "| ce | 3 | 50.0 | 50.0 |  |",
        "| dice | 3 | 52.0 | 52.0 | +2.0 ± 2.5 |",
        "| one_seed | 1 | 45.0 | 45.0 | +5.0 |",
    ]
    assert report.summary(groups, ["dice", "one_seed", "none"]) == [
        "| data | size | model | ce | dice | one_seed | none |",
        "|---|---|---|---|---|---|---|",
        "| d | 300 | ner | 50.0 | +2.0 ± 2.5 (3) | +5.0 (1) |  |",
    ]
    assert report.types(group, by_loss, ["dice", "none"])[2:] == [
        "| type | in training | ce | dice |",
        "|---|---|---|---|",
        "| X | 7 | 20.0 | 20.0 |",
    ]
    for seed, cell in by_loss["dice"].items():
        cell["best_threshold"] = {"test": 0.4 + seed / 10}
    assert report.table(group, by_loss)[2:6] == [
        "| loss | seeds | dev | test | gain on test | test, best threshold |",
        "|---|---|---|---|---|---|",
        "| ce | 3 | 50.0 | 50.0 |  |  |",
        "| dice | 3 | 52.0 | 52.0 | +2.0 ± 2.5 | 50.0 |",
    ]


def test_the_tables_of_the_evidence_are_those_of_the_results():
    groups = report.grouped(report.read(sorted(report.RESULTS.glob("*.jsonl"))))
    document = (ROOT / "docs/evidence.md").read_text()
    assert document.count("<!-- end -->") >= 5
    assert report.filled(document, groups) == document, "run benchmarks.report --fill"
    with pytest.raises(ValueError, match="no cells of wnut17 7 ner"):
        report.filled("<!-- table wnut17 7 ner -->\n<!-- end -->", groups)


def test_report_prints_what_was_measured_and_plots(tmp_path):
    assert "**wnut17, full, dice_ner**" in run("benchmarks.report")
    output = run(
        "benchmarks.report", results_file(tmp_path / "r.jsonl"), "--plots", tmp_path / "plots"
    )
    names = {"gains", "curves-d-300-ner", "precision-recall-d-300-ner", "types-d-300-ner"}
    assert {path.stem for path in (tmp_path / "plots").glob("*.png")} == names
    assert output.count("Wrote") == 4


def test_scores_of_tags_by_hand():
    vocab = spacy.blank("en").vocab
    words = list("abcde")
    gold = Doc(vocab, words=words, tags=["X", "X", "Y", "Y", ""])
    examples = [Example(Doc(vocab, words=words, tags=["X", "Y", "Y", "Z", "X"]), gold)]
    found = scores.of_tags(examples)
    assert (found["f"], found["p"], found["r"]) == (0.5, 0.5, 0.5)
    assert found["per_type"] == pytest.approx({"X": 2 / 3, "Y": 0.5, "Z": 0.0})
    assert found["macro_f"] == pytest.approx(7 / 18)


def test_speed(tmp_path):
    data = generated.write(tmp_path)
    output = run("benchmarks.speed", "--data", data, "--sentences", 40, "--rounds", 1)
    assert len([line for line in output.splitlines() if "(from" in line]) == 10


def test_calibration_error_by_hand():
    p = numpy.array([0.15, 0.15, 0.95, 0.95, 1.0])
    right = numpy.array([True, False, True, True, False])
    bins = calibration.reliability(p, right)
    assert [b.count for b in bins] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3]
    # 2 of 5 are off by 0.5 - 0.15, 3 of 5 by 29/30 - 2/3.
    assert calibration.expected_error(bins) == pytest.approx(0.4 * 0.35 + 0.6 * 0.3)
