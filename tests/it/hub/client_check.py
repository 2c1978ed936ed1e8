#!/usr/bin/env python3
"""Check a Hub-compatible server with the real huggingface_hub client.

    hf_client_check.py ENDPOINT TOKEN [options]

Every operation prints one line, PASS, FAIL or SKIP; the last line is 'N passed, N failed'.
The exit status is 0 when nothing failed.  Needs only `pip install huggingface_hub`; the
transformers and safetensors checks run when those packages are importable.

The script makes one repository, NAMESPACE/check-<random>, and deletes it at the end.
All client state (cache, token, xet cache) lives in a temporary directory.

Options
  --namespace NS     namespace (project) to create the repository in        [conformance]
  --transport T      default: as the client is installed; lfs: xet disabled; both: one run of each
  --big-mb N         size of the large file in MiB                           [24]
  --only TEXT        run only operations whose name contains TEXT (setup operations always run)
  --keep             leave the repository behind
  --no-cli           skip the `hf` command checks
  --trace            print a traceback for every failure
"""
import argparse
import hashlib
import http.client
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse


def parse_args():
    ap = argparse.ArgumentParser(description="Hub conformance check")
    ap.add_argument("endpoint")
    ap.add_argument("token")
    ap.add_argument("--namespace", default="conformance")
    ap.add_argument("--transport", choices=["default", "lfs", "both"], default="default")
    ap.add_argument("--big-mb", type=int, default=24)
    ap.add_argument("--only", default="")
    ap.add_argument("--keep", action="store_true")
    ap.add_argument("--no-cli", action="store_true")
    ap.add_argument("--trace", action="store_true")
    return ap.parse_args()


ARGS = parse_args()
ARGS.endpoint = ARGS.endpoint.rstrip("/")

if ARGS.transport == "both":
    total = [0, 0]
    rest = [a for a in sys.argv[1:]]
    at = rest.index("both") if "both" in rest else rest.index("--transport=both")
    for t in ("default", "lfs"):
        print(f"== transport: {t}", flush=True)
        argv = list(rest)
        argv[at] = t if argv[at] == "both" else f"--transport={t}"
        p = subprocess.Popen([sys.executable, os.path.abspath(__file__), *argv], stdout=subprocess.PIPE, text=True)
        last = ""
        for line in p.stdout:
            last = line.strip() or last
            if " passed, " not in line:
                print(line, end="", flush=True)
        p.wait()
        try:
            ok, bad = last.split(" passed, ")
            total[0] += int(ok)
            total[1] += int(bad.split()[0])
        except ValueError:
            total[1] += 1
    print(f"{total[0]} passed, {total[1]} failed")
    sys.exit(1 if total[1] else 0)

# The client reads its settings once, at import: set them first.
HOME = tempfile.mkdtemp(prefix="hf-check-")
for k in [k for k in os.environ if k.startswith(("HF_", "HUGGINGFACE_"))]:
    del os.environ[k]
os.environ.update(
    HF_ENDPOINT=ARGS.endpoint, HF_TOKEN=ARGS.token, HF_HOME=HOME, HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_UPDATE_CHECK="1", NO_PROXY="*", no_proxy="*",
)
if ARGS.transport == "lfs":
    os.environ["HF_HUB_DISABLE_XET"] = "1"

import huggingface_hub as hub  # noqa: E402
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors  # noqa: E402

API = HfApi()
RND = random.Random(20261120)
REPO = f"{ARGS.namespace}/check-{os.urandom(4).hex()}"
MIB = 1 << 20
RESULTS = []
STATE = {}


class Skip(Exception):
    pass


def must(cond, text):
    if not cond:
        raise AssertionError(text)


def raises(kinds, fn, *a, **kw):
    try:
        fn(*a, **kw)
    except kinds as e:
        return e
    except Exception as e:
        raise AssertionError(f"raised {type(e).__name__}: {str(e).splitlines()[0][:160]}") from e
    raise AssertionError(f"nothing raised, expected {getattr(kinds, '__name__', kinds)}")


