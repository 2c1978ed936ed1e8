#!/usr/bin/python3
"""Puts a program on top of an image: oci.py PROGRAM EPOCH NAME OUT <SAVED

SAVED is what `docker save` says of the image below. OUT is an OCI image layout, which
`docker load`, `skopeo` and `podman load` read. The same program on the same image gives
the same bytes: nothing of this machine or this moment is in them.
"""

import hashlib
import io
import json
import sys
import tarfile
import time

OCI = "application/vnd.oci.image"
CONFIG = {
    "Cmd": ["run"],
    "Entrypoint": ["/usr/bin/berth"],
    "ExposedPorts": {"8000/tcp": {}},
    "Healthcheck": {
        "Test": ["CMD", "berth", "get", "-o", "name"],
        "Interval": 30 * 10**9, "Timeout": 10 * 10**9, "StartPeriod": 30 * 10**9,
    },
}


def add(tar, name, data, epoch, mode=0o644):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), mode, epoch
    tar.addfile(entry, io.BytesIO(data))


def layer_of(program, epoch):
    """The one layer that is ours: the program, owned by root."""
    with open(program, "rb") as file:
        data = file.read()
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "usr/bin/berth", data, epoch, 0o755)
    return layer.getvalue()


def read_saved(saved):
    """The settings and the layers of the only image in it, the lowest first."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        def read(name):
            return tar.extractfile(name).read()

        [image] = json.loads(read("manifest.json"))
        return json.loads(read(image["Config"])), [read(name) for name in image["Layers"]]


def settings(below, ours, epoch):
    """What runs, of the image below and ours on top. What tells of a build of it is left out."""
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
    kept = {key: below["config"][key] for key in ("Env", "WorkingDir") if below["config"].get(key)}
    history = [*below.get("history", []), {"created": made, "created_by": "oci.py"}]
    layers = [*below["rootfs"]["diff_ids"], digest(ours)]
    config = {
        "architecture": below["architecture"], "os": below["os"], "created": made,
        "config": {**kept, **CONFIG}, "history": history,
        "rootfs": {"type": "layers", "diff_ids": layers},
    }
    return text(config)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def text(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def main():
    program, epoch, name, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    below, layers = read_saved(sys.stdin.buffer.read())
    layers.append(layer_of(program, epoch))
    config = settings(below, layers[-1], epoch)
    if [digest(layer) for layer in layers] != json.loads(config)["rootfs"]["diff_ids"]:
        sys.exit("oci.py: error: the layers of the image below are not what its settings say")
    blobs = {}

    def blob(kind, data):
        blobs[digest(data)] = data
        return {"mediaType": f"{OCI}.{kind}", "digest": digest(data), "size": len(data)}

    manifest = text({
        "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json",
        "config": blob("config.v1+json", config),
        "layers": [blob("layer.v1.tar", layer) for layer in layers],
    })
    first = {**blob("manifest.v1+json", manifest), "annotations": {
        "io.containerd.image.name": f"docker.io/{name}",
        "org.opencontainers.image.ref.name": name.partition(":")[2],
    }}
    index = text({"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": [first]})

    def at(data):
        return "blobs/" + digest(data).replace(":", "/")

    # For engines that know no OCI layout.
    older = text([{"Config": at(config), "RepoTags": [name], "Layers": [at(layer) for layer in layers]}])
    with tarfile.open(out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "oci-layout", text({"imageLayoutVersion": "1.0.0"}), epoch)
        add(tar, "index.json", index, epoch)
        add(tar, "manifest.json", older, epoch)
        for data in sorted(blobs.values(), key=at):
            add(tar, at(data), data, epoch)


main()
