"""Deciding for F1: where to cut a model's scores, and whether its probabilities hold; NumPy alone.

A model's scores become decisions in one of three ways, each with a class here:
`IndependentLabels` (a label is predicted where its score is above 0), `CompetingLabels` (the
label with the highest score is) and `DecodedLabels` (a decoder finds the best structure). Each
knows what a shift of its scores would predict, and finds shifts that serve an `Objective`.

`choose` does so without fooling itself. Documents are cut into folds. Every rule, from one shift
that all labels share to a shift for each label, is fitted on all folds but one and applied to that
one, in turn. The rule with the best score over all folds wins if it beats the scores as they are
and does not cost the other average (micro or macro) more than a little. What is kept is the mean
of the shifts of the folds, and what is reported is the cross-fitted score.

objectives -> scored_labels <- independent, competing, decoded -> choose -> part -> report; and
calibration, of the same scores. `part` is what a toolkit fills in: what a component decides, from
which scores, and how a cut becomes part of it.
"""
