"""Commands of lvexp, each in a fork of one process that has imported torch and lightning: that takes longer than most
of what the commands do."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

#: what an interpreter or a library reads when it starts: with another value of these a command needs its own process
_AT_START = ("PYTHON", "LC_", "LANG", "OMP_", "KMP_", "MKL_", "ATEN_", "MALLOC_")


def can_run(environment: Mapping[str, str]) -> bool:
    """Whether a command behaves in a fork as in a process of its own."""
    return not any(name.startswith(_AT_START) for name in environment)


class Forks:
    """``lvexp`` with other words, folders and environments."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(
        self, *words: str, cwd: Path, env: Mapping[str, str], timeout: int = 300
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``lvexp`` with these words. A negative exit code is that of a signal, SIGALRM after ``timeout`` s."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.TemporaryDirectory() as place:
            out, err = f"{place}/out", f"{place}/err"
            asked = {"words": words, "cwd": str(cwd), "env": dict(env), "out": out, "err": err, "timeout": timeout}
            print(json.dumps(asked), file=self.process.stdin, flush=True)
            code = int(self.process.stdout.readline())
            printed = [Path(file).read_text(encoding="utf-8") for file in (out, err)]
        return subprocess.CompletedProcess(["lvexp", *words], code, *printed)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def _serve() -> None:

    import lvexp.evaluation
    import lvexp.report.figures
    import lvexp.run  # noqa: F401
    from lvexp.__main__ import main

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        signal.alarm(asked["timeout"])
        for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, for as long as the process lives
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        random.seed()
        sys.path[0], sys.argv = asked["cwd"], ["lvexp", *asked["words"]]
        main()
        return


if __name__ == "__main__":
    _serve()
