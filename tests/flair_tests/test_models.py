"""Each of Flair's other models: trains with DiceCE, saves, loads, loads as stock; and refusals."""

import subprocess
import sys
from functools import partial

import flair.models as stock
import pytest
import torch
from flair.data import Corpus, DataPair, DataTriple, Relation, Sentence
from flair.datasets import FlairDatapointDataset
from flair.nn import Classifier
from flair.nn.multitask import make_multitask_model_and_corpus
from torch.testing import assert_close

import flair_dice
from flair_dice import Dice, DiceCE, restore, use_loss
from flair_dice.loss_mixin import KEY
from flair_dice.models import STOCK_TO_DICE
from flair_tests.helpers import BERT, labelled, parameters, seed, texts, train, words

TOPICS = {
    "food": "we ate bread and soup",
    "sport": "they ran and won a game",
    "money": "the bank paid a loan",
}
OTHER = "nothing of note was said today"


def split(make, label_type="class"):
    """A corpus whose splits are the same points, each made anew: training changes them."""
    return Corpus(*(FlairDatapointDataset(make()) for _ in range(3)), name=label_type)


def topics(n=12):
    """Texts of a topic, most of them of none."""
    made = [labelled(f"{text} {i}", name) for name, text in TOPICS.items() for i in range(n // 4)]
    return made + [labelled(f"{OTHER} {i}", "none") for i in range(2 * n)]


def text_classifier():
    corpus = split(topics)
    labels = corpus.make_label_dictionary("class", add_unk=False)
    return stock.TextClassifier(texts(corpus), "class", label_dictionary=labels), corpus, "class"


def multi_label():
    def make():
        both = {(x, y): f"{a} {b}" for x, a in TOPICS.items() for y, b in TOPICS.items() if x < y}
        made = [labelled(f"{text} {i}", names) for names, text in both.items() for i in range(3)]
        return made + [labelled(f"{OTHER} {i}", []) for i in range(9)]

    corpus = split(make)
    labels = corpus.make_label_dictionary("class", add_unk=False)
    model = stock.TextClassifier(texts(corpus), "class", label_dictionary=labels, multi_label=True)
    return model, corpus, "class"


def pairs(make_point, model, argument):
    def make():
        made = []
        for i in range(8):
            for text in TOPICS.values():
                for other, others in TOPICS.items():
                    point = make_point(Sentence(f"{text} {i}"), Sentence(f"{others} {i}"))
                    point.add_label("class", other if other == "food" else "other")
                    made.append(point)
        return made

    corpus = split(make)
    labels = corpus.make_label_dictionary("class", add_unk=False)
    sentences = split(lambda: [s for point in make() for s in (point.first, point.second)])
    embeddings = texts(sentences)
    return model(embeddings, "class", label_dictionary=labels, **argument), corpus, "class"


def text_pairs():
    return pairs(DataPair, stock.TextPairClassifier, {"embed_separately": True})


def text_triples():
    return pairs(
        lambda a, b: DataTriple(a, b, Sentence("so")),
        stock.TextTripleClassifier,
        {"embed_separately": True},
    )


def entity_sentences():
    made = []
    for i in range(12):
        sentence = Sentence(f"then Ann Lee went to Rome {i} times again and again".split())
        sentence[1:3].add_label("ner", "person")
        sentence[5:6].add_label("ner", "city")
        made.append(sentence)
        made.append(Sentence(f"nothing else happened {i} times again today".split()))
    return made


def sequence_tagger(use_crf):
    corpus = split(entity_sentences, "ner")
    labels = corpus.make_label_dictionary("ner", add_unk=False)
    options = {"use_crf": use_crf, "hidden_size": 16}
    return stock.SequenceTagger(words(corpus), labels, "ner", **options), corpus


def token_classifier(encoding="BIOES"):
    corpus = split(entity_sentences, "ner")
    labels = corpus.make_label_dictionary("ner", add_unk=False)
    model = stock.TokenClassifier(words(corpus), labels, "ner", span_encoding=encoding)
    return model, corpus, "ner"


def span_classifier():
    corpus = split(lambda: entity_sentences()[::2], "ner")
    labels = corpus.make_label_dictionary("ner", add_unk=True)
    return stock.SpanClassifier(words(corpus), labels, label_type="ner"), corpus, "ner"


def relation_sentences():
    made = []
    for i in range(10):
        for verb, name, label in (("founded", "Acme", "founder"), ("left", "Apex", None)):
            sentence = Sentence(f"Ann {verb} {name} in May {i}".split())
            first, second = sentence[0:1], sentence[2:3]
            first.add_label("ner", "person")
            second.add_label("ner", "company")
            if label:
                Relation(first, second).add_label("relation", label)
            made.append(sentence)
    return made


def relation_extractor():
    corpus = split(relation_sentences, "relation")
    labels = corpus.make_label_dictionary("relation", add_unk=False)
    labels.add_item("O")
    model = stock.RelationExtractor(
        words(corpus), "relation", "ner", label_dictionary=labels, pooling_operation="first_last"
    )
    return model, corpus, "relation"


def relation_classifier():
    corpus = split(relation_sentences, "relation")
    labels = corpus.make_label_dictionary("relation", add_unk=False)
    model = stock.RelationClassifier(
        embeddings=texts(corpus),
        label_dictionary=labels,
        label_type="relation",
        entity_label_types="ner",
        entity_pair_labels={("person", "company")},
    )
    return model, model.transform_corpus(corpus), "relation"


MAKERS = {
    "TextClassifier": text_classifier,
    "multi-label TextClassifier": multi_label,
    "TextPairClassifier": text_pairs,
    "TextTripleClassifier": text_triples,
    "TokenClassifier": token_classifier,
    "SpanClassifier": span_classifier,
    "RelationExtractor": relation_extractor,
    "RelationClassifier": relation_classifier,
}


def predictions(model, corpus, label_type):
    points = list(corpus.test)
    for point in points:
        point.remove_labels("found")
    model.predict(points, label_name="found")
    return [
        sorted((label.value, label.unlabeled_identifier) for label in point.get_labels("found"))
        for point in points
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_trains_saves_loads(name, tmp_path):
    seed()
    model, corpus, label_type = MAKERS[name]()
    theirs = type(model)
    ours = STOCK_TO_DICE[theirs]
    names = list(model.state_dict())
    assert use_loss(model, {"name": "DiceCE", "weight": 0.5}) is model and type(model) is ours
    before = model.evaluate(corpus.test, label_type).loss
    result = train(model, corpus, tmp_path, epochs=12, mini_batch_size=8, learning_rate=0.05)
    assert result["test_score"] > 0.9
    assert list(model.state_dict()) == names
    scores = model.evaluate(corpus.test, label_type)
    assert scores.loss < 0.7 * before
    found = predictions(model, corpus, label_type)
    for load in (ours.load, Classifier.load):
        again = load(tmp_path / "final-model.pt")
        assert type(again) is ours and again.loss.to_dict() == model.loss.to_dict()
    # What stock Flair does with the file, where no class of ours is found.
    plain = theirs.load(tmp_path / "final-model.pt")
    assert type(plain) is theirs and not hasattr(plain, "loss")
    last = ours.load(tmp_path / "final-model.pt")
    assert predictions(plain, corpus, label_type) == predictions(last, corpus, label_type)
    assert any(found)
    restore(model)
    assert type(model) is theirs and not hasattr(model, "loss")
    assert predictions(model, corpus, label_type) == found


@pytest.mark.parametrize("name", MAKERS)
def test_cross_entropy_is_the_stock_loss(name):
    """The same sum and count, and without a loss the same bits."""
    seed()
    model, corpus, _ = MAKERS[name]()
    model.eval()
    batch = list(corpus.train)[:6]
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    theirs, n = model.forward_loss(batch)
    use_loss(model, "CrossEntropy")
    ours, our_n = model.forward_loss(batch)
    assert_close(ours, theirs)
    assert our_n == n
    model.set_loss(None)
    assert model.forward_loss(batch)[0].item() == theirs.item()
    assert KEY not in model._get_state_dict()


@pytest.mark.parametrize("encoding", ["BIOES", "BIO"])
def test_dev_loss_of_token_classifier(encoding):
    """It is that of the gold entities, which the stock one takes for outside."""
    seed()
    model, corpus, _ = token_classifier(encoding)
    use_loss(model, "CrossEntropy")
    batch = list(corpus.dev)[:8]
    model.eval()
    with torch.no_grad():
        evaluated, n = model.predict(batch, label_name="found", return_loss=True)
    model.train()
    trained, n_trained = model.forward_loss(batch)
    assert evaluated.item() == pytest.approx(trained.item(), rel=1e-5) and n == n_trained


def test_span_classifier_with_candidates():
    """Classes that are no candidates have -inf: no NaN, and no gradient."""
    candidates = stock.entity_linker_model.CandidateGenerator({"Rome": ["city"], "Ann": ["person"]})
    for loss in ("DiceCE", "SelfAdjustingDice", "Focal", "Tversky"):
        seed()
        corpus = split(lambda: entity_sentences()[::2], "ner")
        labels = corpus.make_label_dictionary("ner", add_unk=True)
        model = stock.SpanClassifier(words(corpus), labels, label_type="ner", candidates=candidates)
        use_loss(model, loss).train()
        value, n = model.forward_loss(list(corpus.train)[:4])
        value.backward()
        assert value.isfinite() and n == 8
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        model.eval()
        with torch.no_grad():  # here gold need not be among the candidates
            evaluated, _ = model.predict(list(corpus.dev), label_name="found", return_loss=True)
        assert evaluated.isfinite()


def test_unknown_labels_in_dev():
    """Flair leaves them out of the dev loss, ours too."""
    seed()
    model, corpus, _ = text_classifier()
    use_loss(model, "DiceCE").eval()
    known = list(corpus.dev)[:5]
    unknown = labelled("something new", "news")
    with torch.no_grad():
        with_it, n = model.predict(known + [unknown], label_name="x", return_loss=True)
        without, n_known = model.predict(known, label_name="x", return_loss=True)
    assert with_it.item() == pytest.approx(without.item(), rel=1e-5) and n == n_known == 5


def test_one_label_alone(tmp_path):
    """A softmax of it has nothing to learn; as one of several that may be there it has."""
    seed()

    def make():
        yes = [labelled(f"{text} {i}", "only") for text in TOPICS.values() for i in "12"]
        return yes + [labelled(f"{OTHER} {i}", []) for i in "1234"]

    corpus = split(make)
    labels = corpus.make_label_dictionary("class", add_unk=False)
    make_model = partial(stock.TextClassifier, texts(corpus), "class", label_dictionary=labels)
    with pytest.raises(ValueError, match="TextClassifier: a softmax of one column is always 1"):
        use_loss(make_model(), "DiceCE")
    model = use_loss(make_model(multi_label=True), "DiceCE")
    assert train(model, corpus, tmp_path, epochs=20)["test_score"] > 0.9


def test_background_is_no_topic_but_the_label_o():
    model, _, _ = text_classifier()
    assert use_loss(model, "DiceCE")._spec.background == ()
    model, _, _ = relation_extractor()
    assert use_loss(model, "DiceCE")._spec.background == ("O",)


# -- models of models -------------------------------------------------------------------


def multitask(bert=None):
    seed()
    tagger, tagger_corpus = sequence_tagger(True)
    text_corpus = split(topics)
    labels = text_corpus.make_label_dictionary("class", add_unk=False)
    classifier = stock.TextClassifier(texts(text_corpus), "class", label_dictionary=labels)
    return make_multitask_model_and_corpus([(tagger, tagger_corpus), (classifier, text_corpus)])


def test_multitask(tmp_path):
    model, corpus = multitask()
    loss = DiceCE(weight=0.5)
    use_loss(model, loss)
    tasks = list(model.tasks.values())
    assert [type(task) for task in tasks] == [flair_dice.SequenceTagger, flair_dice.TextClassifier]
    assert tasks[0]._bound is not tasks[1]._bound  # schedules and running counts live in them
    # Flair takes the embeddings of the first batch's task for all that are trained.
    train(model, corpus, tmp_path, epochs=12, embeddings_storage_mode="none")
    again = Classifier.load(tmp_path / "final-model.pt")
    for name, task in again.tasks.items():
        assert type(task) is type(model.tasks[name])
        assert task.loss.to_dict() == loss.to_dict()
    scores = [
        task.evaluate(part, kind).main_score
        for (task, kind), part in zip(
            [(tasks[0], "ner"), (tasks[1], "class")],
            [entity_sentences(), topics()],
        )
    ]
    assert min(scores) > 0.8
    restore(model)
    assert [type(t) for t in model.tasks.values()] == [stock.SequenceTagger, stock.TextClassifier]


def test_multitask_by_task():
    model, _ = multitask()
    use_loss(model, {"Task_1": "DiceCE"})
    assert type(model.tasks["Task_0"]) is stock.SequenceTagger
    assert model.tasks["Task_1"].loss.to_dict() == DiceCE().to_dict()
    before = parameters(model)
    with pytest.raises(ValueError, match="MultitaskModel: there is no task 'ner'. The tasks are"):
        use_loss(model, {"ner": "DiceCE"})
    with pytest.raises(ValueError, match="background has the label 'S-city'"):
        # Nothing is changed, although the first task could have had it.
        use_loss(model, {"name": "DiceCE", "background": "S-city"})
    assert type(model.tasks["Task_0"]) is stock.SequenceTagger
    assert parameters(model).keys() == before.keys()


def few_shot_tagger(bert):
    from flair.embeddings import TransformerWordEmbeddings

    seed()
    corpus = split(lambda: entity_sentences()[:16], "ner")
    labels = corpus.make_label_dictionary("ner", add_unk=False)
    embeddings = TransformerWordEmbeddings(str(bert), fine_tune=True, layers="-1")
    return stock.TARSTagger("ner", labels, "ner", embeddings), corpus, "ner"


def few_shot_classifier(bert):
    from flair.embeddings import TransformerDocumentEmbeddings

    seed()
    corpus = split(lambda: topics(8))
    labels = corpus.make_label_dictionary("class", add_unk=False)
    embeddings = TransformerDocumentEmbeddings(str(bert), fine_tune=True, layers="-1")
    return stock.TARSClassifier("topics", labels, "class", embeddings), corpus, "class"


@pytest.mark.parametrize("make", [multitask, few_shot_tagger, few_shot_classifier])
def test_dev_loss_of_models_of_models(make, small_bert):
    """Stock's own with CrossEntropy, and more with a Dice beside it."""
    model, corpus, label_type = (*make(small_bert), "class")[:3]
    model.eval()

    def dev_loss():
        seed()
        return model.evaluate(corpus.dev, label_type).loss

    without = dev_loss()
    use_loss(model, "CrossEntropy")
    assert dev_loss() == pytest.approx(without, rel=1e-5)
    use_loss(model, "DiceCE")
    assert dev_loss() > without + 0.05


LOAD_IN_STOCK = """
import sys
sys.modules.update(flair_dice=None, dice_core=None)  # as where they are not installed
import flair, logging, warnings
logging.getLogger("flair").setLevel(logging.ERROR)
from flair.nn import Model
for path in sys.argv[1:]:
    model = Model.load(path)
    print(type(model).__module__.split(".")[0], type(model).__name__, hasattr(model, "loss"))
"""


def test_files_load_where_we_are_not_installed(small_bert, tmp_path):
    """Each kind of model, one of them tuned, in one process without this package."""
    makers = {**MAKERS, "multitask": multitask}
    makers.update({f"tagger, CRF: {crf}": partial(sequence_tagger, crf) for crf in (True, False)})
    for make in (few_shot_tagger, few_shot_classifier):
        makers[make.__name__] = partial(make, small_bert)
    files, expected = [], []
    for name, make in makers.items():
        seed()
        model = make()[0]
        expected.append(f"flair {type(model).__name__} False")
        use_loss(model, "DiceCE")
        if name == "TextClassifier":
            flair_dice.set_tuning(model, {"shift": {"food": 0.5}})
        files.append(tmp_path / f"{name}.pt")
        model.save(files[-1])
    done = subprocess.run(
        [sys.executable, "-c", LOAD_IN_STOCK, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-len(expected) :] == expected


@pytest.mark.parametrize("make", [few_shot_tagger, few_shot_classifier])
def test_tars(make, tmp_path):
    model, corpus, label_type = make(BERT)
    theirs = type(model)
    inner = type(model.tars_model)
    use_loss(model, "DiceCE")
    expected = {few_shot_tagger: ("O",), few_shot_classifier: ("NO",)}[make]
    assert model.tars_model._spec.background == expected
    before = model.evaluate(corpus.test, label_type).loss
    train(model, corpus, tmp_path, epochs=3, learning_rate=3e-4, mini_batch_size=4)
    scores = model.evaluate(corpus.test, label_type)
    assert scores.main_score > 0.8 and 0 < scores.loss < 0.7 * before
    ours = STOCK_TO_DICE[theirs]
    for load in (ours.load, Classifier.load):
        again = load(tmp_path / "final-model.pt")
        assert type(again) is ours and again.loss.to_dict() == DiceCE().to_dict()
    plain = theirs.load(tmp_path / "final-model.pt")
    assert type(plain.tars_model) is inner
    assert predictions(plain, corpus, label_type) == predictions(again, corpus, label_type)
    restore(model)
    assert type(model) is theirs and type(model.tars_model) is inner


# -- refusals ---------------------------------------------------------------------------


def test_models_that_cannot_have_another_loss_are_refused(caplog):
    """Weights of the stock loss are replaced, with a warning."""

    class MyClassifier(stock.TextClassifier):
        pass

    corpus = split(lambda: topics(4))
    labels = corpus.make_label_dictionary("class", add_unk=False)
    options = {"label_dictionary": labels, "loss_weights": {"none": 0.1}}
    for model, message in (
        (stock.TextRegressor(texts(corpus), label_name="score"), "cannot have another loss"),
        (stock.TextPairRegressor(texts(corpus), "score"), "cannot have another loss"),
        (object.__new__(stock.EntityMentionLinker), "cannot .*similarity"),
        (MyClassifier(texts(corpus), "class", **options), "is not a model whose loss is known"),
    ):
        with pytest.raises(ValueError, match=f"{type(model).__name__} {message}"):
            use_loss(model, "DiceCE")
    use_loss(stock.TextClassifier(texts(corpus), "class", **options), "DiceCE")
    assert "replaces loss_weights" in caplog.text


def test_a_mistake_changes_nothing():
    model, _, _ = text_classifier()
    for loss in ("Dise", Dice(level="batch", background="O"), "EntityDice"):
        with pytest.raises(ValueError, match="TextClassifier: "):
            use_loss(model, loss)
        assert type(model) is stock.TextClassifier and not hasattr(model, "loss")
