#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""hone fetch against a Hub of our own on this machine: one that breaks
connections, ignores Range, sends wrong bytes, sends the caller on to another
host, wants a token, and names files that would lie outside of the cache. What
was fetched is found by hone.model and hone.data without any network."""
import hashlib
import http.server
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

BUILD = pathlib.Path(sys.argv[1]).resolve()
SOURCE = pathlib.Path(__file__).resolve().parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BIG = random.Random(1).randbytes(300_000)


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Hub:
    """What it has, how it misbehaves, what it was asked for."""
    files = {}
    lfs = ()
    token = None
    other = None          # a host to be sent on to
    breaks = 0            # answers that end half way
    stalls = 0            # answers that stop half way
    takes_ranges = True
    spoils = 0            # answers with a wrong byte
    fails = 0             # answers of 503
    asked = []            # (path, Range, Authorization)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, code, data, headers=()):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        half = code in (200, 206) and len(data) > 1000 and Hub.breaks > 0
        if half:
            Hub.breaks -= 1
            data = data[:len(data) // 2]
            self.close_connection = True
        elif code in (200, 206) and len(data) > 1000 and Hub.stalls > 0:
            Hub.stalls -= 1
            self.wfile.write(data[:len(data) // 2])
            self.wfile.flush()
            time.sleep(20)
            return
        self.wfile.write(data)

    def list_files(self):
        entries = []
        for path, data in Hub.files.items():
            entry = {"rfilename": path, "size": len(data),
                     "blobId": git_sha1(data)}
            if path in Hub.lfs:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data),
                                "pointerSize": 134}
            entries.append(entry)
        self.send(200, json.dumps({"sha": COMMIT,
                                   "siblings": entries}).encode())

    def send_file(self, path):
        data = Hub.files[path]
        begin = self.headers.get("Range")
        if Hub.fails > 0:
            Hub.fails -= 1
            return self.send(503, b"later")
        if Hub.spoils > 0:
            Hub.spoils -= 1
            data = bytes([data[0] ^ 1]) + data[1:]
        if begin and Hub.takes_ranges:
            at = int(begin[len("bytes="):-1])
            last = len(data) - 1
            return self.send(206, data[at:], [
                ("Content-Range", f"bytes {at}-{last}/{len(data)}")])
        return self.send(200, data)

    def do_GET(self):
        Hub.asked.append((self.path, self.headers.get("Range"),
                          self.headers.get("Authorization")))
        here = self.headers["Host"].split(":")[0]
        if "/other/" in self.path:
            return self.send_file(self.path.split("/other/")[1])
        if Hub.token and self.headers.get("Authorization") != Hub.token:
            return self.send(401, b"who are you?")
        if "/revision/" in self.path:
            return self.list_files() if "/gone" not in self.path \
                else self.send(404, b"{}")
        path = self.path.split(f"/resolve/{COMMIT}/")[1].replace("%20", " ")
        if Hub.other and here != Hub.other:
            port = self.server.server_address[1]
            return self.send(302, b"", [
                ("Location", f"http://{Hub.other}:{port}/other/{path}")])
        return self.send_file(path)


def reset(files, **how):
    Hub.files, Hub.lfs, Hub.asked = files, (), []
    Hub.token = Hub.other = None
    Hub.breaks = Hub.stalls = Hub.spoils = Hub.fails = 0
    Hub.takes_ranges = True
    for name, value in how.items():
        setattr(Hub, name, value)


def hone(home, *words, text=None, **more):
    env = dict(os.environ, HF_HOME=str(home), HF_ENDPOINT=ENDPOINT, **more)
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        if name not in more:
            env.pop(name, None)
    done = subprocess.run([BUILD / "bin/hone", *words], env=env, text=True,
                          input=text, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def expect(what, truth, got=""):
    if not truth:
        sys.exit(f"test_fetch: {what}\n{got}")


def root_of(home, kind="models", name="org--name"):
    return home / "hub" / f"{kind}--{name}"


def expect_laid_out(home, files, lfs, kind="models"):
    root = root_of(home, kind)
    expect("refs/main", (root / "refs/main").read_text() == COMMIT)
    for path, data in files.items():
        etag = sha256(data) if path in lfs else git_sha1(data)
        link = root / "snapshots" / COMMIT / path
        expect(f"{path} is a link", link.is_symlink())
        up = "../" * (path.count("/") + 2)
        expect(f"{path}'s target", os.readlink(link) == f"{up}blobs/{etag}")
        expect(f"{path}'s bytes", link.read_bytes() == data)
        expect(f"{path} left a part",
               not (root / "blobs" / f"{etag}.incomplete").exists())


def test_whole(home):
    files = {"config.json": b"{}", "a/b c.bin": BIG, "empty": b""}
    reset(files, lfs=("a/b c.bin",))
    code, out, err = hone(home, "fetch", "org/name")
    expect("a plain fetch", code == 0, err)
    expect("what it prints", out.strip() ==
           str(root_of(home) / "snapshots" / COMMIT), out)
    expect_laid_out(home, files, Hub.lfs)
    reset(files, lfs=("a/b c.bin",))
    expect("a second fetch", hone(home, "fetch", "org/name")[0] == 0)
    expect("it asks once", len(Hub.asked) == 1, Hub.asked)


def test_breaks(home):
    files = {"w": BIG}
    reset(files, lfs=("w",), breaks=6, fails=2)
    code, _, err = hone(home, "fetch", "org/name")
    expect("broken connections", code == 0, err)
    expect_laid_out(home, files, Hub.lfs)
    ranges = [r for _, r, _ in Hub.asked if r]
    expect("it goes on where it was",
           ranges[-1] != ranges[0] and len(ranges) >= 6, Hub.asked)


def test_stalls(home):
    files = {"w": BIG}
    reset(files, stalls=1)
    code, _, err = hone(home, "fetch", "org/name", HF_HUB_DOWNLOAD_TIMEOUT="1")
    expect("a server that says nothing more", code == 0, err)
    expect("it goes on", Hub.asked[-1][1] == f"bytes={len(BIG) // 2}-")
    expect_laid_out(home, files, ())


def test_no_ranges(home):
    files = {"w": BIG}
    reset(files, breaks=2, takes_ranges=False)
    code, _, err = hone(home, "fetch", "org/name")
    expect("a server without ranges", code == 0, err)
    expect_laid_out(home, files, ())


def test_gives_up(home):
    files = {"w": BIG}
    reset(files, breaks=100, takes_ranges=False)
    code, _, err = hone(home, "fetch", "org/name")
    expect("a server that always breaks", code == 1 and "goes on" in err, err)
    expect("no ref", not (root_of(home) / "refs").exists())
    part = root_of(home) / "blobs" / (git_sha1(BIG) + ".incomplete")
    expect("the part stays", 0 < part.stat().st_size < len(BIG))
    reset(files)
    expect("the same command", hone(home, "fetch", "org/name")[0] == 0)
    expect("goes on", Hub.asked[-1][1] == f"bytes={len(BIG) // 2}-",
           Hub.asked)
    expect_laid_out(home, files, ())


def test_wrong_bytes(home):
    files = {"w": BIG}
    for lfs in ((), ("w",)):
        reset(files, lfs=lfs, spoils=1)
        code, _, err = hone(home, "fetch", "org/name")
        expect("wrong bytes once", code == 0, err)
        reset({"v": BIG[1:]}, lfs=("v",) if lfs else (), spoils=2)
        code, _, err = hone(home, "fetch", "org/name")
        name = "SHA-256" if lfs else "git's SHA-1"
        expect("wrong bytes twice", code == 1 and name in err, err)
        expect("nothing of them", not list(
            (root_of(home) / "snapshots" / COMMIT).glob("v")))


def test_part_of_another(home):
    """What lies there from before is no beginning of the file."""
    blobs = root_of(home) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / (git_sha1(BIG) + ".incomplete")).write_bytes(b"x" * 1000)
    reset({"w": BIG})
    code, _, err = hone(home, "fetch", "org/name")
    expect("a part that is not its own", code == 0, err)
    expect_laid_out(home, Hub.files, ())


def test_token(home):
    reset({"w": BIG}, token="Bearer secret", other="localhost")
    code, _, err = hone(home, "fetch", "org/name")
    expect("no token", code == 2 and "HF_TOKEN" in err, err)
    code, _, err = hone(home, "fetch", "org/name", HF_TOKEN="secret")
    expect("with a token", code == 0, err)
    expect("another host does not get it", all(
        auth is None for path, _, auth in Hub.asked if "/other/" in path))
    expect("it was sent on", any("/other/" in a[0] for a in Hub.asked))


def test_choice(home):
    files = {"config.json": b"{}", "w.bin": b"1", "w.safetensors": b"2"}
    reset(files)
    hone(home, "fetch", "org/name", "--include", "*.json", "--include",
         "*.safetensors", "--revision", "refs/pr/1")
    folder = root_of(home) / "snapshots" / COMMIT
    expect("only what was asked for", sorted(
        p.name for p in folder.iterdir()) == ["config.json", "w.safetensors"])
    expect("the ref", (root_of(home) / "refs/refs/pr/1").read_text() == COMMIT)
    code, _, err = hone(home, "fetch", "org/name", "--include", "nothing")
    expect("nothing asked for", code == 2, err)


def test_hostile(home):
    for path in ("../../x", "/etc/x", "a//b", "a/../../b", "a/./b", "", "..",
                 "a\\b", "a\nb"):
        reset({path: b"x"})
        code, _, err = hone(home, "fetch", "org/name")
        expect(f"{path!r} is refused", code == 2 and "outside" in err, err)
    expect("nothing was written", not list(home.rglob("*x*")))
    for words in (["org"], ["../x/y"], ["org/..", ], ["org/name", "--revision",
                                                     "../../x"], []):
        reset({"w": b"x"})
        expect(f"{words}", hone(home, "fetch", *words)[0] == 2)
        expect("asks nobody", not Hub.asked)
    reset({"w": b"x"})
    expect("not there", hone(home, "fetch", "org/gone")[0] == 2)
    expect("offline", hone(home, "fetch", "org/name",
                           HF_HUB_OFFLINE="1")[0] == 2)


def test_used(home):
    """hone.model and hone.data find it; nothing is asked for."""
    tiny = SOURCE / "datasets/tiny"
    reset({p.name: p.read_bytes() for p in tiny.iterdir()})
    expect("the model", hone(home, "fetch", "org/tiny")[0] == 0)
    row = b'{"instruction": "a", "output": "b"}\n'
    reset({"data/train-0.jsonl": row * 3, "data/test-0.jsonl": row * 5,
           "README.md": b"x"})
    expect("the data", hone(home, "fetch", "datasets/org/rows")[0] == 0)
    reset({})
    recipe = home / "r.lua"
    recipe.write_text("""local hone = require "hone"
