"""Reading comprehension: questions of a text, windows of word pieces, answers, SQuAD's files and
its metric, and the models that encode pairs of texts. Only `encoder` imports torch.
"""
