"""The losses without a toolkit: every formula once, on NumPy, CuPy and torch arrays alike.

config -> `losses` (parameters, checks) -> `formulas` (values and slopes, from `views` of scores
and `targets`) -> `slopes` (gradients). It imports NumPy and array-api-compat alone. `spacy_dice`
and `flair_dice` stand on it.
"""
