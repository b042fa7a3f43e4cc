"""Train a BiLSTM-CRF on stacked embeddings in Flair, with its own loss or with DiceCE.

    python -m examples.flair_stacked --loss DiceCE --transformer distilbert-base-cased

What is ours are the import of SequenceTagger and its argument ``loss``; ``--loss stock`` trains
the same without. The stack is of trainable word vectors and a frozen transformer; with a network
at hand, ``WordEmbeddings("glove")`` and ``FlairEmbeddings`` are what one would stack.
``--no-crf`` takes a softmax instead. Prints the best epoch's F1 on dev, and F1 on test.
"""

from flair.embeddings import OneHotEmbeddings, StackedEmbeddings, TransformerWordEmbeddings
from flair.trainers import ModelTrainer

from examples.command_line import load_corpus, parse, report
from flair_dice import LossPlugin, SequenceTagger


def main() -> None:
    args = parse(__doc__, learning_rate=0.1, mini_batch_size=32, epochs=20, crf=True)
    corpus = load_corpus(args)
    tags = corpus.make_label_dictionary("ner", add_unk=False, add_dev_test=True)
    embeddings = StackedEmbeddings(
        [
            OneHotEmbeddings.from_corpus(corpus, embedding_length=64),
            TransformerWordEmbeddings(
                args.transformer, layers="-1", subtoken_pooling="first", fine_tune=False
            ),
        ]
    )
    tagger = SequenceTagger(
        hidden_size=256,
        embeddings=embeddings,
        tag_dictionary=tags,
        tag_type="ner",
        use_crf=args.crf,
        loss=args.loss,
    )
    result = ModelTrainer(tagger, corpus).train(
        args.output,
        learning_rate=args.learning_rate,
        mini_batch_size=args.mini_batch_size,
        max_epochs=args.epochs,
        plugins=[LossPlugin()],
    )
    report(args, tagger, corpus, result)


if __name__ == "__main__":
    main()
