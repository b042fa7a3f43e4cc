"""Fine-tune a transformer for named entities in Flair, with cross-entropy or with DiceCE.

    python -m examples.flair_transformer --loss DiceCE --transformer distilbert-base-cased

What is ours are the import of SequenceTagger and its argument ``loss``; ``--loss stock`` trains
the same without. Prints the best epoch's F1 on dev, and F1 on test.
"""

from flair.embeddings import TransformerWordEmbeddings
from flair.trainers import ModelTrainer

from examples.command_line import load_corpus, parse, report
from flair_dice import LossPlugin, SequenceTagger


def main() -> None:
    args = parse(__doc__, learning_rate=5e-5, mini_batch_size=16, epochs=8)
    corpus = load_corpus(args)
    tags = corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
    embeddings = TransformerWordEmbeddings(
        args.transformer, layers="-1", subtoken_pooling="first", fine_tune=True
    )
    tagger = SequenceTagger(
        hidden_size=256,
        embeddings=embeddings,
        tag_dictionary=tags,
        tag_type="ner",
        use_crf=args.crf,
        use_rnn=False,
        reproject_embeddings=False,
        loss=args.loss,
    )
    result = ModelTrainer(tagger, corpus).fine_tune(
        args.output,
        learning_rate=args.learning_rate,
        mini_batch_size=args.mini_batch_size,
        max_epochs=args.epochs,
        use_final_model_for_eval=False,
        plugins=[LossPlugin()],
    )
    report(args, tagger, corpus, result)


if __name__ == "__main__":
    main()
