"""Measures the sampler's drawing beside vLLM's own: `python -m e2e.bench.sampler` writes build/bench/sampler.json.

Two processes in the sampler image, each with an engine of its own, draw the same completions in turn. `--tiny` takes a
narrow model, for which vLLM's own overhead is nearly all there is.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Final

from e2e.bench.base_model import BenchModel, base_model
from e2e.bench.results import end_plainly, show_result
from e2e.bench.sampler.drawing import Setting
from e2e.bench.sampler.figures import Round, report
from e2e.checkout_in_image import run_checkout
from e2e.cluster.paths import REPOSITORY
from e2e.demo.profiles import SMOLLM2
from rewriter_contract import wire
from rewriter_contract.messages import GenerationConfig
from rewriter_sampler.sample_server import SEQUENCES

RESULT: Final = REPOSITORY / "build" / "bench" / "sampler.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a narrow model: minutes become one")
    arguments = parser.parse_args()
    model, source = BenchModel(arguments.tiny), base_model()
    generation = GenerationConfig(SMOLLM2.samples, SMOLLM2.temperature, max_tokens=SMOLLM2.max_tokens, seed=model.seed)
    setting = Setting(model, arguments.queries, generation)
    with tempfile.TemporaryDirectory(prefix="rewriter-sampler-") as temporary:
        os.chmod(temporary, 0o777)
        volume = Path(temporary)
        binds = [f"{volume}:/tmp/volume"]
        take = ["python3", "-m", "e2e.bench.base_model", "--root=/tmp/volume", "--model=/tmp/model"]
        take += ["--tiny"] if model.tiny else []
        if code := run_checkout("trainer", take, [*binds, f"{source}:/tmp/model"]):
            raise SystemExit(f"the base model was not imported: exit code {code}")
        (version,) = (path.name for path in (volume / "weights").iterdir())
        inside = ["python3", "-m", "e2e.bench.sampler.inside", "--root=/tmp/volume", f"--version={version}"]
        inside += ["--out=/tmp/volume/out.json", f"--rounds={arguments.rounds}", f"--setting={wire.dumps(setting)}"]
        if code := run_checkout("sampler", inside, binds):
            raise SystemExit(code)
        made = json.loads((volume / "out.json").read_text())
    product, plain = ([Round(**one) for one in made[side]] for side in ("product", "plain"))
    shown = {
        "model": model.title,
        "dtype": model.dtype,
        "queries": setting.queries,
        "completions_per_query": generation.n,
        "temperature": generation.temperature,
        "max_tokens": generation.max_tokens,
        "sequences": SEQUENCES,
    }
    result = report(shown, len(os.sched_getaffinity(0)), product, plain)
    show_result(RESULT, result)


if __name__ == "__main__":
    end_plainly(main)
