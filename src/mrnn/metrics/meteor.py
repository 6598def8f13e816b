"""METEOR 1.5 of captions, by its authors' Java program, as the COCO caption scorer runs it.

Java gives the statistics of each caption; the score is computed here, so that any set of images can
be scored. The program comes with the extra `meteor`.

Letters: N images.
Source: Denkowski and Lavie, "Meteor Universal", 2014.
"""

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer

import numpy as np

from mrnn.errors import MeasureError
from mrnn.metrics.ngrams import Words, check_pairs
from mrnn.shapes import Float

STATISTICS = 23
"""Words and function words (hypothesis, reference); of each of four matchers, content and function
words matched (likewise); chunks; words matched (likewise)."""

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # for English: section 3
MATCHERS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
FIRST_SECONDS, SECONDS = 600.0, 60.0
"""How long Java may take for the first caption, as it loads its tables, and for each after it."""


def meteor(statistics: Float[np.ndarray, "N 23"]) -> Float[np.ndarray, " N"]:
    """METEOR, from 0 to 1, of each row of statistics; the rows of a corpus are summed."""
    words, functions = statistics[:, 0:2], statistics[:, 2:4]
    matched = statistics[:, 4:20].reshape(-1, len(MATCHERS), 2, 2)
    content, function = np.moveaxis(np.tensordot(matched, MATCHERS, axes=(1, 0)), 1, 0)
    weight = DELTA * (words - functions) + (1 - DELTA) * functions
    share = _ratio(DELTA * content + (1 - DELTA) * function, weight)
    precision, recall = share[:, 0], share[:, 1]
    mean = _ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
    fragments = _ratio(statistics[:, 20], statistics[:, 21:23].mean(axis=1))
    return np.asarray(mean * (1 - GAMMA * fragments**BETA))


def _ratio(
    above: Float[np.ndarray, "*N"], below: Float[np.ndarray, "*N"]
) -> Float[np.ndarray, "*N"]:
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below != 0))


class Meteor:
    """One Java process, which starts at the first caption and lives until it is closed."""

    def __init__(self, java: str = "java", jar: Path | None = None) -> None:
        """Raises MeasureError where there is no Java, or no METEOR."""
        program = shutil.which(java)
        if program is None:
            raise MeasureError(
                f"METEOR needs Java, and there is no {java!r}; install one, such as default-jre"
            )
        self._java, self._jar = program, jar or find_jar()
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def statistics(
        self, hypotheses: Sequence[Words], references: Sequence[Sequence[Words]]
    ) -> Float[np.ndarray, "N 23"]:
        """What METEOR counts in each caption. Raises MeasureError where Java fails.

        A caption that is all one chunk, as its reference is, counts as having none.
        """
        check_pairs(hypotheses, references)
        rows = np.zeros((len(hypotheses), STATISTICS))
        for row, words, sentences in zip(rows, hypotheses, references, strict=True):
            texts = [" ".join(text).replace("|||", "") for text in (*sentences, words)]
            row[:] = self._ask(" ||| ".join(["SCORE", *texts]))
        rows[(rows[:, 20] == 1) & (rows[:, 21:23] == rows[:, :2]).all(axis=1), 20] = 0
        return rows

    def _ask(self, question: str) -> list[float]:
        seconds = SECONDS
        if self._process is None:
            self._process, seconds = self._start(), FIRST_SECONDS
        process = self._process
        timer = Timer(seconds, process.kill)
        timer.start()
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(question + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:  # it died while it was spoken to
            answer = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        try:
            numbers = [float(number) for number in answer.split()]
        except ValueError:
            numbers = []
        if len(numbers) != STATISTICS:
            gave = f"Java gave no answer for {seconds:.0f} s" if late else self._complaint(answer)
            raise MeasureError(f"METEOR failed: {gave}")
        return numbers

    def _start(self) -> "subprocess.Popen[str]":
        options = ["-Xmx2G", "-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]
        command = [self._java, *options, "-jar", str(self._jar), "-", "-", "-stdio", "-l", "en"]
        try:
            return subprocess.Popen(  # noqa: S603 (no shell; the words go to its input)
                [*command, "-norm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise MeasureError(f"METEOR failed: {self._java}: {error.strerror}") from None

    def _complaint(self, answer: str) -> str:
        """The error of Java, or its exit code."""
        assert self._process is not None
        if answer:
            return f"Java answered {answer.strip()!r:.80}"
        code = self._process.wait()
        self._errors.seek(0)
        output = self._errors.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in output if line.strip()]
        causes = [line for line in lines if "Error" in line or "Exception" in line]
        return f"Java ended with code {code} ({(causes or lines or ['no message'])[0]:.160})"


def find_jar() -> Path:
    """METEOR's program in the package that brings it. Raises MeasureError."""
    package = importlib.util.find_spec("pycocoevalcap")
    for folder in (package.submodule_search_locations or ()) if package else ():
        jar = Path(folder, "meteor", "meteor-1.5.jar")
        if jar.exists():
            return jar
    raise MeasureError("METEOR is not installed; pip install 'mrnn[meteor]' brings it")
