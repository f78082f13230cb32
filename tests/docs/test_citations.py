"""Every citation of the specification leads somewhere; nobody cites what a reader cannot open."""

import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = "docs/spec.md"
HERE = Path(__file__).relative_to(ROOT).as_posix()

_CITED = re.compile(r"SPEC\s+§+\s*(\d+)")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")
_FILE = re.compile(r"`(\w[\w./-]*\.(?:py|md|mjs|cjs|json|yaml|sh|toml|txt|template|xml))`")
_NOTES = re.compile(r"\bseeds?/|\bseeds? 00\d|\bthe seeds\b")

# Files that a document names and that are not committed: made by a running stack, or an example's.
ELSEWHERE = {
    *("state.json", "ports.json"),
    *("domain.py", "services/NAME/pyproject.toml", "libs/contracts/tests/recorded/session.paused.v1.json"),
}


@cache
def texts() -> dict[str, str]:
    """The committed texts that cite: code, documents, templates."""
    listed = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wanted = (".py", ".md", ".yaml", ".template", ".toml", ".mjs", ".cjs", ".sh", ".example")
    return {path: (ROOT / path).read_text() for path in listed if path.endswith(wanted) and (ROOT / path).is_file()}


def anchors(markdown: str) -> Iterator[str]:
    """The anchors of its headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.+)$", markdown, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections() -> dict[str, str]:
    """The numbered sections of the specification, with their anchors."""
    return {anchor.partition("-")[0]: anchor for anchor in anchors((ROOT / SPEC).read_text()) if anchor[0].isdigit()}


def test_every_section_that_is_cited_exists() -> None:
    cited = {(path, number) for path, text in texts().items() for number in _CITED.findall(text)}

    assert len(cited) > 50
    assert {(path, number) for path, number in cited if number not in sections()} == set()


def test_in_documents_a_citation_is_a_link_to_its_section() -> None:
    wrong = []
    for path, text in texts().items():
        if not path.endswith(".md") or path == SPEC:
            continue
        to_spec = os.path.relpath(ROOT / SPEC, (ROOT / path).parent)
        wrong += [
            f"{path}: SPEC §{number} leads elsewhere"
            for number in _CITED.findall(text)
            if f"[SPEC §{number}]({to_spec}#{sections()[number]})" not in text
        ]
        bare = _CITED.findall(_LINK.sub("", text))
        wrong += [f"{path}: SPEC §{number} is no link" for number in bare]

    assert wrong == []


def test_every_link_within_the_repository_leads_somewhere() -> None:
    broken = []
    for path, text in texts().items():
        if not path.endswith(".md"):
            continue
        for link in _LINK.finditer(re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
            target, _, anchor = link["target"].partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = ((ROOT / path).parent / target).resolve() if target else ROOT / path
            if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
                broken.append(f"{path}: {link['target']}")

    assert broken == []


def test_every_file_that_a_document_names_exists() -> None:
    listed = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    endings = {
        "/".join(parts[-size:]) for path in listed for parts in (path.split("/"),) for size in range(1, len(parts) + 1)
    }
    named = {(path, file) for path, text in texts().items() if path.endswith(".md") for file in _FILE.findall(text)}

    assert {(path, file) for path, file in named if file not in endings | ELSEWHERE} == set()


def test_nobody_cites_the_first_notes_which_are_not_here() -> None:
    """`docs/origins.md` says where each of their names went, and the specification what of them holds."""
    may = {HERE, SPEC, "docs/origins.md"}

    assert [path for path, text in texts().items() if path not in may and _NOTES.search(text)] == []


@pytest.mark.parametrize("text", ["(seed 002)", "the seeds' task", "see seeds/"])
def test_a_citation_of_the_first_notes_is_seen(text: str) -> None:
    assert _NOTES.search(text)
