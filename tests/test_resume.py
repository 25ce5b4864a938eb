#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs that are interrupted, and what may change before they go on: SIGINT and
SIGTERM save and leave with 130, and the same command ends like a run that
nobody touched; options that decide what is learnt are named when they have
changed, others may; a disk that is full; finished runs, folders in use,
--fresh; hone eval of what was trained; budgets; and how hone answers to words
it does not know."""
import fcntl
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

import test_kill
import tiny_run

HONE = pathlib.Path(sys.argv[1], "bin/hone").resolve()
STEPS = 36 if os.environ.get("HONE_TEST_DRAWS") == "few" else 60
SETS = ("--set", f"steps={STEPS}", "--set", f"save.every={STEPS // 3}",
        "--set", "eval.every=0")


def hone(folder, *arguments, largest=None):
    """Exit status, stdout and stderr; with LARGEST no file may be larger."""
    def limit():
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    done = subprocess.run([HONE, *arguments], preexec_fn=limit,
                          cwd=folder, env=test_kill.environment(folder),
                          text=True, errors="replace", capture_output=True)
    return done.returncode, done.stdout, done.stderr


def says(folder, status, text, *arguments, **limits):
    got, out, err = hone(folder, *arguments, **limits)
    assert got == status and text in out + err, (arguments, got, out, err)
    return out


def interrupt(folder, recipe, out, number):
    """Starts a run and sends it a signal when it is well on its way."""
    enough = test_kill.records(folder / out) + 5
    run = subprocess.Popen([HONE, "run", recipe, *SETS, "--out", out],
                           cwd=folder, env=test_kill.environment(folder),
                           text=True, stderr=subprocess.PIPE)
    while run.poll() is None and test_kill.records(folder / out) < enough:
        time.sleep(0.001)
    run.send_signal(number)
    text = run.communicate()[1]
    assert run.returncode == 130, (run.returncode, text)
    assert "interrupted after step" in text, text


def check_watchers(folder):
    """Who watches a run may leave: a pipe that nobody reads, standard files
    that are closed, a terminal that is gone (after nohup it goes on)."""
    short = "run", "full.lua", "--set", "steps=3", "--out"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([HONE, *short, "pipe"], cwd=folder, stderr=write,
                          env=test_kill.environment(folder))
    os.close(write)
    assert done.returncode == 0, done.returncode
    says(folder, 0, "is a finished run", *short, "pipe")
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", HONE, *short,
                           "closed"], cwd=folder,
                          env=test_kill.environment(folder))
    assert done.returncode == 0, done.returncode
    interrupt(folder, "full.lua", "hangup", signal.SIGHUP)
    says(folder, 0, "going on after", "run", "full.lua", *SETS, "--out",
         "hangup")
    run = subprocess.Popen(["nohup", HONE, "run", "full.lua", *SETS, "--out",
                            "nohup"], cwd=folder, stderr=subprocess.DEVNULL,
                           env=test_kill.environment(folder))
    while run.poll() is None and test_kill.records(folder / "nohup") < 5:
        time.sleep(0.001)
    run.send_signal(signal.SIGHUP)
    assert run.wait() == 0, run.returncode


def check_stdout(folder):
    """Results that cannot be written are a failure."""
    for verb in (("plan", "full.lua"), ("prep", "full.lua", "--json"),
                 ("eval", "full.lua", "--json"), ("describe", "adamw"),
                 ("--help",)):
        for how in ">/dev/full", ">&-":
            done = subprocess.run(["sh", "-c", '"$@" ' + how, "sh", HONE,
                                   *verb], cwd=folder, text=True,
                                  stderr=subprocess.PIPE,
                                  env=test_kill.environment(folder))
            assert done.returncode == 1, (verb, how, done)
            assert "standard output cannot be written" in done.stderr, done


def check_narrow(folder):
    """The live line is one line, however narrow the terminal is."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 20, 0, 0))
    run = subprocess.Popen([HONE, "run", "full.lua", "--set", "steps=30",
                            "--set", "eval.every=0", "--out", "narrow"],
                           cwd=folder, stderr=theirs,
                           env=test_kill.environment(folder))
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 4096):
            text += piece
    except OSError:  # the other end is closed
        pass
    assert run.wait() == 0, text
    live = [t.split(b"\r")[0] for t in text.split(b"\033[K")[1:]]
    assert live and all(len(t) < 20 for t in live), live