def op(name, setup=False):
    """Register and run one operation."""
    def deco(fn):
        if ARGS.only and not setup and ARGS.only.lower() not in name.lower():
            return fn
        t0 = time.monotonic()
        try:
            note = fn()
            RESULTS.append(True)
            ms = (time.monotonic() - t0) * 1e3
            print(f"PASS  {name}  ({ms:.0f} ms){'  ' + note if isinstance(note, str) else ''}", flush=True)
        except Skip as e:
            print(f"SKIP  {name}  ({e})", flush=True)
        except BaseException as e:
            if isinstance(e, KeyboardInterrupt):
                raise
            RESULTS.append(False)
            lines = [s for s in f"{type(e).__name__}: {e}".splitlines() if s.strip()]
            print(f"FAIL  {name}  {' | '.join(lines)[:300]}", flush=True)
            if ARGS.trace:
                traceback.print_exc(file=sys.stdout)
        return fn
    return deco


def raw(method, path, headers=None, body=None, auth=True):
    """One plain request, no client library; returns (status, lower-case headers, body)."""
    u = urllib.parse.urlsplit(ARGS.endpoint)
    cls = http.client.HTTPSConnection if u.scheme == "https" else http.client.HTTPConnection
    c = cls(u.hostname, u.port, timeout=60)
    h = {"Accept-Encoding": "identity", **(headers or {})}
    if auth:
        h["Authorization"] = f"Bearer {ARGS.token}"
    c.request(method, u.path + path, body=body, headers=h)
    r = c.getresponse()
    b = r.read()
    out = {k.lower(): v for k, v in r.getheaders()}
    c.close()
    if r.status in (301, 302, 303, 307, 308) and method == "GET":
        v = urllib.parse.urlsplit(urllib.parse.urljoin(ARGS.endpoint + path, out["location"]))
        cls = http.client.HTTPSConnection if v.scheme == "https" else http.client.HTTPConnection
        c = cls(v.hostname, v.port, timeout=60)
        c.request(method, v.path + ("?" + v.query if v.query else ""),
                  headers={k: x for k, x in h.items() if k != "Authorization" or v.netloc == u.netloc})
        r = c.getresponse()
        b = r.read()
        out = {k.lower(): x for k, x in r.getheaders()}
        c.close()
    return r.status, out, b


def is_commit(s):
    return isinstance(s, str) and len(s) == 40 and all(c in "0123456789abcdef" for c in s)


def sha(b):
    return hashlib.sha256(b).hexdigest()


def tmp():
    return tempfile.mkdtemp(dir=HOME)


def read(p):
    with open(p, "rb") as f:
        return f.read()


def fresh(filename, revision=None, **kw):
    """Download into an empty cache and return the bytes."""
    return read(hub.hf_hub_download(REPO, filename, revision=revision, cache_dir=tmp(), **kw))


def make_safetensors(tensors):
    head, pos, data = {"__metadata__": {"format": "pt"}}, 0, b""
    for name, (dtype, shape, raw_) in tensors.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [pos, pos + len(raw_)]}
        pos += len(raw_)
        data += raw_
    js = json.dumps(head, separators=(",", ":")).encode()
    js += b" " * (-len(js) % 8)
    return struct.pack("<Q", len(js)) + js + data


CONFIG = json.dumps({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 32, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 8}).encode()
VOCAB = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s"]).encode() + b"\n"
TOKENIZER = json.dumps({
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])],
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
              "vocab": {t: i for i, t in enumerate(VOCAB.decode().split())}}}).encode()
TOKCONF = json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]"}).encode()
SAFE = make_safetensors({"w": ("F32", [16, 4], RND.randbytes(256)), "b": ("BF16", [8], RND.randbytes(16))})
BIG = RND.randbytes(ARGS.big_mb * MIB)                                  # does not compress
FLOATS = b"".join(struct.pack("<f", i * 1e-3) for i in range(600_000))  # compresses once bytes are grouped
TEXTY = b"the quick brown fox jumps over the lazy dog\0" * 60_000       # compresses well

print(f"huggingface_hub {hub.__version__}, xet {'off' if ARGS.transport == 'lfs' else 'as installed'}, repo {REPO}")


