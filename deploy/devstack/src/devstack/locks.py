"""`python -m devstack.locks`: make the locks of Kafka's jars and of soketi's tree anew, from pom.xml and package.json.

What the package clients bring at this moment is trusted from then on, so read the difference before it is committed.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from devstack import downloads
from devstack.errors import StackError

# soketi asks for its WebSocket library from a Git repository. This is the same library, from npm's registry.
REPLACED = {"uWebSockets.js": "npm:@trufflesuite/uws-js-unofficial@20.30.0-unofficial.0"}


def main() -> int:
    """Write both, or say why not."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            jars, node = Path(folder) / "jars", Path(folder) / "node"
            jars.mkdir()
            node.mkdir()
            downloads.JARS.write_text(jars_lock(jars))
            (downloads.NODE / "package-lock.json").write_text(node_lock(node))
    except StackError as error:
        print(f"devstack: {error}", file=sys.stderr)
        return 1
    print("kafka/jars.sha256 and node/package-lock.json are as their registries have it now: read the difference.")
    return 0


def jars_lock(empty: Path) -> str:
    """As `sha256sum` writes it: every jar of Kafka's class path."""
    downloads.copy_jars(empty)
    return "".join(f"{digest}  {name}\n" for name, digest in downloads.digests(empty).items())


def node_lock(empty: Path) -> str:
    """Every package of every platform. What stays within package.json keeps its version.

    npm's `overrides` may not stand in package.json: npm 9, which is Debian's, reads no lock beside one that replaces a
    Git repository. So they stand here, and in the lock as what the replaced package depends on.
    """
    for name in downloads.NODE_FILES:
        shutil.copy(downloads.NODE / name, empty)
    package, lock = empty / "package.json", empty / "package-lock.json"
    package.write_text(json.dumps({**json.loads(package.read_text()), "overrides": REPLACED}))
    for _ in range(2):  # the second run drops what npm calls extraneous
        downloads.run(["npm", "install", "--package-lock-only", "--loglevel=warn"], empty)
    made = json.loads(lock.read_text())
    for entry in made["packages"].values():
        for name in REPLACED.keys() & entry.get("dependencies", {}).keys():
            entry["dependencies"][name] = REPLACED[name]
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
