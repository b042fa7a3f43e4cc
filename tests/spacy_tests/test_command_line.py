"""spaCy's own command line with our configs and components, as users run it."""

import json
import re
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from thinc.api import Config

from spacy_tests import reading, test_pairs
from spacy_tests.helpers import invoke, paths, scores, without_us

SHORT = ("--training.max_steps", 20, "--training.eval_frequency", 10)
LONG = ("--training.max_steps", 300, "--training.eval_frequency", 100)
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


# What a process without this package does first: neither it nor its metadata is found.
def tag_without_us(model, name):
    """RETURNS the module of a component's class and a tag, where this package is not installed."""
    return without_us(
        f"nlp = spacy.load({str(model)!r})\n"
        f"print(type(nlp.get_pipe({name!r})).__module__, "
        "nlp('the flight from Barento was full .')[6].tag_)"
    ).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_spacy, configs, corpus, tagged):
    """The folder of the best model of one of our configs, which is trained once."""
    made = {}

    def train(name):
        if name not in made:
            out, data = tmp_path_factory.mktemp(name), tagged if "t" in name[0] else corpus
            command = ("train", configs / f"{name}.cfg", "-o", out, *paths(data), *LONG)
            status, output = run_spacy(*command)
            assert status == 0 and scores(output)[-1] > 0.7, output
            made[name] = out / "model-best"
        return made[name]

    return train


@pytest.mark.parametrize("name", ["ner", "tagger", "textcat", "spancat", "dice_ner"])
def test_configs_train_and_what_is_saved_is_stock(name, trained, corpus, tmp_path):
    model = trained(name)
    if name == "dice_ner":
        nlp = spacy.load(model)
        invoke("evaluate", model, corpus / "test.spacy", "-o", tmp_path / "m.json")
        assert json.loads((tmp_path / "m.json").read_text())["ents_f"] > 0.7
        assert nlp("the flight from Barento was full").has_annotation("ENT_IOB")
    else:
        assert tag_without_us(model, name)[0].startswith("spacy.pipeline.")


def test_dice_tagger_is_saved_as_stock_and_goes_on_training(run_spacy, configs, tagged, tmp_path):
    config = Config().from_disk(configs / "tagger.cfg", interpolate=False)
    tagger = config["components"].pop("tagger")
    loss = config["initialize"]["after_init"]["losses"]["tagger"]
    mine = {"factory": "dice_tagger", "model": tagger["model"], "loss": loss}
    config["components"]["my_tagger"] = mine
    config["nlp"]["pipeline"] = ["tok2vec", "my_tagger"]
    config["initialize"]["after_init"] = None
    config["training"]["before_to_disk"] = {"@callbacks": "spacy_dice.to_stock.v1"}
    config.to_disk(tmp_path / "config.cfg", interpolate=False)
    command = ("train", tmp_path / "config.cfg", "-o", tmp_path / "out", *paths(tagged), *LONG)
    status, output = run_spacy(*command)
    assert status == 0 and scores(output)[-1] > 0.9, output
    model = tmp_path / "out/model-last"
    assert tag_without_us(model, "my_tagger") == ["spacy.pipeline.tagger", "PUNCT"]
    status, output = run_spacy("package", model, tmp_path, "--force", "--build", "none")
    (meta,) = tmp_path.glob("en_pipeline-*/meta.json")
    assert status == 0 and "flair" not in meta.read_text(), output


@pytest.mark.parametrize("name", ["ner", "dice_ner"])
def test_the_cross_entropy_twin_is_one_override(name, configs, corpus):
    text = (configs / f"{name}.cfg").read_text()
    override = re.search(r"with cross-entropy: add +(.*)", text).group(1).split()
    status, output = invoke("train", configs / f"{name}.cfg", *paths(corpus), *SHORT, *override)
    assert status == 0 and len(scores(output)) == 3, output


def test_the_same_seed_gives_the_same_scores(run_spacy, configs, corpus):
    command = ("train", configs / "dice_ner.cfg", *paths(corpus), *SHORT)
    first, second = (scores(run_spacy(*command)[1]) for _ in range(2))
    assert first == second and len(first) == 3


