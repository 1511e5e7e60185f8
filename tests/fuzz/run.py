"""`python -m tests.fuzz.run --seconds N`: hostile input for so long. What fails is kept under tests/fuzz/seeds.

Prints inputs, inputs per second, memory, and one line for each kind of harm. Exit code 1 when there was any.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random, SystemRandom

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.inputs import METHODS, Input, inputs, variant
from tests.fuzz.target import Harmed, Target, target

SEEDS = Path(__file__).with_name("seeds")
MEMORY_GROWTH_BYTES_MAX = 128 * 2**20
_CHUNK = 100
_VARIANTS = 6
_RENEW_EVERY = 50
_REPORT_SECONDS = 30.0


class Run:
    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.inputs: Counter[str] = Counter()
        self.harm: dict[str, str] = {}
        self.failing: tuple[Input, Harmed] | None = None

    def attack(self, attacked: Target, method: str) -> None:
        """One chunk of inputs for one rpc; the smallest that does new harm is kept."""
        self.failing = None
        random = Random(SystemRandom().getrandbits(64))

        @hypothesis.seed(random.getrandbits(64))
        @settings(
            max_examples=_CHUNK,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs(method))
        def strike(attack: Input) -> None:
            if time.monotonic() > self.end and self.failing is None:
                return
            self.inputs[method] += 1
            try:
                if self.inputs[method] % _RENEW_EVERY == 1:
                    attacked.renew()
                attacked.strike(attack)
                for _ in range(_VARIANTS):  # far cheaper than to draw another
                    attack = variant(attack, random)
                    self.inputs[method] += 1
                    attacked.strike(attack)
            except Harmed as harm:
                if harm.signature not in self.harm:
                    self.failing = (attack, harm)
                    raise

        with suppress(Harmed, hypothesis.errors.FlakyFailure, ExceptionGroup):
            strike()
        self.keep_failing()

    def keep_failing(self) -> None:
        if self.failing is None:
            return
        attack, harm = self.failing
        self.harm[harm.signature] = str(harm)
        SEEDS.mkdir(exist_ok=True)
        text = attack.dump()
        path = SEEDS / f"{attack.method}-{sha256(text.encode()).hexdigest()[:12]}.json"
        path.write_text(text)
        print(f"HARM {harm}\n  kept as {path.name}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    seconds = parser.parse_args().seconds
    run, started = Run(seconds), time.monotonic()
    memory_first = memory_last = 0
    while time.monotonic() < run.end:
        try:
            with tempfile.TemporaryDirectory(prefix="heddle-fuzz-") as directory, target(Path(directory, "data")) as it:
                reported = time.monotonic()
                while time.monotonic() < run.end and it.running.process.poll() is None:
                    for method in METHODS:
                        if time.monotonic() > run.end or it.running.process.poll() is not None:
                            break
                        run.attack(it, method)
                    else:
                        memory_last = it.running.anonymous_bytes()
                        memory_first = memory_first or memory_last  # after the first round: everything is loaded
                    if time.monotonic() - reported > _REPORT_SECONDS:
                        reported = time.monotonic()
                        _report(run, reported - started, memory_first, memory_last)
        except Harmed as harm:
            run.harm[harm.signature] = str(harm)
            print(f"HARM {harm}", flush=True)
        except AssertionError as error:
            run.harm["after the run"] = str(error)
            print(f"HARM after the run: {error}", flush=True)
    if memory_last - memory_first > MEMORY_GROWTH_BYTES_MAX:
        run.harm["memory"] = f"grew from {memory_first >> 20} to {memory_last >> 20} MiB"
    _report(run, time.monotonic() - started, memory_first, memory_last)
    for method, count in sorted(run.inputs.items()):
        print(f"  {method:32} {count:10,}")
    for harm_text in run.harm.values():
        print(f"harm: {harm_text[:300]}")
    return 1 if run.harm else 0


def _report(run: Run, seconds: float, memory_first: int, memory_last: int) -> None:
    total = sum(run.inputs.values())
    print(
        f"{total:,} inputs in {seconds:,.0f} s, {total / max(seconds, 0.001):,.0f}/s, "
        f"anonymous memory {memory_first >> 20} to {memory_last >> 20} MiB, {len(run.harm)} kinds of harm",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