# ------------------------------------------------------------------ account and repository
@op("whoami", setup=True)
def _():
    who = API.whoami()
    must(isinstance(who.get("name"), str) and "type" in who, f"unexpected whoami: {who}")


@op("whoami refuses a wrong token")
def _():
    e = raises(Exception, HfApi(token="hf_wrong").whoami)  # 0.x raises requests' HTTPError here
    must(getattr(e, "response", None) is not None and e.response.status_code == 401, f"{type(e).__name__}: {e}")


@op("repo_exists is False before creation")
def _():
    must(API.repo_exists(REPO) is False, "said True")


@op("create_repo", setup=True)
def _():
    u = API.create_repo(REPO)
    must(u.repo_id == REPO, f"repo_id {u.repo_id}")


@op("create_repo again: 409, and quiet with exist_ok")
def _():
    e = raises(errors.HfHubHTTPError, API.create_repo, REPO)
    must(e.response.status_code == 409, f"status {e.response.status_code}")
    must(API.create_repo(REPO, exist_ok=True).repo_id == REPO, "exist_ok")


@op("repo_exists is True after creation")
def _():
    must(API.repo_exists(REPO) is True, "said False")


# ------------------------------------------------------------------ uploads
@op("upload_file: small JSON from bytes", setup=True)
def _():
    c = API.upload_file(path_or_fileobj=CONFIG, path_in_repo="config.json", repo_id=REPO, commit_message="add config")
    must(is_commit(c.oid), f"commit id {c.oid!r}")
    STATE["first"] = c.oid


@op("upload_file: README.md with a YAML head")
def _():
    API.upload_file(path_or_fileobj=b"---\nlicense: mit\ntags: [check]\n---\n# check\n", path_in_repo="README.md", repo_id=REPO)


@op("upload_file: large binary from a path", setup=True)
def _():
    p = os.path.join(tmp(), "big.bin")
    with open(p, "wb") as f:
        f.write(BIG)
    t0 = time.monotonic()
    API.upload_file(path_or_fileobj=p, path_in_repo="big.bin", repo_id=REPO)
    return f"{len(BIG) / (time.monotonic() - t0) / 1e6:.0f} MB/s"


@op("upload_file: binary from a file object (LFS even when xet is on)")
def _():
    API.upload_file(path_or_fileobj=io.BufferedReader(io.BytesIO(TEXTY)), path_in_repo="obj/texty.bin", repo_id=REPO)
    must(fresh("obj/texty.bin") == TEXTY, "content differs")


@op("upload_folder: nested folder, mixed sizes", setup=True)
def _():
    d = tmp()
    files = {"tokenizer.json": TOKENIZER, "vocab.txt": VOCAB, "tokenizer_config.json": TOKCONF, "model.safetensors": SAFE,
             "onnx/sub dir/ü ñ+%41.txt": "päth".encode(), "floats.bin": FLOATS, "texty.bin": TEXTY, "copy/big.bin": BIG,
             "empty.txt": b""}
    for n, b in files.items():
        os.makedirs(os.path.dirname(os.path.join(d, n)), exist_ok=True)
        with open(os.path.join(d, n), "wb") as f:
            f.write(b)
    STATE["folder"], STATE["files"] = d, files
    API.upload_folder(folder_path=d, repo_id=REPO, commit_message="folder")


@op("upload_folder again: nothing changed, no new commit")
def _():
    before = API.model_info(REPO).sha
    API.upload_folder(folder_path=STATE["folder"], repo_id=REPO)
    must(API.model_info(REPO).sha == before, "a new commit appeared")


@op("upload the same large content under another name (server dedupes)")
def _():
    t0 = time.monotonic()
    API.upload_file(path_or_fileobj=BIG, path_in_repo="copy/again.bin", repo_id=REPO)
    dt = time.monotonic() - t0
    must(fresh("copy/again.bin") == BIG, "content differs")
    return f"{dt * 1e3:.0f} ms for {ARGS.big_mb} MiB"


