"""spaCy's command line with our configs, as users run it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from spacy_tests import reading, test_pairs
from spacy_tests.helpers import invoke, paths, scores

SHORT = ("--training.max_steps", "60", "--training.eval_frequency", "20")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CPU_CONFIGS = ("ner", "dice_ner", "tagger", "textcat", "spancat")


def train(name, out, run_spacy, configs, corpus):
    """Train one of our configs for as long as the generated corpus needs."""
    status, output = run_spacy(
        *("train", configs / f"{name}.cfg", "-o", out, *paths(corpus)),
        *("--training.max_steps", 300, "--training.eval_frequency", 100),
    )
    assert status == 0, output
    return out / "model-best", output


@pytest.fixture(scope="module")
def trained_ner(tmp_path_factory, run_spacy, configs, corpus):
    return train("ner", tmp_path_factory.mktemp("ner"), run_spacy, configs, corpus)


@pytest.fixture(scope="module")
def trained_dice_ner(tmp_path_factory, run_spacy, configs, corpus):
    return train("dice_ner", tmp_path_factory.mktemp("dice_ner"), run_spacy, configs, corpus)


def without_us(code, cwd):
    """Run code as if the package were not installed: neither it nor its metadata is found."""
    hidden = """
import sys, importlib.metadata as metadata
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "spacy_dice":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hide())
everything = metadata.distributions
metadata.distributions = lambda **kwargs: (
    d for d in everything(**kwargs) if d.metadata["Name"] != "spacy-flair-dice"
)
import spacy
assert not spacy.blank("en").has_factory("dice_ner")
"""
    code = f'{hidden}{code}\nassert "spacy_dice" not in sys.modules'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_scores(trained, run_spacy, corpus, tmp_path):
    """What `spacy train` reports on dev, and `spacy evaluate` on test."""
    model, output = trained
    assert scores(output)[-1] > 0.8, output
    status, output = run_spacy("evaluate", model, corpus / "test.spacy", "-o", tmp_path / "m.json")
    assert status == 0, output
    assert json.loads((tmp_path / "m.json").read_text())["ents_f"] > 0.75
    return model


def test_stock_ner_trains_and_what_is_saved_is_stock(trained_ner, run_spacy, corpus, tmp_path):
    model = check_scores(trained_ner, run_spacy, corpus, tmp_path)
    code = f"""
nlp = spacy.load({str(model)!r})
print(type(nlp.get_pipe("ner")).__module__, len(nlp("the flight from Barento was full").ents))
"""
    assert without_us(code, tmp_path).split()[0] == "spacy.pipeline.ner"


def test_dice_tagger_is_saved_as_stock_and_goes_on_training(run_spacy, configs, tagged, tmp_path):
    config = Config().from_disk(configs / "tagger.cfg", interpolate=False)
    tagger = config["components"].pop("tagger")
    config["components"]["my_tagger"] = {
        **{"factory": "dice_tagger", "model": tagger["model"]},
        "loss": config["initialize"]["after_init"]["losses"]["tagger"],
    }
    config["nlp"]["pipeline"] = ["tok2vec", "my_tagger"]
    config["initialize"]["after_init"] = None
    config["training"]["before_to_disk"] = {"@callbacks": "spacy_dice.to_stock.v1"}
    config.to_disk(tmp_path / "config.cfg", interpolate=False)
    status, output = run_spacy(
        *("train", tmp_path / "config.cfg", "-o", tmp_path / "out", *paths(tagged)),
        *("--training.max_steps", 200, "--training.eval_frequency", 100),
    )
    assert status == 0, output
    assert len(scores(output)) == 3 and scores(output)[-1] > 0.9, output
    code = f"""
