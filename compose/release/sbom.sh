#!/usr/bin/env bash
# Prints what the program is made of, as CycloneDX 1.5: the crates of Cargo.lock that it uses.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
cd "$root"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" |
  SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" python3 -c '
import json, os, sys, tomllib
from datetime import datetime, timezone

meta = json.load(sys.stdin)
lock = tomllib.load(open("Cargo.lock", "rb"))
sums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
packages = {p["id"]: p for p in meta["packages"]}
nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
root = meta["resolve"]["root"]
# What is linked or builds it; what only tests use is not in it.
used, todo = set(), [root]
while todo:
    node = todo.pop()
    if node in used:
        continue
    used.add(node)
    for dep in nodes[node]["deps"]:
        if any(kind["kind"] != "dev" for kind in dep["dep_kinds"]):
            todo.append(dep["pkg"])

def purl(p):
    return "pkg:cargo/%s@%s" % (p["name"], p["version"])

def component(p, kind):
    one = {"type": kind, "bom-ref": purl(p), "name": p["name"], "version": p["version"], "purl": purl(p)}
    if p.get("license"):
        one["licenses"] = [{"expression": p["license"].replace("/", " OR ")}]
    digest = sums.get((p["name"], p["version"]))
    if digest:
        one["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return one

others = sorted((packages[i] for i in used if i != root), key=lambda p: (p["name"], p["version"]))
at = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
print(json.dumps({
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": component(packages[root], "application")},
    "components": [component(p, "library") for p in others],
    "dependencies": [
        {"ref": purl(packages[i]), "dependsOn": sorted({purl(packages[d["pkg"]]) for d in nodes[i]["deps"] if d["pkg"] in used})}
        for i in sorted(used, key=lambda i: purl(packages[i]))
    ],
}, indent=1))
'
