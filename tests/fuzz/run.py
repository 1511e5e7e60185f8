"""`python -m tests.fuzz.run --door NAME --seconds N`: hostile input for so long, at every door unless one is named.

Inputs that do harm are kept under tests/fuzz/seeds. Prints inputs, inputs per second, memory, and a line for each kind
of harm. Exit code 1 when there was any.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from random import Random, SystemRandom

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.doors import DOORS, Attack, Attacked, Door
from tests.fuzz.target import Harmed

MEMORY_GROWTH_BYTES_MAX = 128 * 2**20
_CHUNK = 100
_RENEW_EVERY = 50
_REPORT_SECONDS = 30.0


class Run:
    """``pause_file``: while it exists nothing is sent, and the time does not count."""

    def __init__(self, door: Door, seconds: float, pause_file: Path | None = None) -> None:
        self.door = door
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.pause_file = pause_file
        self.paused_seconds = 0.0
        self.inputs: Counter[str] = Counter()
        self.harm: dict[str, str] = {}
        self.failing: tuple[Attack, Harmed] | None = None
        self.memory_first: int = 0
        self.memory_last: int = 0

    def is_over(self) -> bool:
        return time.monotonic() > self.end

    def attack(self, attacked: Attacked, kind: str) -> None:
        """One chunk of inputs of one kind; the smallest that does new harm is kept."""
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
        @given(self.door.inputs(kind))
        def strike(attack: Attack) -> None:
            self.wait_for_quiet()
            if self.is_over() and self.failing is None:
                return
            self.inputs[kind] += 1
            try:
                if self.inputs[kind] % _RENEW_EVERY == 1:
                    attacked.renew()
                attacked.strike(attack)
                drawn = attack
                for _ in range(self.door.variants):
                    attack = self.door.variant(drawn, random)
                    self.inputs[kind] += 1
                    attacked.strike(attack)
            except Harmed as harm:
                if harm.signature not in self.harm:
                    self.failing = (attack, harm)
                    raise

        with suppress(Harmed, hypothesis.errors.FlakyFailure, ExceptionGroup), warnings.catch_warnings():
            warnings.simplefilter("ignore", hypothesis.errors.HypothesisWarning)  # of a seed that is long to print
            strike()
        self.keep_failing()

    def wait_for_quiet(self) -> None:
        """While somebody else needs the machine for himself."""
        while self.pause_file is not None and self.pause_file.exists():
            time.sleep(1)
            self.paused_seconds += 1
            self.end += 1

    def keep_failing(self) -> None:
        if self.failing is None:
            return
        attack, harm = self.failing
        self.harm[harm.signature] = str(harm)
        self.door.seeds.mkdir(parents=True, exist_ok=True)
        text = attack.dump()
        path = self.door.seeds / f"{attack.kind}-{sha256(text.encode()).hexdigest()[:12]}.json"
        path.write_text(text)
        print(f"HARM {harm}\n  kept as {path.name}", flush=True)

    def until_over(self) -> None:
        """A new broker whenever one has ended."""
        while not self.is_over():
            try:
                with (
                    tempfile.TemporaryDirectory(prefix="heddle-fuzz-") as directory,
                    self.door.target(Path(directory, "data")) as attacked,
                ):
                    self._rounds(attacked)
            except Harmed as harm:
                self.harm[harm.signature] = str(harm)
                print(f"HARM {harm}", flush=True)
            except AssertionError as error:
                self.harm["after the run"] = str(error)
                print(f"HARM after the run: {error}", flush=True)
        if self.memory_last - self.memory_first > MEMORY_GROWTH_BYTES_MAX:
            self.harm["memory"] = f"grew from {self.memory_first >> 20} to {self.memory_last >> 20} MiB"

    def _rounds(self, attacked: Attacked) -> None:
        reported = time.monotonic()
        while not self.is_over() and attacked.is_alive():
            for kind in self.door.kinds:
                if self.is_over() or not attacked.is_alive():
                    break
                self.attack(attacked, kind)
            else:
                self.memory_last = attacked.anonymous_bytes()
                self.memory_first = self.memory_first or self.memory_last  # after the first round: everything is loaded
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                self.report()

    def report(self) -> None:
        seconds = time.monotonic() - self.started - self.paused_seconds
        total = sum(self.inputs.values())
        print(
            f"{total:,} inputs in {seconds:,.0f} s, {total / max(seconds, 0.001):,.0f}/s, "
            f"anonymous memory {self.memory_first >> 20} to {self.memory_last >> 20} MiB, {len(self.harm)} kinds of "
            f"harm, paused for {self.paused_seconds:,.0f} s",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="for each door")
    parser.add_argument("--door", choices=sorted(DOORS), action="append", help="may be repeated")
    parser.add_argument("--pause-file", type=Path, help="while it exists nothing is sent")
    arguments = parser.parse_args()
    harmed = False
    for name in arguments.door or sorted(DOORS):
        run = Run(DOORS[name], arguments.seconds, arguments.pause_file)
        print(f"door {name}", flush=True)
        run.until_over()
        run.report()
        for kind, count in sorted(run.inputs.items()):
            print(f"  {kind:32} {count:10,}")
        for harm_text in run.harm.values():
            print(f"harm: {harm_text[:300]}")
        harmed = harmed or bool(run.harm)
    return 1 if harmed else 0


if __name__ == "__main__":
    sys.exit(main())
