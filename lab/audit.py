"""`make audit`: what the containers are made of, and whether a hole in it is known.

    requirements.txt ──▶ CycloneDX bill of materials, build/sbom/<container>.json
                    └──▶ pip-audit ──▶ verdict

pip-audit's own exit status says "no known vulnerabilities" also when the service knew none
of the packages, or could not be asked. Here that is said, and is no failure: a change must
not wait for somebody else's server. A known hole is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

# What each container installs; what only the development does is audited too.
LOCKS = {
    "server": Path("server/requirements.txt"),
    "loadtest": Path("loadtest/requirements.txt"),
    "development": Path("requirements-dev.txt"),
}
SBOMS = Path("build/sbom")

# A hundred questions to one service.
AUDIT_S_MAX = 180.0

# Of the packages that were not looked up.
NAMED_MAX = 5

BIN = Path(sys.executable).parent


class Verdict(NamedTuple):
    """What an audit came to."""

    failed: bool
    text: str


def verdict(report: dict[str, Any]) -> Verdict:
    """What pip-audit's JSON says: `dependencies`, each with `vulns` or a `skip_reason`."""
    packages = report["dependencies"]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']},"
        f" mended in {', '.join(hole['fix_versions']) or 'no version'}"
        for package in packages
        for hole in package.get("vulns", ())
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    asked = len(packages) - len(skipped)
    lines = [f"{asked} of {len(packages)} packages looked up, {len(holes)} known holes", *holes]
    if skipped:
        names = ", ".join(skipped[:NAMED_MAX]) + (" …" if len(skipped) > NAMED_MAX else "")
        lines.append(f"NOT AUDITED, the service does not know {len(skipped)}: {names}")
    return Verdict(bool(holes), "\n".join(lines))


def bill(lock: Path, into: Path) -> None:
    """Write a lock's bill of materials."""
    into.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [BIN / "cyclonedx-py", "requirements", "--output-reproducible", "-o", into, lock],
        check=True,
    )


def audit(locks: list[Path]) -> Verdict:
    """Ask about everything that is locked."""
    words = [str(BIN / "pip-audit"), "--disable-pip", "--require-hashes", "--format=json"]
    words += ["--progress-spinner=off", *(f"--requirement={lock}" for lock in locks)]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=AUDIT_S_MAX, check=False
        )
        return verdict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        reason = "the service did not answer in time"
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    return Verdict(failed=False, text=f"NOT AUDITED: {reason}")


def main() -> int:
    """Write the bills, audit, and say what came of it; 1 for a known hole."""
    for name, lock in LOCKS.items():
        bill(lock, SBOMS / f"{name}.json")
    print(f"bills of materials: {SBOMS}/")
    outcome = audit(list(LOCKS.values()))
    print(outcome.text)
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
