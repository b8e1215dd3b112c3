"""Problems of one network with everything, traced and judged once a process."""

from __future__ import annotations

import pytest

from tests.problems import Problem, on_a_lattice, scattered


@pytest.fixture
def lattice_problem() -> Problem:
    return on_a_lattice()


@pytest.fixture
def scattered_problem() -> Problem:
    return scattered()