def test_a_schedule_from_the_config_is_followed(run_spacy, configs, corpus, tmp_path):
    """Dice from step 12 on: until then the same losses as with cross-entropy alone, then not."""
    reported = []
    for switch_at in (1000, 12):
        config = Config().from_disk(configs / "ner.cfg", interpolate=False)
        then = {"@schedules": "constant.v1", "rate": 1.0}
        weight = {"@schedules": "constant_then.v1", "rate": 0.0, "steps": switch_at}
        loss = {"@losses": "spacy_dice.DiceCE.v1", "weight": {**weight, "schedule": then}}
        config["initialize"]["after_init"]["losses"]["ner"] = loss
        config["training"]["accumulate_gradient"] = 2
        config.to_disk(tmp_path / "config.cfg", interpolate=False)
        status, output = run_spacy("train", tmp_path / "config.cfg", *paths(corpus), *SHORT)
        assert status == 0 and output.count("accumulate_gradient = 2") == 1, output
        rows = [line.split() for line in output.splitlines() if re.match(r"\s+\d+\s+\d+ ", line)]
        reported.append([float(row[3]) for row in rows])
    never, from_12 = reported
    assert never[:2] == from_12[:2] and from_12[2] > 1.02 * never[2]


@pytest.fixture(scope="module")
def data_of(tmp_path_factory, corpus, tagged):
    """The data that one of our configs trains on, as its arguments."""
    folder, vocab = tmp_path_factory.mktemp("debug"), spacy.blank("en").vocab
    for split in ("train", "dev"):
        docs = list(DocBin().from_disk(tagged / f"{split}.spacy").get_docs(vocab))
        for token in [token for doc in docs for token in doc]:
            token.pos_ = "PROPN" if token.is_title else "X"
        DocBin(docs=docs).to_disk(folder / f"{split}.spacy")
        reading.write(folder / f"{split}.json", 70)
        test_pairs.write(folder / f"{split}.tsv", 120)

    def data(config):
        ending = {"dice_qa": "json", "textcat_pairs": "tsv"}.get(config.stem, "spacy")
        own = ending != "spacy" or config.stem.startswith(("tagger", "morphologizer", "textcat"))
        where = folder if own else corpus
        given = []
        for split in ("train", "dev"):
            given += [f"--paths.{split}", where / f"{split}.{ending}"]
        if "\ntransformer = " in config.read_text():
            given += ["--paths.transformer", reading.BERT]
        return given

    return data


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.cfg")), ids=lambda path: path.stem)
def test_configs_are_complete(config, data_of):
    """The files as they are pass spaCy's checks, without being filled in."""
    for command in ("config", "data"):
        status, output = invoke("debug", command, config, *data_of(config))
        assert status == 0 and "✘" not in output, output
    assert "checks passed" in output


@pytest.mark.parametrize("name", ["ner", "dice_ner", "spancat"])
def test_config_tools(name, configs, corpus, tmp_path):
    """A config that is filled in shows the options, and trains with labels from a file."""
    filled, labels = tmp_path / "filled.cfg", tmp_path / "labels"
    assert invoke("init", "fill-config", configs / f"{name}.cfg", filled)[0] == 0
    assert "smooth = 1.0" in filled.read_text() and 'background = "auto"' in filled.read_text()
    status, output = invoke("init", "labels", filled, labels, *paths(corpus))
    assert status == 0, output
    config = Config().from_disk(filled, interpolate=False)
    read = {"@readers": "spacy.read_labels.v1", "path": str(labels / f"{name}.json")}
    config["initialize"]["components"][name] = {"labels": read}
    config.to_disk(filled)
    out = tmp_path / "out"
    status, output = invoke("train", filled, "-o", out, *paths(corpus), *SHORT)
    assert status == 0, output
    found = set(spacy.load(out / "model-last").get_pipe(name).labels)
    assert found == {"person", "city", "product"}