nlp = spacy.load({str(tmp_path / "out/model-last")!r})
tagger = nlp.get_pipe("my_tagger")
print(nlp.pipe_factories["my_tagger"], type(tagger).__module__, nlp("Ann saw it .")[3].tag_)
"""
    assert without_us(code, tmp_path).split() == ["tagger", "spacy.pipeline.tagger", "PUNCT"]
    status, output = run_spacy("package", tmp_path / "out/model-last", tmp_path, "--force")
    assert status == 0, output
    (meta,) = tmp_path.glob("en_pipeline-*/meta.json")
    assert "flair" not in meta.read_text()


def test_dice_ner_trains(trained_dice_ner, run_spacy, corpus, tmp_path):
    check_scores(trained_dice_ner, run_spacy, corpus, tmp_path)


def test_tagger_trains(run_spacy, configs, tagged, tmp_path):
    status, output = run_spacy(
        "train", configs / "tagger.cfg", "-o", tmp_path, *paths(tagged), *SHORT
    )
    assert status == 0, output
    assert scores(output)[-1] > 0.9, output
    assert (
        type(spacy.load(tmp_path / "model-best").get_pipe("tagger")).__module__
        == "spacy.pipeline.tagger"
    )


@pytest.mark.parametrize("name", ["textcat", "spancat"])
def test_other_stock_components_train(name, run_spacy, configs, corpus, tagged, tmp_path):
    status, output = run_spacy(
        *("train", configs / f"{name}.cfg", "-o", tmp_path),
        *paths(tagged if name == "textcat" else corpus),
        *("--training.max_steps", 200, "--training.eval_frequency", 100),
    )
    assert status == 0 and scores(output)[-1] > 0.7, output
    pipe = spacy.load(tmp_path / "model-best").get_pipe(name)
    assert type(pipe).__module__ == f"spacy.pipeline.{name}"


@pytest.mark.parametrize("name", ["ner", "dice_ner"])
def test_the_cross_entropy_twin_is_one_override(name, run_spacy, configs, corpus):
    text = (configs / f"{name}.cfg").read_text()
    override = re.search(r"with cross-entropy: add +(.*)", text).group(1).split()
    status, output = run_spacy("train", configs / f"{name}.cfg", *paths(corpus), *SHORT, *override)
    assert status == 0 and len(scores(output)) == 4, output


def test_the_same_seed_gives_the_same_scores(run_spacy, configs, corpus):
    runs = [
        scores(run_spacy("train", configs / "dice_ner.cfg", *paths(corpus), *SHORT)[1])
        for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(runs[0]) == 4


def test_a_schedule_from_the_config_is_followed(run_spacy, configs, corpus, tmp_path):
    """Dice from step 12 on: until then the same losses as with cross-entropy alone, then not."""
    reported = []
    for switch_at in (1000, 12):
        config = Config().from_disk(configs / "ner.cfg", interpolate=False)
        config["initialize"]["after_init"]["losses"]["ner"] = {
            **{"@losses": "spacy_dice.DiceCE.v1"},
            "weight": {
                **{"@schedules": "constant_then.v1", "rate": 0.0, "steps": switch_at},
                "schedule": {"@schedules": "constant.v1", "rate": 1.0},
            },
        }
        config["training"]["accumulate_gradient"] = 2
        config.to_disk(tmp_path / "config.cfg", interpolate=False)
        status, output = run_spacy(
            *("train", tmp_path / "config.cfg", *paths(corpus)),
            *("--training.max_steps", 20, "--training.eval_frequency", 10),
        )
        assert status == 0, output
        assert output.count("accumulate_gradient = 2 cuts them up") == 1, output
        rows = [line.split() for line in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", line)]
        reported.append([float(row[3]) for row in rows])
    never, from_12 = reported
    assert never[:2] == from_12[:2] and from_12[2] > 1.02 * never[2]


@pytest.mark.parametrize("name", CPU_CONFIGS)
def test_config_tools(name, configs, corpus, tagged, tmp_path):
    folder = tagged if name in ("tagger", "textcat") else corpus
    filled = tmp_path / "filled.cfg"
    status, output = invoke("init", "fill-config", configs / f"{name}.cfg", filled)
    assert status == 0, output
    text = filled.read_text()
    assert "smooth = 1.0" in text and 'background = "auto"' in text
    status, output = invoke("debug", "config", filled, *paths(folder))
    assert status == 0, output
    status, output = invoke("debug", "data", filled, *paths(folder))
    assert status == 0 and "checks passed" in output, output
    status, output = invoke("init", "labels", filled, tmp_path / "labels", *paths(folder))
    assert status == 0, output
    labels = json.loads((tmp_path / "labels" / f"{name}.json").read_text())
    assert labels
    status, output = invoke(
        *("train", filled, *paths(folder)),
        *("--training.max_steps", 20, "--training.eval_frequency", 10),
    )
    assert status == 0, output


@pytest.fixture(scope="module")
def of_config(tmp_path_factory, corpus, tagged):
    """The data that one of our configs trains on, as its arguments."""
    folder, vocab = tmp_path_factory.mktemp("debug"), spacy.blank("en").vocab
    for split in ("train", "dev"):
        docs = DocBin().from_disk(tagged / f"{split}.spacy").get_docs(vocab)
        made = DocBin()
        for doc in docs:
            for token in doc:
                token.pos_ = "PROPN" if token.is_title else "X"
            made.add(doc)
        made.to_disk(folder / f"{split}.spacy")
        reading.write(folder / f"{split}.json", 70)
        test_pairs.write(folder / f"{split}.tsv", 120)

    def data(config):
        ending = {"dice_qa": "json", "textcat_pairs": "tsv"}.get(config.stem, "spacy")
        of_tokens_or_texts = config.stem.startswith(("tagger", "morphologizer", "textcat"))
        where = folder if of_tokens_or_texts or ending != "spacy" else corpus
        given = [*paths(where)] if ending == "spacy" else []
        for split in ("train", "dev") if not given else ():
            given += [f"--paths.{split}", where / f"{split}.{ending}"]
        if "\ntransformer = " in config.read_text():
            given += ["--paths.transformer", reading.BERT]
        return given

    return data


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_configs_are_whole(config, of_config):
    """The files as they are pass spaCy's checks, without being filled in."""
    for command in ("config", "data"):
        status, output = invoke("debug", command, config, *of_config(config))
        assert status == 0 and "✘" not in output, output
    assert "checks passed" in output


