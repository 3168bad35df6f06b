"""Every downloaded benchmark, and a model that gives answers to its questions from a script."""

import csv

from lmms_eval.api.model import lmms

from tests.support.benchmark_files import write
from tests.support.paths import ROOT
from vlmscale.evaluation.lmms_tasks import find_question_files
from vlmscale.evaluation.run import score_benchmark
from vlmscale.evaluation.spec import read_benchmarks

TABLE = ROOT / "src/vlmscale/resources/benchmarks.csv"
with TABLE.open(newline="") as file:
    # Those of repositories on the hub, which have an owner; photographs have none.
    REAL = [row["benchmark"] for row in csv.DictReader(file) if "/" in row["dataset"]]
BENCHMARKS = {benchmark.benchmark: benchmark for benchmark in read_benchmarks(REAL)}


class Scripted(lmms):
    """Gives these answers, in the order of the questions; `prompts` and `sizes` are what it was shown."""

    rank, world_size, device = 0, 1, "cpu"

    def __init__(self, answers):
        super().__init__()
        self.answers, self.prompts, self.sizes = answers, {}, {}

    def generate_until(self, requests):
        given = []
        for request in requests:
            context, _, doc_to_visual, doc_id, task, split = request.args
            self.prompts[doc_id] = context
            self.sizes[doc_id] = [
                i.size for i in doc_to_visual(self.task_dict[task][split][doc_id])
            ]
            given.append(self.answers[doc_id])
        return given

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


def run(name, folder, rows, answers, protocol="lmms"):
    """Samples, row of scores, and the model that answered."""
    benchmark, model = BENCHMARKS[name], Scripted(answers)
    write(benchmark, rows, folder)
    files = find_question_files([benchmark], folder)[name]
    return *score_benchmark(model, benchmark, files, protocol, 4), model
