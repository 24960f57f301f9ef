"""The client against a bucket, a folder and a network that mean it no good: nothing outside, nothing half, no lie."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import sluice.pull as client
from sluice.pull import PullError, pull
from sluice.release.signing import SigningKey, signing_key

FILES = {f"v1/dicom/P/1/2/{number}.dcm": random.Random(number).randbytes(4000) for number in range(12)}
KILLS = 6


@dataclass
class Server:
    """A project's folder as a web server gives it, with ranges; `before` is called with each path that is asked for.

    Attributes:
        cut: bytes after which each answer of an object breaks off; 0 for none.
    """

    key: SigningKey
    files: dict[str, bytes] = field(default_factory=dict)
    before: Callable[[str], None] = lambda path: None
    cut: int = 0
    port: int = 0

    def release(
        self, objects: dict[str, bytes], extra: list[str] | None = None, /, project: str = "lungs", **said: Any
    ) -> None:
        """Version 1, signed; `extra` are further lines of its list."""
        sums = [f"{hashlib.sha256(body).hexdigest()}  {name}" for name, body in objects.items()] + (extra or [])
        listed = "".join(f"{line}\n" for line in sums).encode()
        own = {"name": "SHA256SUMS", "bytes": len(listed), "sha256": hashlib.sha256(listed).hexdigest()}
        of_dicom = {"objects": len(objects), "bytes": sum(map(len, objects.values()))}
        manifest = {
            "format": "sluice-release/2",
            "project": project,
            "version": 1,
            "revision": 1,
            "removed": [],
            "objects": {"dicom": of_dicom},
            "files": [],
            "sums": own,
            "signed_by": {"key_id": self.key.key_id},
        }
        body = json.dumps(manifest | said).encode()
        place = f"{project}/v1/"
        self.files |= {f"{project}/{name}": data for name, data in objects.items()}
        self.files |= {place + str((said.get("sums") or own)["name"]): listed}
        self.files |= {place + "manifest.json": body, place + "manifest.json.sig": self.key.sign(body)}
        self.files[f"{project}/keys/{self.key.key_id}.pem"] = self.key.public_pem

    def address(self, project: str = "lungs") -> str:
        return f"http://127.0.0.1:{self.port}/{project}/v1/"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "ATTEMPTS", 2)
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    served = Server(signing_key(tmp_path / "keys"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            served.before(path)
            body = served.files.get(path)
            if body is None:
                self.send_error(404)
                return
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            part = body[start : start + served.cut] if served.cut and path.endswith(".dcm") else body[start:]
            self.wfile.write(part)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        served.port = web.server_port
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield served
        web.shutdown()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "v1/../../x",
        "v1/a\0b",
        "v1/" + "a" * 300,
        "v1/" + "a/" * 500 + "a",
        "v1//a",
        "v1/./a",
        "v1/.sluice",
        "v1/a\\b",
        "v1/a.",
        "v1/con\u0130",
        "v1/dicom/P/1/2/0.DCM",
        "v1/dicom/P/1/2/0.dcm/x",
        "v1/manifest.json",
        "v1/SHA256SUMS",
    ],
)
def test_a_path_that_no_file_here_may_have_stops_all(server: Server, tmp_path: Path, path: str) -> None:
    server.release(FILES, [f"{'0' * 64}  {path}"])
    with pytest.raises(PullError, match=r"names no file of this project|cannot both be files"):
        pull(server.address(), tmp_path / "copy")
    assert set(tree(tmp_path / "copy")) <= {".sluice-pull/key.pem", ".sluice-pull/project", ".sluice-pull/lock"}
    assert set(tree(tmp_path)) == {f"copy/{name}" for name in tree(tmp_path / "copy")} | {"keys/release-signing.pem"}


@pytest.mark.parametrize(
    "said",
    [
        {"sums": {"name": "../../x", "bytes": 5, "sha256": ""}},
        {"sums": {"name": "SHA256SUMS"}},
        {"removed": 7},
        {"objects": {"dicom": 3}},
        {"revision": "x"},
        {"files": [{}]},
    ],
)
def test_a_signed_manifest_of_another_form_is_refused_in_words(
    server: Server, tmp_path: Path, said: dict[str, Any]
) -> None:
    server.release(FILES, **said)
    with pytest.raises(PullError, match="does not say what it should"):
        pull(server.address(), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("link", ["v1", "v1/dicom", "v1/dicom/P/1/2", ".sluice-pull"])
def test_a_folder_that_is_a_link_is_not_followed(server: Server, tmp_path: Path, link: str) -> None:
    server.release(FILES)
    outside, folder = tmp_path / "outside", tmp_path / "copy"
    pull(server.address(), folder)
    for name in ("1.dcm", "key.pem", "lock"):
        outside.mkdir(exist_ok=True)
        (outside / name).write_bytes(b"theirs")
    (folder / link).rename(tmp_path / "aside")
    (folder / link).symlink_to(outside, target_is_directory=True)
    before = tree(outside)
    with pytest.raises(PullError, match=r"is a link|is not empty"):
        pull(server.address(), folder)
    server.release({}, revision=2, removed=sorted(FILES))  # nor is anything deleted there
    with pytest.raises(PullError, match=r"is a link|is not empty"):
        pull(server.address(), folder)
    assert tree(outside) == before


@pytest.mark.parametrize(
    "name",
    ["v1/dicom/P/1/2/0.dcm", "v1/dicom/P/1/2/.0.dcm.part", "v1/.manifest.json.part", ".sluice-pull/.key.pem.part"],
)
def test_a_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(
    server: Server, tmp_path: Path, name: str
) -> None:
    server.release(FILES)
    outside, folder = tmp_path / "theirs", tmp_path / "copy"
    outside.write_bytes(b"theirs")
    (folder / name).parent.mkdir(parents=True)
    (folder / ".sluice-pull").mkdir(exist_ok=True)
    (folder / ".sluice-pull" / "project").write_text("lungs\n")
    (folder / name).symlink_to(outside)
    assert pull(server.address(), folder).failed == {}
    assert outside.read_bytes() == b"theirs"
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("name", [".sluice-pull/lock", ".sluice-pull/verified", ".sluice-pull/withdrawn.txt"])
def test_our_own_notes_are_never_written_through_a_link(server: Server, tmp_path: Path, name: str) -> None:
    server.release(FILES)
    outside, folder = tmp_path / "theirs", tmp_path / "copy"
    pull(server.address(), folder)
    outside.write_bytes(b"theirs")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    (folder / "v1/dicom/P/1/2/3.dcm").unlink()
    server.release(dict(sorted(FILES.items())[1:]), revision=2, removed=sorted(FILES)[:1])
    with pytest.raises(PullError, match="is a link"):
        pull(server.address(), folder)
    assert outside.read_bytes() == b"theirs"


def test_what_stands_in_the_way_is_said(server: Server, tmp_path: Path) -> None:
    server.release(FILES)
    folder = tmp_path / "copy"
    pull(server.address(), folder)
    for path in sorted((folder / "v1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "v1").rmdir()
    (folder / "v1").write_text("a file")
    with pytest.raises(PullError, match=r"cannot be used \((Not a directory|File exists)\)"):
        pull(server.address(), folder)


def test_more_bytes_than_were_signed_are_not_read_to_their_end(server: Server, tmp_path: Path) -> None:
    server.release(FILES)
    name = sorted(FILES)[0]
    server.files[f"lungs/{name}"] = bytes(3_000_000)
    done = pull(server.address(), tmp_path / "copy")
    assert done.failed == {name: "it is larger than anything that the hospital signed"}
    assert not list((tmp_path / "copy").rglob("*.part"))
    assert not (tmp_path / "copy/v1/manifest.json").exists()  # all of v1 is not there
    server.files[f"lungs/{name}"] = FILES[name]
    assert pull(server.address(), tmp_path / "copy").fetched == 1
    assert (tmp_path / "copy/v1/manifest.json").exists()


def test_a_proxy_that_cuts_every_answer_costs_time_only(server: Server, tmp_path: Path) -> None:
    server.release(FILES)
    server.cut = 450  # nine cuts of each file, and two attempts without any progress
    assert pull(server.address(), tmp_path / "copy").fetched == len(FILES)


def test_a_recall_while_it_is_fetched(server: Server, tmp_path: Path) -> None:
    server.release(FILES)
    gone, *rest = sorted(FILES, reverse=True)

    def recall(path: str) -> None:
        if path.endswith(".dcm") and f"lungs/{gone}" in server.files:
            server.release({name: FILES[name] for name in rest}, revision=2, removed=[gone])
            server.files.pop(f"lungs/{gone}")

    server.before = recall
    said: list[str] = []
    done = pull(server.address(), tmp_path / "copy", jobs=1, say=said.append)
    assert done.failed == {}
    assert any("changed v1 meanwhile" in line for line in said)
    assert json.loads((tmp_path / "copy/v1/manifest.json").read_bytes())["revision"] == 2
    assert not (tmp_path / "copy" / gone).exists()


def test_two_projects_that_begin_in_one_folder_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.release(FILES)
    server.release({name.replace("P", "Q"): body for name, body in FILES.items()}, project="knees")
    folder, real = tmp_path / "copy", client._Release._manifest

    def meanwhile(release: Any, *given: Any) -> Any:
        signed = real(release, *given)
        if release.project == "lungs":
            pull(server.address("knees"), folder)
        return signed

    monkeypatch.setattr(client._Release, "_manifest", meanwhile)
    with pytest.raises(PullError, match="holds the project knees"):
        pull(server.address(), folder)
    assert not [name for name in tree(folder) if "/P/" in name]


def test_a_withdrawal_holds_even_where_the_rest_cannot_be_had(server: Server, tmp_path: Path) -> None:
    server.release(FILES)
    pull(server.address(), tmp_path / "copy")
    older = dict(server.files)
    gone, damaged, *_ = sorted(FILES)
    rest = {name: body for name, body in FILES.items() if name != gone}
    server.release(rest, revision=2, removed=[gone])
    (tmp_path / "copy" / damaged).unlink()
    server.files[f"lungs/{damaged}"] = b"damaged"
    assert set(pull(server.address(), tmp_path / "copy").failed) == {damaged}
    server.files = older
    with pytest.raises(PullError, match="older manifest of v1"):
        pull(server.address(), tmp_path / "copy")
    assert not (tmp_path / "copy" / gone).exists()


def _pull(address: str, folder: str, ready: Any) -> None:
    ready.set()
    pull(address, Path(folder), jobs=2)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again(server: Server, tmp_path: Path, seed: int) -> None:
    """After each SIGKILL no name stands for half a file, and the manifest for no half version."""
    server.release(FILES)
    server.cut = 700
    folder, chance, killed = tmp_path / "copy", random.Random(seed), 0
    wait = threading.Event()
    context = multiprocessing.get_context("fork")
    for attempt in range(KILLS + 1):
        asked, limit, reached = [0], chance.randrange(1, 60), threading.Event()

        def count(path: str, asked: list[int] = asked, limit: int = limit, reached: Any = reached) -> None:
            asked[0] += 1
            if asked[0] >= limit:
                reached.set()
                wait.wait(0.05)

        server.before = count if attempt < KILLS else lambda path: None
        ready = context.Event()
        worker = context.Process(target=_pull, args=(server.address(), str(folder), ready))
        worker.start()
        assert ready.wait(60)
        if attempt < KILLS:
            while worker.is_alive() and not reached.wait(0.01):
                pass
            worker.kill()
        worker.join(60)
        killed += worker.exitcode == -9
        for name in FILES:
            path = folder / name
            assert not path.exists() or path.read_bytes() == FILES[name]
        whole = all((folder / name).exists() for name in FILES)
        assert whole or not (folder / "v1/manifest.json").exists()
    assert worker.exitcode == 0
    assert killed
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert not list(folder.rglob("*.part"))