def test_labels_from_a_file(run_spacy, configs, corpus, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(["person", "city", "product", "extra"]))
    config = tmp_path / "config.cfg"
    config.write_text(
        (configs / "dice_ner.cfg").read_text()
        + "\n[initialize.components.dice_ner]\n\n"
        + '[initialize.components.dice_ner.labels]\n@readers = "spacy.read_labels.v1"\n'
        + f'path = "{tmp_path / "labels.json"}"\n'
    )
    status, output = run_spacy("train", config, "-o", tmp_path / "out", *paths(corpus), *SHORT)
    assert status == 0, output
    nlp = spacy.load(tmp_path / "out/model-last")
    assert nlp.get_pipe("dice_ner").labels == ("person", "city", "product", "extra")


def test_find_function_and_speed(trained_dice_ner, corpus):
    status, output = invoke("find-function", "spacy_dice.DiceCE.v1", "-r", "losses")
    assert status == 0 and "spacy_dice" in output, output
    model, _ = trained_dice_ner
    status, output = invoke(
        "benchmark", "speed", model, corpus / "dev.spacy", "--batches", 30, "-b", 10, "--warmup", 1
    )
    assert status == 0 and "words/s" in output.lower() or "Mean" in output, output


def test_find_threshold(trained_dice_ner, corpus):
    model, _ = trained_dice_ner
    status, output = invoke(
        *("find-threshold", model, corpus / "dev.spacy", "dice_ner", "threshold", "ents_f"),
        *("--n_trials", 5),
    )
    assert status == 0, output
    rows = re.findall(r"^([\d.]+) +([\d.]+) *$", output, flags=re.M)
    found = {float(threshold): float(score) for threshold, score in rows}
    assert list(found) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found[0.5] > 0.8 > found[1.0], output


def test_package_names_us_as_a_requirement(trained_dice_ner, tmp_path):
    model, _ = trained_dice_ner
    status, output = invoke("package", model, tmp_path, "--name", "probe", "--build", "none")
    assert status == 0, output
    meta = json.loads(next(tmp_path.rglob("meta.json")).read_text())
    assert any(r.startswith("spacy-flair-dice") for r in meta["requirements"]), meta["requirements"]