def check_out(folder):
    """What is no run's folder is not set aside for one."""
    run = "run", "full.lua", "--set", "steps=1", "--out"
    (folder / "a file").write_text("mine")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "mine").mkdir()
    (folder / "mine/notes").write_text("mine")
    for out in "a file", "dangling":
        says(folder, 2, "is there and no folder", *run, out)
        says(folder, 2, "is there and no folder", *run, out, "--fresh")
    for out in "mine", ".", "model":
        says(folder, 2, "holds files that are of no run", *run, out)
        says(folder, 2, "holds files that are of no run", *run, out, "--fresh")
    assert (folder / "a file").read_text() == "mine"
    assert (folder / "mine/notes").read_text() == "mine"
    (folder / "mine/run.json").write_text("{")
    says(folder, 2, "; --fresh starts over", *run, "mine")
    says(folder, 0, "is now", *run, "mine", "--fresh")
    latin = os.fsencode(folder) + b"/caf\xe9.lua"
    with open(latin, "wb") as copy:
        copy.write((folder / "full.lua").read_bytes())
    says(folder, 2, "this name is not UTF-8", "run", latin, "--out", "latin")
    assert not (folder / "latin").exists()
    (folder / "empty").mkdir()
    (folder / "empty/run.json.part").write_text("{")
    (folder / "empty/lost+found").mkdir() # of a file system of its own
    before = (folder / "empty").stat().st_ino
    says(folder, 0, "saved", *run, "empty")
    assert (folder / "empty").stat().st_ino == before


def check_signals(folder):
    (folder / "dora.lua").write_text((folder / "lora.lua").read_text().replace(
        "r = 4", "r = 4, dora = true, lr_ratio = 4"))
    for recipe, number in (("full.lua", signal.SIGINT),
                           ("lora.lua", signal.SIGTERM),
                           ("dora.lua", signal.SIGTERM)):
        says(folder, 0, "saved", "run", recipe, *SETS, "--out", "whole")
        interrupt(folder, recipe, "part", number)
        assert test_kill.records(folder / "part") < STEPS
        interrupt(folder, recipe, "part", number)
        says(folder, 0, "going on after", "run", recipe, *SETS, "--out",
             "part")
        whole, part = folder / "whole", folder / "part"
        assert test_kill.metrics(part) == test_kill.metrics(whole)
        assert test_kill.results(part) == test_kill.results(whole)
        whole.rename(folder / f"{recipe}.whole")
        part.rename(folder / f"{recipe}.part")


def check_changes(folder):
    """From here on each run is asked to go on with something changed."""
    run = "run", "full.lua", *SETS, "--out", "out"
    interrupt(folder, "full.lua", "out", signal.SIGINT)
    says(folder, 2, "full.lua:5: 'optimizer.lr' is 0.02 and was 0.01 when ",
         *run, "--set", "optimizer.lr=0.02")
    says(folder, 2, "'seed' is 3 and was 0", *run, "--set", "seed=3")
    says(folder, 2, "--fresh", *run, "--set", "optimizer.lr=0.02", "--set",
         "clip=2")
    rows = (folder / "rows.jsonl").read_text()
    (folder / "rows.jsonl").write_text(rows + json.dumps(tiny_run.row(99)))
    says(folder, 2, "'data' is not what it was when ", *run)
    (folder / "rows.jsonl").write_text(rows)
    (folder / "model/config.json").write_text(
        (folder / "model/config.json").read_text().replace("1e-05", "1e-06"))
    says(folder, 2, "'model.path' is not what it was", *run)
    (folder / "model/config.json").write_text(
        (folder / "model/config.json").read_text().replace("1e-06", "1e-05"))
    # How rows lie in memory, and when it saves: as one likes.
    says(folder, 0, "going on after", *run, "--set", "batch.rows=3", "--set",
         "save.every=50", "--set", "save.keep=1")
    assert len(list((folder / "out/checkpoints").iterdir())) == 1
    done = "is a finished run; --fresh starts over"
    says(folder, 0, done, *run)
    assert "not what ran" not in hone(folder, *run)[2]
    changed = *run, "--set", "optimizer.lr=0.02"
    says(folder, 0, done, *changed)
    says(folder, 0, "full.lua:5: 'optimizer.lr' is 0.02 and was 0.01 when ",
         *changed)
    says(folder, 0, "is now", *run, "--fresh")
    assert (folder / "out.1/model").is_dir() and (folder / "out").is_dir()


