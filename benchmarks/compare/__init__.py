"""Which loss scores what: models that are trained with each, rivals, seeds."""