def test_sourced_frozen_and_annotating_components(
    run_spacy, configs, corpus, trained_ner, tmp_path
):
    """A trained ner is trained on, beside a frozen copy that annotates."""
    model, _ = trained_ner
    config = tmp_path / "config.cfg"
    text = (configs / "ner.cfg").read_text()
    start, end = text.index("[components.tok2vec]"), text.index("[corpora]")
    source = f'source = "{model}"\n'
    components = (
        f'[components.ner]\n{source}replace_listeners = ["model.tok2vec"]\n\n'
        f'[components.old]\n{source}component = "ner"\nreplace_listeners = ["model.tok2vec"]\n\n'
    )
    text = text[:start] + components + text[end:]
    text = text.replace('pipeline = ["tok2vec", "ner"]', 'pipeline = ["old", "ner"]')
    for key in ("frozen_components", "annotating_components"):
        assert f"{key} = []" in text
        text = text.replace(f"{key} = []", f'{key} = ["old"]')
    config.write_text(text)
    status, output = run_spacy("train", config, "-o", tmp_path / "out", *paths(corpus), *SHORT)
    assert status == 0, output
    assert scores(output)[0] > 0.8, output
    nlp = spacy.load(tmp_path / "out/model-best")
    assert [type(pipe).__module__ for _, pipe in nlp.pipeline] == ["spacy.pipeline.ner"] * 2


MISTAKES = {
    "unknown component": (
        "ner",
        ("[initialize.after_init.losses.ner]", "[initialize.after_init.losses.nre]"),
        "there is no component 'nre'. The pipeline has: tok2vec, ner.",
    ),
    "no such loss": (
        "ner",
        ("[initialize.after_init.losses.ner]", "[initialize.after_init.losses.tok2vec]"),
        "component 'tok2vec' (tok2vec, Tok2Vec) has no loss that can be replaced",
    ),
    "beam updates": (
        "ner",
        ('factory = "ner"', 'factory = "beam_ner"'),
        "Component 'ner': beam_update_prob is 0.5",
    ),
    "not a loss": (
        "ner",
        ('@losses = "spacy_dice.DiceCE.v1"', '@optimizers = "Adam.v1"'),
        "Component 'ner': the loss must be one of spacy_dice's",
    ),
    "stock loss": (
        "dice_ner",
        ("spacy_dice.DiceCE.v1", "CategoricalCrossentropy.v1"),
        "Component 'dice_ner': the loss must be one of spacy_dice's",
    ),
    "negative smooth": (
        "ner",
        ('"spacy_dice.DiceCE.v1"', '"spacy_dice.DiceCE.v1"\nsmooth = -1.0'),
        "smooth must be a finite number from 0 on, got -1.0",
    ),
    "negative smooth in dice_ner": (
        "dice_ner",
        ('"spacy_dice.DiceCE.v1"', '"spacy_dice.DiceCE.v1"\nsmooth = -1.0'),
        "smooth must be a finite number from 0 on, got -1.0",
    ),
    "unknown option": (
        "ner",
        ('"spacy_dice.DiceCE.v1"', '"spacy_dice.DiceCE.v1"\nsmoothing = 1.0'),
        "smoothing",
    ),
    "labels": (
        "ner",
        ('"spacy_dice.DiceCE.v1"', '"spacy_dice.DiceCE.v1"\nbackground = "X"'),
        "Component 'ner': background has the label 'X', which is none of its labels",
    ),
    "labels of dice_ner": (
        "dice_ner",
        ('"spacy_dice.DiceCE.v1"', '"spacy_dice.DiceCE.v1"\nbackground = "X"'),
        "Component 'dice_ner': background has the label 'X'",
    ),
    "entity loss": (
        "ner",
        ("spacy_dice.DiceCE.v1", "spacy_dice.EntityDice.v1"),
        "Component 'ner': EntityDice needs a head of tags of entities",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_with_one_clear_line_and_train_nothing(mistake, configs, corpus, tmp_path):
    name, (old, new), message = MISTAKES[mistake]
    text = (configs / f"{name}.cfg").read_text()
    assert old in text
    head, _, tail = text.rpartition(old)  # the last place: comments come first
    config = tmp_path / "config.cfg"
    config.write_text(head + new + tail)
    status, output = invoke("train", config, "-o", tmp_path / "out", *paths(corpus), *SHORT)
    assert status == 1, output
    assert "Traceback" not in output and message in output, output
    assert not list(Path(tmp_path / "out").iterdir())