# ------------------------------------------------------------------ metadata
@op("model_info")
def _():
    i = API.model_info(REPO)
    must(i.id == REPO and is_commit(i.sha), f"id {i.id}, sha {i.sha}")
    must("config.json" in [s.rfilename for s in i.siblings], "siblings lack config.json")
    must(i.last_modified is not None and i.private is False, "lastModified / private")


@op("model_info(files_metadata=True): sizes and sha256")
def _():
    s = {x.rfilename: x for x in API.model_info(REPO, files_metadata=True).siblings}
    must(s["big.bin"].size == len(BIG), f"size {s['big.bin'].size}")
    must(s["big.bin"].lfs and s["big.bin"].lfs.sha256 == sha(BIG), "lfs sha256")
    must(s["config.json"].size == len(CONFIG), "config size")


@op("list_repo_files")
def _():
    got = set(API.list_repo_files(REPO))
    want = {"config.json", "big.bin", *STATE["files"]}
    must(want <= got, f"missing {sorted(want - got)}")


@op("list_repo_tree: flat and recursive")
def _():
    flat = list(API.list_repo_tree(REPO))
    must(any(type(x).__name__ == "RepoFolder" and x.path == "onnx" for x in flat), "no folder entry 'onnx'")
    must(all("/" not in x.path for x in flat), "flat listing holds nested paths")
    rec = {x.path: x for x in API.list_repo_tree(REPO, recursive=True)}
    must(rec["copy/big.bin"].lfs.sha256 == sha(BIG), "lfs of copy/big.bin")
    sub = [x.path for x in API.list_repo_tree(REPO, "onnx/sub dir")]
    must(sub == ["onnx/sub dir/ü ñ+%41.txt"], f"sub tree {sub}")


@op("list_repo_tree(expand=True): last commit and security fields parse")
def _():
    x = [x for x in API.list_repo_tree(REPO, expand=True) if x.path == "big.bin"][0]
    must(x.last_commit is not None and x.last_commit.oid, "no last commit")


@op("get_paths_info")
def _():
    r = {x.path: x for x in API.get_paths_info(REPO, ["config.json", "onnx", "nope"])}
    must(set(r) == {"config.json", "onnx"}, f"got {sorted(r)}")


@op("list_models: by author and by search")
def _():
    must(REPO in [m.id for m in API.list_models(author=ARGS.namespace)], "author listing lacks the repo")
    must([m.id for m in API.list_models(search=REPO.split("/")[1], limit=5)] == [REPO], "search")


@op("file_exists, revision_exists")
def _():
    must(API.file_exists(REPO, "config.json") is True, "config.json")
    must(API.file_exists(REPO, "missing.json") is False, "missing.json")
    must(API.file_exists(ARGS.namespace + "/no-such-repo", "x") is False, "unknown repo")
    must(API.revision_exists(REPO, "main") is True and API.revision_exists(REPO, "nope") is False, "revisions")


@op("get_hf_file_metadata")
def _():
    m = hub.get_hf_file_metadata(hub.hf_hub_url(REPO, "big.bin"))
    must(is_commit(m.commit_hash), f"commit {m.commit_hash!r}")
    must(m.etag == sha(BIG), f"etag {m.etag!r} is not the sha256")
    must(m.size == len(BIG), f"size {m.size}")


@op("list_repo_commits, list_repo_refs")
def _():
    c = API.list_repo_commits(REPO)
    must(len(c) >= 3 and is_commit(c[0].commit_id), "commits")
    must("main" in [b.name for b in API.list_repo_refs(REPO).branches], "refs")


# ------------------------------------------------------------------ downloads
@op("hf_hub_download: cache layout, content, second call")
def _():
    cache = tmp()
    p = hub.hf_hub_download(REPO, "big.bin", cache_dir=cache)
    must(read(p) == BIG, "content differs")
    must("/snapshots/" in p and is_commit(p.split("/snapshots/")[1].split("/")[0]), f"path {p}")
    must(hub.hf_hub_download(REPO, "big.bin", cache_dir=cache) == p, "second call gives another path")
    must(hub.try_to_load_from_cache(REPO, "big.bin", cache_dir=cache) == p, "try_to_load_from_cache")


