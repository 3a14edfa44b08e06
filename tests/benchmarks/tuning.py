"""Tuning S-Cyc by stages on the embedded default: what it costs beside the oracle, and how near it comes.

The oracle is built first, by the command, up to the same cycle; then `tune` by stages knows nothing of it, and `--by
fit` is given it. Whole commands are timed, with the start of Python and Ray.
"""

import argparse
import tempfile
from pathlib import Path

from common import against, report, run_command

from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.tuning.results import TuningResults

CYCLES = 13
TUNE_SECONDS, FIT_SECONDS, SHARE, GAP = 60.0, 10.0, 0.5, 0.5


def main() -> None:
    """Build the oracle, tune, fit, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 cycles, 2 runs, 6 trials")
    quick = parser.parse_args().quick
    cycles = 3 if quick else CYCLES
    options = ["--cycles", str(cycles), *(["--runs", "2"] if quick else [])]
    trials = ["--trials", "6"] if quick else []
    with tempfile.TemporaryDirectory() as folder:
        oracle_ran = run_command("oracle", Path(folder) / "oracle", *options)
        tune_ran = run_command("tune", Path(folder) / "tuning", *options, *trials)
        fit_ran = run_command("tune", Path(folder) / "fit", "--by", "fit", "--oracle", str(Path(folder) / "oracle"))
        oracle, tuned = OracleResults(Path(folder) / "oracle").oracle, TuningResults(Path(folder) / "tuning")
        ours, theirs = int(tuned.tuning["new_steps"].sum()), int(oracle["trained_steps"].sum())
        accuracy, best = tuned.chain["test_accuracy_mean"].mean(), oracle["test_accuracy_mean"].mean()
        rows = [
            ("oracle, whole command", f"{oracle_ran.wall_seconds:.1f} s", "", ""),
            ("tune by stages, whole command", *against(tune_ran.wall_seconds, TUNE_SECONDS, "{:.1f} s")),
            ("tune by fit, whole command", *against(fit_ran.wall_seconds, FIT_SECONDS, "{:.1f} s")),
            ("steps of the oracle", f"{theirs:,}", "", ""),
            ("steps of the tuning", f"{ours:,}", "", ""),
            ("    of the oracle's", *against(100 * ours / theirs, 100 * SHARE, "{:.0f} %")),
            ("test accuracy over all cycles, oracle", f"{best:.2f} %", "", ""),
            ("test accuracy over all cycles, tuned chain", f"{accuracy:.2f} %", "", ""),
            ("    below the oracle's, in points", *against(best - accuracy, GAP, "{:.2f}")),
        ]
        report(
            f"scyc-sweep {' '.join(['tune', *options, *trials])}: S-Cyc {tuned.scyc}",
            ("", "measured", "target", ""),
            rows,
        )


if __name__ == "__main__":
    main()
