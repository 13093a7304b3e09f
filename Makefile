.PHONY: setup demo test lint docs clean
setup:            ## .venv with the pinned dependencies
	@scripts/setup.sh
demo: setup       ## the whole story on phantoms: train, evaluate, explain, report
	.venv/bin/attrinet demo
test:             ## lint, types and test suite, in its own environment
	@scripts/setup.sh dev
	.venv/bin/ruff check src tests benchmarks
	scripts/types.sh
	.venv/bin/pytest -n auto --dist loadfile --max-worker-restart 0  # a crash is a failure, not a wait for ever
docs:             ## the documentation site → build/site/index.html; a warning fails it
	@scripts/setup.sh docs
	.venv/bin/mkdocs build --strict
clean:
	rm -rf .venv runs build
