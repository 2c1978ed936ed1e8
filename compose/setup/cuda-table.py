#!/usr/bin/env python3
"""Compares the CUDA table (src/plan/recipe/cuda.rs) with what the packages themselves say.

Asks pip for the metadata of each row's first version and of the newest one; nothing is installed.
Run by hand: `make cuda-table`. Ends with 1 when a row is wrong.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

TABLE = pathlib.Path(__file__).parents[2] / "src/plan/recipe/cuda.rs"
# What brings CUDA with a framework: older packages name the CUDA version in the name.
TELLING = re.compile(
    r"^(cuda-toolkit|nvidia-cuda-runtime(?:-cu\d+)?|nvidia-cuda-cupti-cu\d+)(?:\[[^\]]*\])?"
    r"[ (]*([^;)]*)"
)
EXTRA = {"tensorflow": "[and-cuda]"}
OLDEST = {"torch": (2, 5), "onnxruntime-gpu": (1, 19), "tensorflow": (2, 16)}
PLATFORMS = ["manylinux1", "manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28"]


def pip(*words):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip {' '.join(words)}:\n{done.stderr}")
    return done.stdout


def versions(name):
    text = pip("index", "versions", name)
    listed = re.search(r"Available versions: (.*)", text).group(1).split(", ")
    return [version for version in listed if re.fullmatch(r"[\d.]+", version)]


def cuda_of(name, version):
    """The CUDA version of a package: (12, 8), or (12, None) when any of 12 will do."""
    platforms = [word for one in PLATFORMS for word in ("--platform", one + "_x86_64")]
    with tempfile.TemporaryDirectory() as target:
        report = pip(
            "install", "--dry-run", "--quiet", "--report", "-", "--no-deps", "--ignore-installed",
            "--only-binary", ":all:", "--python-version", "3.12", *platforms, "--target", target,
            f"{name}{EXTRA.get(name, '')}=={version}",
        )
    needs = json.loads(report)["install"][0]["metadata"].get("requires_dist", [])
    for need in needs:
        found = TELLING.match(need)
        if found and (asked := re.search(r"(==|~=|>=)\s*(\d+)\.(\d+)", found.group(2))):
            how, major, minor = asked.groups()
            return int(major), int(minor) if how != "~=" else None
    return None


def two(version):
    return tuple(int(part) for part in version.split(".")[:2])


def main():
    row = re.compile(r'row\("([a-z-]+)", \((\d+), (\d+)\), \((\d+), (\d+)\)')
    rows = {}
    for name, *numbers in row.findall(TABLE.read_text()):
        a, b, c, d = map(int, numbers)
        rows.setdefault(name, []).append(((a, b), (c, d)))
    wrong = 0
    for name, oldest in OLDEST.items():
        there = versions(name)
        starts = {start for start, _ in rows[name] if start >= oldest}
        # The newest of each row's first version, the newest of the one before, and the newest.
        lines = sorted({two(version) for version in there}, reverse=True)
        before = {lines[at + 1] for at, line in enumerate(lines[:-1]) if line in starts}
        for line in sorted({lines[0]} | starts | {one for one in before if one >= oldest}):
            version = next((one for one in there if two(one) == line), None)
            if version is None:
                continue
            says = cuda_of(name, version)
            listed = next(cuda for start, cuda in rows[name] if start <= line)
            # Older packages of some say nothing.
            is_right = says is None or says == listed or says == (listed[0], None)
            wrong += not is_right
            print(f"{'ok   ' if is_right else 'WRONG'} {name} {version}: "
                  f"the table says {listed}, the package {says}", flush=True)
    sys.exit(1 if wrong else 0)


main()