@op("hf_hub_download: every kind of content")
def _():
    for n in ["config.json", "floats.bin", "texty.bin", "copy/big.bin", "empty.txt", "onnx/sub dir/ü ñ+%41.txt"]:
        want = CONFIG if n == "config.json" else STATE["files"][n]
        must(fresh(n) == want, f"{n}: content differs")


@op("hf_hub_download: subfolder, local_dir, dry_run")
def _():
    must(read(hub.hf_hub_download(REPO, "big.bin", subfolder="copy", cache_dir=tmp())) == BIG, "subfolder")
    d = tmp()
    p = hub.hf_hub_download(REPO, "config.json", local_dir=d)
    must(os.path.realpath(p) == os.path.realpath(os.path.join(d, "config.json")) and read(p) == CONFIG, "local_dir")
    if "dry_run" in hub.hf_hub_download.__kwdefaults__ if hub.hf_hub_download.__kwdefaults__ else False:
        i = hub.hf_hub_download(REPO, "big.bin", cache_dir=tmp(), dry_run=True)
        must(i.file_size == len(BIG) and i.will_download, "dry_run")


@op("hf_hub_download: by full commit id, by an older commit")
def _():
    must(fresh("config.json", revision=STATE["first"]) == CONFIG, "older commit")
    raises(errors.EntryNotFoundError, fresh, "big.bin", revision=STATE["first"])


@op("snapshot_download: all, and with patterns")
def _():
    d = hub.snapshot_download(REPO, cache_dir=tmp())
    for n, b in STATE["files"].items():
        must(read(os.path.join(d, n)) == b, f"{n}: content differs")
    d = hub.snapshot_download(REPO, cache_dir=tmp(), allow_patterns=["*.json"], ignore_patterns=["tokenizer*"])
    must(sorted(os.listdir(d)) == ["config.json"], f"patterns gave {sorted(os.listdir(d))}")


@op("snapshot_download: local_dir, then again with nothing to do")
def _():
    d = tmp()
    hub.snapshot_download(REPO, local_dir=d)
    hub.snapshot_download(REPO, local_dir=d)
    must(read(os.path.join(d, "floats.bin")) == FLOATS, "content differs")


@op("http_get resumes from a byte offset")
def _():
    from huggingface_hub.file_download import http_get
    at, f = len(BIG) // 3, io.BytesIO()
    f.write(BIG[:at])
    http_get(hub.hf_hub_url(REPO, "big.bin"), f, resume_size=at, headers={"authorization": f"Bearer {ARGS.token}"}, expected_size=len(BIG))
    must(f.getvalue() == BIG, "resumed content differs")


@op("HfFileSystem: ls, ranged read, glob")
def _():
    fs = hub.HfFileSystem()
    must(fs.info(f"{REPO}/big.bin")["size"] == len(BIG), "size")
    with fs.open(f"{REPO}/big.bin", "rb", block_size=MIB) as f:
        f.seek(5 * MIB + 7)
        must(f.read(1000) == BIG[5 * MIB + 7:5 * MIB + 1007], "ranged read")
    must(f"{REPO}/copy/big.bin" in fs.glob(f"{REPO}/copy/*"), "glob")


@op("get_safetensors_metadata: header over ranged GETs")
def _():
    m = API.get_safetensors_metadata(REPO)
    must(m.parameter_count == {"F32": 64, "BF16": 8}, f"{m.parameter_count}")


@op("get_sharded_safetensors_metadata: all shards in one answer")
def _():
    if not hasattr(API, "get_sharded_safetensors_metadata"):
        raise Skip("this client does not ask for it")
    other = make_safetensors({"v": ("F32", [2, 2], RND.randbytes(16))})
    index = {"metadata": {"total_size": 288}, "weight_map": {"w": "s-1.safetensors", "b": "s-1.safetensors", "v": "s-2.safetensors"}}
    files = {"s-1.safetensors": SAFE, "s-2.safetensors": other, "model.safetensors.index.json": json.dumps(index).encode()}
    API.create_commit(REPO, [hub.CommitOperationAdd("shards/" + name, data) for name, data in files.items()], commit_message="shards")
    m = API.get_sharded_safetensors_metadata(REPO, filename="shards/model.safetensors.index.json")
    must(m.metadata == {"total_size": 288} and sorted(m.files_metadata) == ["s-1.safetensors", "s-2.safetensors"], f"{m}")
    must(m.weight_map == {"w": "s-1.safetensors", "b": "s-1.safetensors", "v": "s-2.safetensors"}, f"{m.weight_map}")
    must(m.parameter_count == {"F32": 68, "BF16": 8}, f"{m.parameter_count}")