def check_full_disk(folder):
    """What cannot be saved is said, and what was saved before is whole."""
    run = "run", "full.lua", *SETS, "--out", "disk"
    says(folder, 1, "no checkpoint was there before", *run, largest=1 << 16)
    interrupt(folder, "full.lua", "disk", signal.SIGTERM)
    there = sorted((folder / "disk/checkpoints").iterdir())
    step = int(there[-1].name[len("step-"):])
    says(folder, 1, f"the checkpoint of step {step} is whole: "
         "the same command goes on from there", *run, largest=1 << 16)
    assert there == sorted((folder / "disk/checkpoints").iterdir())
    says(folder, 0, "going on after", *run)
    whole = folder / "full.lua.whole"
    assert test_kill.metrics(folder / "disk") == test_kill.metrics(whole)
    assert test_kill.results(folder / "disk") == test_kill.results(whole)


def check_no_room(folder):
    """Where the state to go on from has no room, what was learnt may have; and
    where a line of metrics has none: it comes when there is."""
    run = "run", "full.lua", *SETS, "--set", "save.every=0", "--out", "room"
    model = folder / "full.lua.whole/model/model.safetensors"
    says(folder, 1, "no checkpoint was there before", *run,
         largest=model.stat().st_size + 4096)
    assert test_kill.results(folder / "room/model") == \
        test_kill.results(folder / "full.lua.whole/model")
    interrupt(folder, "lora.lua", "taken", signal.SIGTERM)
    shutil.rmtree(folder / "taken/adapter")
    (folder / "taken/adapter").write_text("a file")
    run = "run", "lora.lua", *SETS, "--out", "taken"
    says(folder, 1, "is saved: the same command goes on", *run)
    (folder / "taken/adapter").unlink()
    says(folder, 0, f"going on after step {STEPS}", *run)
    assert test_kill.results(folder / "taken") == \
        test_kill.results(folder / "lora.lua.whole")
    run = ("run", "lora.lua", "--set", "steps=130", "--set", "eval.every=0",
           "--set", "adapter.r=1", "--set", "adapter.targets=q_proj",
           "--set", "save.every=0", "--out")
    says(folder, 0, "saved", *run, "lines")
    whole = folder / "lines/metrics.jsonl"
    says(folder, 1, "is saved: the same command goes on", *run, "line",
         largest=whole.stat().st_size // 2)
    state, = (folder / "line/checkpoints").glob("*/state.safetensors")
    assert state.stat().st_size < whole.stat().st_size // 2
    says(folder, 0, "going on after", *run, "line")
    assert test_kill.metrics(folder / "line") == \
        test_kill.metrics(folder / "lines")
    assert test_kill.results(folder / "line/adapter") == \
        test_kill.results(folder / "lines/adapter")


def check_deleted(folder):
    """A folder that somebody takes away from under a run."""
    def disturb(out, how):
        run = subprocess.Popen([HONE, "run", "full.lua", *SETS, "--out", out],
                               cwd=folder, env=test_kill.environment(folder),
                               text=True, stderr=subprocess.PIPE)
        while run.poll() is None and test_kill.records(out) < 5:
            time.sleep(0.001)
        run.send_signal(signal.SIGSTOP)
        how(out)
        run.send_signal(signal.SIGCONT)
        text = run.communicate()[1]
        assert run.returncode == 1 and "was deleted, moved or emp" in text, text
        return text

    def empty(out):
        for name in out.iterdir():
            shutil.rmtree(name) if name.is_dir() else name.unlink()

    def replace(out):
        out.rename(folder / "elsewhere")
        out.mkdir()
        (out / "mine").write_text("mine")

    for how in shutil.rmtree, empty:
        out = folder / f"without-{how.__name__}"
        assert "is saved: the same command" in disturb(out, how)
        says(folder, 0, "going on after", "run", "full.lua", *SETS, "--out",
             out)
        assert test_kill.results(out) == \
            test_kill.results(folder / "full.lua.whole")
    assert "is another folder by now" in disturb(folder / "replaced", replace)
    assert os.listdir(folder / "replaced") == ["mine"]


def check_folder_in_use(folder):
    command = [HONE, "run", "full.lua",
               "--out", "busy", "--set", "steps=100000"]
    first = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL,
                             env=test_kill.environment(folder))
    while first.poll() is None and not test_kill.records(folder / "busy"):
        time.sleep(0.001)
    says(folder, 1, "another hone trains into it", *command[1:])
    first.kill()
    first.wait()


