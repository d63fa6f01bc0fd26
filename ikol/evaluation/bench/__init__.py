# SPDX-License-Identifier: Apache-2.0
"""How fast the solver is: what `ikol bench solver` runs.

Targets are made from random poses, so the numbers need no data set. Other packages are measured by scripts/bench_peers,
each in an environment of its own.
"""

from ikol.evaluation.bench.cases import CASES as CASES
from ikol.evaluation.bench.cases import bench_solver as bench_solver
from ikol.evaluation.bench.paper import PaperProblem as PaperProblem
from ikol.evaluation.bench.paper import make_paper_problem as make_paper_problem
from ikol.evaluation.bench.report import BenchCase as BenchCase
from ikol.evaluation.bench.report import report_json as report_json
from ikol.evaluation.bench.report import report_line as report_line