# ------------------------------------------------------------------ branches, tags, commits
@op("create_branch, upload to it, download from it")
def _():
    API.create_branch(REPO, branch="v1.0.0")
    API.upload_file(path_or_fileobj=b"branch file", path_in_repo="only-here.txt", repo_id=REPO, revision="v1.0.0")
    must(fresh("only-here.txt", revision="v1.0.0") == b"branch file", "content")
    raises(errors.EntryNotFoundError, fresh, "only-here.txt")


@op("a branch name with a slash")
def _():
    API.create_branch(REPO, branch="exp/a-1")
    must(fresh("config.json", revision="exp/a-1") == CONFIG, "content")
    must(is_commit(API.model_info(REPO, revision="exp/a-1").sha), "model_info")


@op("create_tag, list it, download by tag, delete it")
def _():
    API.create_tag(REPO, tag="stable", revision="main")
    must("stable" in [t.name for t in API.list_repo_refs(REPO).tags], "refs lack the tag")
    must(fresh("config.json", revision="stable") == CONFIG, "content")
    API.delete_tag(REPO, tag="stable")
    must(not API.revision_exists(REPO, "stable"), "still resolves")


@op("create_commit: add and delete in one commit, with parent_commit")
def _():
    head = API.model_info(REPO).sha
    c = API.create_commit(REPO, operations=[CommitOperationAdd("a.txt", b"a"), CommitOperationDelete("vocab.txt")],
                          commit_message="both", parent_commit=head)
    files = API.list_repo_files(REPO)
    must("a.txt" in files and "vocab.txt" not in files, "operations not applied")
    must(API.model_info(REPO).sha == c.oid, "head is not the new commit")
    e = raises(errors.HfHubHTTPError, API.create_commit, REPO, operations=[CommitOperationAdd("b.txt", b"b")],
               commit_message="stale", parent_commit=head)
    must(e.response.status_code in (409, 412), f"stale parent gave {e.response.status_code}")


@op("delete_file, delete_folder")
def _():
    API.delete_file("a.txt", REPO)
    API.delete_folder("onnx", REPO)
    files = API.list_repo_files(REPO)
    must("a.txt" not in files and not [f for f in files if f.startswith("onnx/")], "still listed")


@op("overwrite a file: a new etag, the old commit still serves the old bytes")
def _():
    old = API.model_info(REPO).sha
    API.upload_file(path_or_fileobj=b"{}", path_in_repo="config2.json", repo_id=REPO)
    mid = API.model_info(REPO).sha
    API.upload_file(path_or_fileobj=b'{"x":1}', path_in_repo="config2.json", repo_id=REPO)
    must(fresh("config2.json") == b'{"x":1}' and fresh("config2.json", revision=mid) == b"{}", "contents")
    raises(errors.EntryNotFoundError, fresh, "config2.json", revision=old)


# ------------------------------------------------------------------ errors the client tells apart
@op("error: unknown repository -> RepositoryNotFoundError")
def _():
    raises(errors.RepositoryNotFoundError, API.model_info, ARGS.namespace + "/no-such-repo")
    raises(errors.RepositoryNotFoundError, hub.hf_hub_download, ARGS.namespace + "/no-such-repo", "x", cache_dir=tmp())


@op("error: unknown revision -> RevisionNotFoundError")
def _():
    raises(errors.RevisionNotFoundError, API.model_info, REPO, revision="no-such-rev")
    raises(errors.RevisionNotFoundError, fresh, "config.json", revision="no-such-rev")


