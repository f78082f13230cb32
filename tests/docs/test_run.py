"""What README, walk-through, clients.md and runbook tell to type is typed here, word for word, and answers as they say.

A block of `sh` is run, all of one document in one bash. A block of `text` after it is what it answers: of its lines
each must appear, in their order, `…` standing for anything. `<!-- not run: REASON -->` above a block excuses it.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from devstack.settings import VARIABLES

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/walkthrough.md", "docs/clients.md", "docs/runbook.md")
DOCUMENT_SECONDS = 900  # many times what one takes, for a machine that is busy

OURS = (*VARIABLES, "DEVSTACK_DATA", "DEVSTACK_PORT_BASE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<excuse>.+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Step:
    """One block of commands, and the lines of its answer that the document shows."""

    commands: str
    answer: tuple[str, ...] = ()


def steps(document: str) -> list[Step]:
    """What a document tells to type, in order."""
    found: list[Step] = []
    for block in _BLOCK.finditer(document):
        language, text = block["language"], block["text"]
        if language == "text":
            last = found.pop()
            found.append(Step(last.commands, tuple(text.splitlines())))
        elif language == "sh" and not block["excuse"]:
            found.append(Step(text))
    return found


def unanswered(step: Step, said: str) -> list[str]:
    """The lines of the answer that were not said, or not in this order."""
    place, missing = 0, []
    for line in step.answer:
        pattern = ".*?".join(re.escape(part) for part in line.strip().split("…"))
        if match := re.compile(pattern).search(said, place):
            place = match.end()
        else:
            missing.append(line)
    return missing


def run(document: str, environ: Mapping[str, str], log: Path) -> list[tuple[Step, str, int]]:
    """Type all of it into one bash; each step with what was said until the next, and its exit status."""
    typed = steps(document)
    script = "".join(
        f"echo; echo '@@@ begin {number}'\n{step.commands}\necho; echo \"@@@ end $?\"\n"
        for number, step in enumerate(typed)
    )
    with log.open("wb") as said:  # and not a pipe, which what runs on in the background would keep open
        subprocess.run(
            ("bash",),
            input=script.encode(),
            cwd=ROOT,
            env=environ,
            stdout=said,
            stderr=said,
            timeout=DOCUMENT_SECONDS,
            check=False,
        )
    parts = re.split(r"^@@@ begin \d+\n", log.read_text(errors="replace"), flags=re.MULTILINE)[1:]
    assert len(parts) == len(typed), parts[-1:]
    return [
        (step, part, int(re.findall(r"^@@@ end (\d+)$", part, re.MULTILINE)[-1]))
        for step, part in zip(typed, parts, strict=True)
    ]


# -- the runner itself -------------------------------------------------------------------------------------------------


EXAMPLE = """
```sh
echo "one 1"; echo two
name=$(echo kept)
```

It answers:

```text
one …
two
```

<!-- not run: it would
take for ever -->
```sh
sleep 1000000
```

```sh
echo $name
```
```python
not_typed()
```
"""


def test_blocks_are_typed_into_one_bash_and_excused_ones_are_not(tmp_path: Path) -> None:
    done = run(EXAMPLE, os.environ, tmp_path / "log")

    assert [unanswered(step, said) for step, said, _ in done] == [[], []]
    assert "kept" in done[1][1]


@pytest.mark.parametrize(
    ("answer", "said", "missing"),
    [
        (("a…d",), "abcd", []),
        (("a…d",), "a\nd", ["a…d"]),
        (("a", "b"), "b\na", ["b"]),
        (("a.c",), "abc", ["a.c"]),
    ],
)
def test_an_answer_that_differs_is_named(answer: tuple[str, ...], said: str, missing: list[str]) -> None:
    assert unanswered(Step("", answer), said) == missing


# -- the documents -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A developer's shell, whose stack has its data elsewhere: that of the checkout may be up meanwhile."""
    data = tmp_path_factory.mktemp("documents") / "data"
    plain = {name: value for name, value in os.environ.items() if name not in OURS}
    yield {**plain, "DEVSTACK_DATA": str(data)}
    subprocess.run((ROOT / ".venv/bin/devstack", "down", "--data", str(data)), check=True, capture_output=True)


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_block_is_typed_shown_as_an_answer_or_a_drawing(path: str) -> None:
    blocks = _BLOCK.finditer((ROOT / path).read_text())

    assert {block["language"] for block in blocks} <= {"sh", "text", "mermaid"}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_what_a_document_tells_to_type_answers_as_it_says(
    path: str, environ: Mapping[str, str], tmp_path: Path
) -> None:
    """In this order: README starts the stack that the others go on with."""
    log = tmp_path / "said"

    done = run((ROOT / path).read_text(), environ, log)

    wrong = [
        f"{step.commands}\nended with {status}, did not answer {missing}, but:\n{said}"
        for step, said, status in done
        if (missing := unanswered(step, said)) or status
    ]
    assert not wrong, "\n\n".join(wrong)