return hone.train {
  model = hone.model { "org/tiny", revision = "main" },
  data = hone.data.alpaca "org/rows",
  batch = hone.pack {}, optimizer = hone.adamw {},
  global_batch = 4, steps = 3,
}
""")
    code, out, err = hone(home, "check", recipe)
    expect("check", code == 0 and "3 rows" in out, out + err)
    code, out, err = hone(home, "prep", recipe, "--json", "--set",
                          "data.path=org/rows/data/test-*",
                          HONE_CACHE=str(home / "cache"))
    expect("a pattern in it", code == 0 and
           json.loads(out)["train"]["rows"] == 5, out + err)
    for key, word in (("model.revision=v2", "fetch org/tiny --revision v2"),
                      ("model.path=org/none", "hone fetch org/none"),
                      ("data.path=org/none", "hone fetch datasets/ORG/NAME")):
        code, out, err = hone(home, "check", recipe, "--set", key)
        expect(key, code == 2 and word in err, err)
    code, out, err = hone(home, "tokenize", "org/tiny", text="a\n")
    expect("tokenize", code == 0 and out.startswith("["), err)
    code, out, err = hone(home, "generate", "org/tiny", "--prompt", "a",
                          "--max-tokens", "1")
    expect("generate", code == 0, err)
    code, out, err = hone(home, "export", "org/tiny", "--to", "merged", "--out",
                          home / "x")
    expect("export", code == 0 and (home / "x/config.json").read_bytes() ==
           (tiny / "config.json").read_bytes(), err)
    expect("nobody was asked", not Hub.asked)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
ENDPOINT = f"http://127.0.0.1:{server.server_address[1]}"
threading.Thread(target=server.serve_forever, daemon=True).start()
for test in [f for n, f in sorted(globals().items()) if n.startswith("test_")]:
    with tempfile.TemporaryDirectory() as folder:
        test(pathlib.Path(folder))
        print("ok", test.__name__)