@op("error: unknown file -> EntryNotFoundError, and the miss is cached")
def _():
    cache = tmp()
    raises(errors.EntryNotFoundError, hub.hf_hub_download, REPO, "nope.json", cache_dir=cache)
    got = hub.try_to_load_from_cache(REPO, "nope.json", cache_dir=cache)
    must(got is not None and not isinstance(got, str), "the 404 lacks X-Repo-Commit: absence was not cached")


@op("error: writing without a token is refused")
def _():
    e = raises(errors.HfHubHTTPError, HfApi(token=False).upload_file, path_or_fileobj=b"x", path_in_repo="x", repo_id=REPO)
    must(e.response.status_code in (401, 403), f"status {e.response.status_code}")


# ------------------------------------------------------------------ the wire itself
PATH = f"/{REPO}/resolve/main/big.bin"


@op("wire: HEAD carries X-Repo-Commit, a quoted ETag, a length, Accept-Ranges")
def _():
    s, h, b = raw("HEAD", PATH)
    must(s in (200, 302, 307) and b == b"", f"status {s}")
    must(is_commit(h.get("x-repo-commit")), f"x-repo-commit {h.get('x-repo-commit')!r}")
    et = h.get("x-linked-etag") or h.get("etag")
    must(et == f'"{sha(BIG)}"', f"etag {et!r}")
    must((h.get("x-linked-size") or h.get("content-length")) == str(len(BIG)), "no size")
    must("content-encoding" not in h, "compressed")
    if s == 200:
        must(h.get("accept-ranges") == "bytes", "accept-ranges")


@op("move_repo: there under the new name, gone from the old one, and back")
def _():
    moved = REPO + "-moved"
    before = API.model_info(REPO)
    API.move_repo(from_id=REPO, to_id=moved)
    after = API.model_info(moved)
    must(sorted(s.rfilename for s in after.siblings) == sorted(s.rfilename for s in before.siblings), "files")
    must(len(API.list_repo_commits(moved)) == len(API.list_repo_commits(moved, revision="main")), "history")
    raises(errors.RepositoryNotFoundError, API.model_info, REPO)
    e = raises(errors.HfHubHTTPError, API.move_repo, from_id=moved, to_id=moved)
    must(e.response.status_code == 409, f"onto itself gave {e.response.status_code}")
    API.move_repo(from_id=moved, to_id=REPO)
    must(API.model_info(REPO).sha == before.sha, "another commit after it has come back")


@op("wire: ranges: first, middle, open, suffix")
def _():
    n = len(BIG)
    for r, want in [("0-0", BIG[:1]), ("1000-1999", BIG[1000:2000]), (f"{n - 5}-", BIG[-5:]), ("-7", BIG[-7:]), (f"{n - 3}-{n + 99}", BIG[-3:])]:
        s, h, b = raw("GET", PATH, {"Range": f"bytes={r}"})
        must(s == 206, f"bytes={r}: status {s}")
        must(b == want, f"bytes={r}: content")
        must(h.get("content-range", "").startswith("bytes ") and h["content-range"].endswith(f"/{n}"), f"content-range {h.get('content-range')}")


@op("wire: a range past the end -> 416 with the length")
def _():
    s, h, _ = raw("GET", PATH, {"Range": f"bytes={len(BIG)}-"})
    must(s == 416 and h.get("content-range") == f"bytes */{len(BIG)}", f"{s} {h.get('content-range')}")


@op("wire: If-None-Match -> 304; stale If-Range -> 200 whole")
def _():
    _, h, _ = raw("GET", PATH, {"Range": "bytes=0-0"})
    s, _, b = raw("GET", PATH, {"If-None-Match": h["etag"]})
    must(s == 304 and b == b"", f"If-None-Match gave {s}")
    s, _, b = raw("GET", PATH, {"Range": "bytes=0-9", "If-Range": '"stale"'})
    must(s == 200 and b == BIG, f"If-Range gave {s}, {len(b)} bytes")
    s, _, b = raw("GET", PATH, {"Range": "bytes=0-9", "If-Range": h["etag"]})
    must(s == 206 and b == BIG[:10], f"fresh If-Range gave {s}")


