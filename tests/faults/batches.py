"""Many clips: manifests that cannot be used, results that cannot be written, and what becomes of one bad clip."""

from __future__ import annotations

from support import odd_files as odd
from support.faults import Fault

LIST = "list.csv"
STATUS = ("out", "out/status.jsonl", "out/.digests-status.jsonl")


def refused(name, words, *says, source=LIST, command=None, **more):
    """A manifest that is refused before anything is made."""
    files = {"in.mp4": odd.clip(), source: odd.data(words), **more.pop("files", {})}
    return Fault(f"batch: {name}", command or ("batch", source, "out"), files, says=says, **more)


MANIFESTS = [
    refused("an empty manifest", "", LIST, "no clip"),
    refused("keys alone", "input,steps\n", LIST, "no clip"),
    refused("an unknown key", "input,stepps\nin.mp4,3\n", "list.csv, line 2", "stepps", "Did you mean steps?"),
    refused("an option of stc for restore", "input,own-picture\nin.mp4,yes\n", "line 2", "no option own_picture"),
    refused("a key twice", "input,steps,--Steps\nin.mp4,3,3\n", "line 1", "given twice"),
    refused("no input", "output,steps\nout.mp4,3\n", "line 2", "no input"),
    refused("too many cells", "input,steps\nin.mp4,3,4\n", "line 2", "3 cells", "2 columns"),
    refused("too few cells", "input,steps\nin.mp4\n", "line 2", "1 cells"),
    refused("an open quotation mark", 'input\n"in.mp4\n', "list.csv, line 2", "not a table"),
    refused("another encoding", "input\nin.mp4\n", LIST, "UTF-8", files={LIST: odd.data(b"input\n\xff\xfe\n")}),
    refused("zeros", "input\nin.mp4\n", LIST, files={LIST: odd.data(b"\0" * 64)}),
    refused("a word for a number", "input,steps\nin.mp4,many\n", "line 2", "--steps", "many"),
    refused("a number out of range", "input,steps\nin.mp4,0\n", "line 2", "--steps", "0"),
    refused("a word that is no truth", "input,keep-crop\nin.mp4,perhaps\n", "line 2", "keep_crop", "true or false"),
    refused("an unknown choice", "input,solver\nin.mp4,magic\n", "line 2", "--solver", "magic"),
    refused("an unknown command", "input,command\nin.mp4,train\n", "line 2", "restore or stc", "train"),
    refused("options that exclude each other", "input,faces\nin.mp4,left\n", "line 2", "--faces", "--no-crop"),
    refused("an output elsewhere", "input,output\nin.mp4,../out.mp4\n", "line 2", "folder of results"),
    refused("an absolute output", "input,output\nin.mp4,/tmp/out.mp4\n", "line 2", "folder of results"),
    refused("an output of a kind", "input,output\nin.mp4,out.avi\n", "out.avi", "cannot write .avi", "line 2"),
    refused("two outputs of one name", "input\nin.mp4\nx/in.mp4\n", "line 2", "line 3", "both write in.mp4"),
    refused("names that differ in case", "input,output\nin.mp4,A.mp4\nin.mp4,a.mp4\n", "line 2", "line 3"),
    refused("an output that is an input", "input\nin.mp4\n", "in.mp4", "input itself", command=("batch", LIST, ".")),
    refused("an output among another's frames", "input,output\nin.mp4,x\nin.mp4,x/1.png\n", "line 3"),
    refused("not JSON", "{'input': 1}", "list.jsonl, line 1", "not JSON", source="list.jsonl"),
    refused("a list of JSON", "[1]", "list.jsonl, line 1", "not an object", source="list.jsonl"),
    refused("a list for a number", '{"input": "a", "steps": [1, 2]}', "line 1", "one value", source="list.jsonl"),
    refused("an object for a number", '{"input": "a", "steps": {}}', "line 1", "steps", source="list.jsonl"),
    refused("a truth for a number", '{"input": "a", "steps": true}', "line 1", "steps", source="list.jsonl"),
    refused("a number for a truth", '{"input": "a", "no_crop": 3}', "line 1", "true or false", source="list.jsonl"),
    refused("an unknown kind of list", "in.mp4", "list.txt", ".csv or .jsonl", source="list.txt"),
    refused("a clip", "", "in.mp4", ".csv or .jsonl", "restore", command="batch in.mp4 out"),
]

def folder_with_a_file(path):
    """A folder in which x is a file."""
    path.mkdir()
    (path / "x").write_text("x")


def clips(path):
    """A folder of two clips, one of them bad."""
    path.mkdir()
    odd.clip()(path / "a.mp4")
    odd.empty(path / "b.mp4")



PLACES = [
    Fault("batch: not there", "batch absent out", says=("absent",)),
    Fault("batch: a manifest that is not there", "batch absent.csv out", says=("absent.csv", "no such file")),
    Fault("batch: an empty folder", "batch empty out", {"empty": odd.subfolder}, says=("empty", "no video")),
    Fault("batch: a folder of pictures", "batch frames out", says=("frames", "restore", "manifest")),
    Fault("batch: results among the clips", "batch frames frames", says=("frames", "folder of clips itself")),
    refused("results in a file", "input\nin.mp4\n", "out", files={"out": odd.text}),
    refused("a file in the way of a folder", "input,output\nin.mp4,x/a.mp4\n", "x", files={"out": folder_with_a_file}),
    refused(
        "no weights", "input\nin.mp4\n", "was not found", command="batch list.csv out restore --weights none", code=3
    ),
    refused("part 0", "", "--shard", "3/8", command="batch list.csv out --shard 0/3"),
    refused("part 4 of 3", "", "--shard", command="batch list.csv out --shard 4/3"),
    refused("no part", "", "--shard", command="batch list.csv out --shard two"),
    refused("a cluster without Ray", "", "--address", "--workers ray", command="batch list.csv out --address x:1"),
    refused("no cores", "", "--cores", command="batch list.csv out --cores 0"),
    refused("fewer than no retries", "", "--retries", command="batch list.csv out --retries -1"),
]

WORKS = [
    Fault(
        "batch: a bad clip among good ones",
        "batch list.csv out",
        {
            LIST: odd.data("input,output\nabsent.mp4,\nin.mp4,sub/a.mp4\nbad.mp4,\n"),
            "in.mp4": odd.clip(),
            "bad.mp4": odd.text,
        },
        code=7,
        says=("2 of 3 clip(s) failed", "status.jsonl"),
        prints=("absent.mp4  failed     2", "bad.mp4     failed     2", "1 done, 2 failed"),  # reasons are cut
        writes=(*STATUS, "out/sub", "out/sub/a.mp4"),
    ),
    Fault(
        "batch: a folder with a bad clip",
        "batch clips out",
        {"clips": clips},
        code=7,
        prints=("1 done, 1 failed",),
        writes=(*STATUS, "out/a.mp4"),
    ),
]

ROWS = [*MANIFESTS, *PLACES, *WORKS]