def check_finished_meanwhile(folder):
    """A run that waits for its data while another one ends the same run."""
    out = folder / "meanwhile"
    cache = folder / "meanwhile-cache"
    sets = ("run", "lora.lua", *SETS, "--set", "steps=3", "--out", out)
    environment = {**test_kill.environment(folder), "HONE_CACHE": str(cache)}
    subprocess.run([HONE, *sets], cwd=folder, env=environment, check=True,
                   capture_output=True)
    done = (out / "run.json").read_text()
    assert '"finished"' in done
    (out / "run.json").write_text(done.replace('"finished"', '"training"'))
    data, = (cache / "data").iterdir()
    for shard in data.glob("*.shard"):
        shard.unlink()
    with open(data / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = subprocess.Popen([HONE, *sets], cwd=folder, env=environment,
                               text=True, stderr=subprocess.PIPE)
        text = ""
        while "waiting for it" not in text:
            line = run.stderr.readline()
            assert line, text
            text += line
        (out / "run.json").write_text(done)
    text += run.communicate()[1]
    assert run.returncode == 2 and "finished this run meanwhile" in text, text
    assert not (folder / "meanwhile.1").exists()


def check_eval(folder):
    def loss(recipe, *arguments):
        out = says(folder, 0, "", "eval", recipe, "--json", *arguments)
        return json.loads(out)["loss"]

    for recipe in "full.lua", "lora.lua":
        run = folder / f"{recipe}.whole"
        losses = [m["eval_loss"] for m in test_kill.metrics(run)
                  if "eval_loss" in m]
        assert abs(loss(recipe) - losses[0]) < 1e-6, (recipe, losses)
        assert abs(loss(recipe, "--run", run) - losses[-1]) < 1e-5, losses
    (folder / "lora.lua.whole").rename(folder / "moved")
    (folder / "model").rename(folder / "model.there")
    says(folder, 2, "is not there any more; name it", "export", "moved",
         "--to", "merged", "--out", "merged")
    (folder / "model.there").rename(folder / "model")
    (folder / "moved").rename(folder / "lora.lua.whole")
    adapter = folder / "lora.lua.whole/adapter"
    assert abs(loss("lora.lua", "--adapter", adapter) - losses[-1]) < 1e-5
    assert abs(loss("full.lua", "--adapter", adapter) - losses[-1]) < 1e-5
    says(folder, 2, "--adapter and --run: give one", "eval", "lora.lua",
         "--adapter", adapter, "--run", run)
    says(folder, 0, "held-out loss ", "eval", "full.lua")
    says(folder, 2, "no held-out rows; give val", "eval", "full.lua", *SETS,
         "--set", "data.val=0")
    says(folder, 2, "is the run finished?", "eval", "full.lua", "--run", "busy")


def check_export(folder):
    """Of runs from random first values: a whole model is one, an adapter has
    nothing that it could be merged with, not even weights that came later."""
    def export(run, to="merged"):
        return "export", run, "--to", to, "--out", folder / "exported"

    weights = folder / "full.lua.whole/model/model.safetensors"
    says(folder, 0, "written", *export("full.lua.whole"))
    exported = folder / "exported/model.safetensors"
    assert exported.read_bytes() == weights.read_bytes()
    shutil.rmtree(folder / "exported")
    for later in None, folder / "model/model.safetensors":
        if later:
            shutil.copy(weights, later)
        for to in "merged", "peft", "nf4":
            says(folder, 2, "lora.lua.whole: its adapter was trained on random "
                 "first values", *export("lora.lua.whole", to))
            assert not (folder / "exported").exists()
    later.unlink()
    recipe = (folder / "lora.lua").read_text()
    (folder / "cure.lua").write_text(recipe.replace(
        '"model", init = "random"', '"full.lua.whole/model"'))
    says(folder, 0, "", "run", "cure.lua", "--out", "cure")
    says(folder, 0, "written", *export("cure"))
    assert exported.stat().st_size == weights.stat().st_size
    assert exported.read_bytes() != weights.read_bytes()


def check_refusals(folder):
    run = "run", "full.lua", "--out", "none", "--set"
    says(folder, 3, "the recipe allows", *run, "memory=1MiB")
    says(folder, 2, "rows.jsonl: no row to train on; 40 were read", *run,
         "data.max_tokens=4")
    assert not (folder / "none").exists()


def check_words(folder):
    says(folder, 2, "usage: hone VERB")
    says(folder, 0, "hone kernels", "--help")
    says(folder, 0, "hone 0.", "--version")
    says(folder, 2, "no verb 'rum', did you mean 'run'?", "rum", "x.lua")
    says(folder, 2, "--set needs a value", "run", "full.lua", "--set")
    says(folder, 2, "'more': one argument too many", "run", "full.lua", "more")
    for verb in "run", "plan", "eval", "prep", "check", "generate", "export":
        usage = says(folder, 0, f"usage: hone {verb} ", verb, "--help")
        says(folder, 2, usage.splitlines()[0] + "\n", verb)
    says(folder, 2, "--plugin-dir needs a folder", "--plugin-dir")
    says(folder, 2, "--plugin-dir needs a folder", "plugins", "--plugin-dir")
    says(folder, 2, "no kernel for an op 'soup'", "kernels", "check", "cpu",
         "soup")
    generate = "generate", "model", "--prompt", "x"
    for verb, option, values, kind, least, most in (
            (("plan", "full.lua"), "--price", ("abc", "-1", "nan", "", "inf"),
             "", 0, 10**9),
            (generate, "--temperature", ("-0.1", "inf", "1x"), "", 0, 10**6),
            (generate, "--max-tokens", ("1e30", "0", "1.5"), "whole ", 1,
             10**9),
            (generate, "--seed", ("-1", "0.5"), "whole ", 0, 10**15),
            (("prep", "full.lua"), "--show", ("-1", "all"), "whole ", 0,
             10**15),
            (("prep", "full.lua"), "--workers", ("0", "257", "2x"), "whole ",
             1, 256),
            (("tokenize", "model"), "--threads", ("0", "2.5", "257"), "whole ",
             1, 256),
            (("kernels", "check", "cpu"), "--shapes", ("0", "3x"), "whole ", 1,
             10**6)):
        for value in values:
            says(folder, 2, f"{option}: '{value}' is not a {kind}number from "
                 f"{least} to {most}\n", *verb, option, value)
    says(folder, 2, "'global_batch' is 1000000000000, must be",
         "plan", "full.lua", "--set", "global_batch=1e12")
    says(folder, 2, "'global_tokens' is 1000000000000, must be",
         "plan", "full.lua", "--set", "global_tokens=1e12")
    says(folder, 2, "--frash", "run", "full.lua", "--frash")


def main(folder):
    tiny_run.main(folder)
    check_signals(folder)
    check_watchers(folder)
    check_stdout(folder)
    check_narrow(folder)
    check_out(folder)
    check_changes(folder)
    check_full_disk(folder)
    check_no_room(folder)
    check_deleted(folder)
    check_folder_in_use(folder)
    check_finished_meanwhile(folder)
    check_eval(folder)
    check_export(folder)
    check_refusals(folder)
    check_words(folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hone-resume-") as temporary:
        main(pathlib.Path(temporary) / "tiny")