@op("wire: 404s name themselves in X-Error-Code")
def _():
    for p, code in [(f"/{ARGS.namespace}/no-such-repo/resolve/main/x", "RepoNotFound"), (f"/{REPO}/resolve/nope/x", "RevisionNotFound"),
                    (f"/{REPO}/resolve/main/nope", "EntryNotFound")]:
        s, h, _ = raw("GET", p)
        must(s == 404 and h.get("x-error-code") == code, f"{p}: {s} {h.get('x-error-code')}")
        s, h, _ = raw("HEAD", p)
        must(s == 404 and h.get("x-error-code") == code, f"HEAD {p}: {s} {h.get('x-error-code')}")


@op("wire: path tricks do not escape the repository")
def _():
    for p in ["%2e%2e/%2e%2e/etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "a/../../../../etc/passwd", "%00", "a%5c..%5cb"]:
        s, _, b = raw("GET", f"/{REPO}/resolve/main/{p}")
        must(s in (400, 403, 404), f"{p}: status {s}")
        must(b"root:" not in b, f"{p}: leaked")


# ------------------------------------------------------------------ other clients
@op("cli: hf download")
def _():
    exe = None if ARGS.no_cli else (shutil.which("hf", path=os.path.dirname(sys.executable)) or shutil.which("hf"))
    if not exe:
        raise Skip("no hf command")
    d = tmp()
    p = subprocess.run([exe, "download", REPO, "config.json", "--local-dir", d], capture_output=True, text=True, timeout=120)
    must(p.returncode == 0, (p.stderr or p.stdout)[-250:])
    must(read(os.path.join(d, "config.json")) == CONFIG, "content differs")


@op("cli: hf upload to a new revision")
def _():
    exe = None if ARGS.no_cli else (shutil.which("hf", path=os.path.dirname(sys.executable)) or shutil.which("hf"))
    if not exe:
        raise Skip("no hf command")
    p = os.path.join(tmp(), "cli.bin")
    with open(p, "wb") as f:
        f.write(BIG[:3 * MIB])
    r = subprocess.run([exe, "upload", REPO, p, "cli.bin", "--revision", "cli-rev"], capture_output=True, text=True, timeout=180)
    must(r.returncode == 0, (r.stderr or r.stdout)[-250:])
    must(fresh("cli.bin", revision="cli-rev") == BIG[:3 * MIB], "content differs")


@op("transformers: AutoConfig and AutoTokenizer")
def _():
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError:
        raise Skip("transformers is not installed")
    cache = tmp()
    c = AutoConfig.from_pretrained(REPO, cache_dir=cache)
    must(c.hidden_size == 32 and c.model_type == "bert", f"{c}")
    t = AutoTokenizer.from_pretrained(REPO, cache_dir=cache)
    must(t.tokenize("Hello worlds") == ["hello", "world", "##s"], f"{t.tokenize('Hello worlds')}")


@op("safetensors: open the downloaded file")
def _():
    try:
        from safetensors import safe_open
        import numpy  # noqa: F401
    except ImportError:
        raise Skip("safetensors or numpy is not installed")
    with safe_open(hub.hf_hub_download(REPO, "model.safetensors", cache_dir=tmp()), framework="np") as f:
        must(f.get_slice("w").get_shape() == [16, 4], "shape")


# ------------------------------------------------------------------ the end
@op("the files went the way that was meant")
def _():
    # What sends chunks keeps its log there.
    used = os.path.isdir(os.path.join(HOME, "xet"))
    must(used == (ARGS.transport != "lfs"), "with chunks" if used else "without chunks")


@op("delete_repo", setup=True)
def _():
    if ARGS.keep:
        raise Skip("--keep")
    API.delete_repo(REPO)
    must(API.repo_exists(REPO) is False, "still exists")


shutil.rmtree(HOME, ignore_errors=True)
print(f"{sum(RESULTS)} passed, {len(RESULTS) - sum(RESULTS)} failed")
sys.stdout.flush()
os._exit(0 if all(RESULTS) else 1)