def test_commands_on_what_was_trained(trained, corpus, tmp_path):
    model = trained("dice_ner")
    status, output = invoke("find-function", "spacy_dice.DiceCE.v1", "-r", "losses")
    assert status == 0 and "spacy_dice" in output, output
    command = ("find-threshold", model, corpus / "dev.spacy", "dice_ner", "threshold", "ents_f")
    status, output = invoke(*command, "--n_trials", 5)
    assert status == 0, output
    rows = re.findall(r"^([\d.]+) +([\d.]+) *$", output, flags=re.M)
    found = {float(threshold): float(score) for threshold, score in rows}
    assert list(found) == [0.0, 0.25, 0.5, 0.75, 1.0] and found[0.5] > found[1.0], output
    status, output = invoke("package", model, tmp_path, "--name", "probe", "--build", "none")
    meta = json.loads(next(tmp_path.rglob("meta.json")).read_text())
    assert any(r.startswith("spacy-flair-dice") for r in meta["requirements"]), meta


def test_sourced_frozen_and_annotating_components(run_spacy, configs, corpus, trained, tmp_path):
    """A trained ner is trained on, next to a frozen copy that annotates."""
    config = Config().from_disk(configs / "ner.cfg", interpolate=False)
    source = {"source": str(trained("ner")), "replace_listeners": ["model.tok2vec"]}
    config["components"] = {"ner": source, "old": {**source, "component": "ner"}}
    config["nlp"]["pipeline"] = ["old", "ner"]
    config["training"].update(frozen_components=["old"], annotating_components=["old"])
    config.to_disk(tmp_path / "config.cfg")
    command = ("train", tmp_path / "config.cfg", "-o", tmp_path / "out", *paths(corpus), *SHORT)
    status, output = run_spacy(*command)
    assert status == 0 and scores(output)[0] > 0.7, output
    nlp = spacy.load(tmp_path / "out/model-best")
    assert [type(pipe).__module__ for _, pipe in nlp.pipeline] == ["spacy.pipeline.ner"] * 2


DICE_CE = '"spacy_dice.DiceCE.v1"'
NO_LOSS = "loss must be a loss, the name of one"
MISTAKES = [
    ("ner", "after_init.losses.ner]", "after_init.losses.nre]", "there is no component 'nre'"),
    ("ner", "after_init.losses.ner]", "after_init.losses.tok2vec]", "component 'tok2vec' (tok2vec"),
    ("ner", 'factory = "ner"', 'factory = "beam_ner"', "'ner': beam_update_prob is 0.5"),
    ("ner", f"@losses = {DICE_CE}", '@optimizers = "Adam.v1"', f"'ner': {NO_LOSS}"),
    ("dice_ner", DICE_CE, '"CategoricalCrossentropy.v1"', f"'dice_ner': {NO_LOSS}"),
    ("ner", DICE_CE, f"{DICE_CE}\nsmooth = -1.0", "smooth must be a finite number from 0 on"),
    ("dice_ner", DICE_CE, f"{DICE_CE}\nsmooth = -1.0", "smooth must be a finite number from 0 on"),
    ("ner", DICE_CE, f"{DICE_CE}\nsmoothing = 1.0", "smoothing"),
    ("ner", DICE_CE, f'{DICE_CE}\nbackground = "X"', "'ner': background has the label 'X'"),
    ("dice_ner", DICE_CE, f'{DICE_CE}\nbackground = "X"', "background has the label 'X'"),
    ("ner", DICE_CE, '"spacy_dice.EntityDice.v1"', "'ner': EntityDice needs a head of tags"),
]


@pytest.mark.parametrize("name, old, new, message", MISTAKES)
def test_mistakes_end_with_one_clear_line_and_train_nothing(
    name, old, new, message, configs, corpus, tmp_path
):
    head, found, tail = (configs / f"{name}.cfg").read_text().rpartition(old)
    (tmp_path / "config.cfg").write_text(head + new + tail)
    command = ("train", tmp_path / "config.cfg", "-o", tmp_path / "out", *paths(corpus), *SHORT)
    status, output = invoke(*command)
    assert found and status == 1 and "Traceback" not in output and message in output, output
    assert not list((tmp_path / "out").iterdir())
