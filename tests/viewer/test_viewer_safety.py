"""Whatever a stranger sends, the viewer says no in one line, keeps nothing, and shows nobody's images to others."""

import io
import re
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import anyio
import numpy as np
import pydicom
import pytest
from bad_readers import crash, hang, tell_imported, tell_limits
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from attrinet.errors import AttrinetError
from attrinet.viewer.app import create_app
from attrinet.viewer.decode import decode, warm_up
from attrinet.viewer.guard import Guard
from attrinet.viewer.limits import Limits
from attrinet.viewer.sessions import Sessions
from browsing import another, floats, left_in, picture, upload
from waiting import until


def png_header(width, height, rows=b""):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def dicom(syntax=ExplicitVRLittleEndian, **changes):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows = data.Columns = 64
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 7, 0, 1
    data.PhotometricInterpretation, data.PatientName = "MONOCHROME2", "Doe^Jane"
    data.PixelData = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8).tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


def jpeg_bomb():
    buffer = io.BytesIO()
    Image.new("L", (60_000, 2), 9).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", 60_000, 60_000)  # its header now promises 3.6 gigapixels
    return bytes(content)


HOSTILE = {
    "nothing": b"",
    "text": b"<script>alert(1)</script>",
    "truncated PNG": picture()[:300],
    "a PNG of 10 gigapixels": png_header(100_000, 100_000),
    "a JPEG of 3.6 gigapixels": jpeg_bomb(),
    "a truncated DICOM": dicom()[:900],
    "a DICOM with absurd size": dicom(Rows=65_000, Columns=65_000),
    "a DICOM with too few pixels": dicom(Rows=4000, Columns=4000),
    "a DICOM whose JPEG is rubbish": dicom(JPEGBaseline8Bit, PixelData=pydicom.encaps.encapsulate([b"\xff\xd8" * 64])),
    "DICOM magic and noise": b"\0" * 128 + b"DICM" + np.random.default_rng(1).bytes(4000),
    "many frames": dicom(NumberOfFrames=1_000_000),
    "a pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
}


def test_hostile_files_are_refused_in_one_line_and_leave_nothing(serve):
    client = serve()
    for what, content in HOSTILE.items():
        started = time.monotonic()
        answer = upload(client, content, "study.png")
        assert answer.status_code == 422, what
        message = answer.json()["error"]
        assert message.startswith("study.png") and "\n" not in message and "Traceback" not in message, what
        assert str(client.app.state.viewer.folder) not in message, what
        assert time.monotonic() - started < 20 and not left_in(client), what
    assert client.get("/api/images").json() == []
    assert upload(client, picture()).status_code == 201  # and it still serves


def test_good_files_are_opened_and_leave_nothing_on_disk(serve):
    client = serve()
    for content in (picture(), dicom()):
        answer = upload(client, content)
        assert answer.status_code == 201 and not left_in(client)
        assert "Jane" not in answer.text  # the file's own patient data go nowhere


def test_a_deflated_dicom_cannot_eat_the_memory(tmp_path, viewed):
    """Given a file of under 4 MB that inflates to 300 MB, it is refused at the limit of the reading process."""
    packer, packed = zlib.compressobj(1, zlib.DEFLATED, -15), bytearray()
    plain = dicom()
    at = plain.index(struct.pack("<HH", 8, 0x16))  # the data set follows the file meta information
    packed += packer.compress(plain[at:])
    packed += packer.compress(struct.pack("<HH2sHI", 0x7FE1, 0x10, b"OB", 0, 300 << 20))
    for _ in range(300):
        packed += packer.compress(bytes(1 << 20))
    packed += packer.flush()
    head = dicom(DeflatedExplicitVRLittleEndian)
    meta = pydicom.dcmread(io.BytesIO(head), stop_before_pixels=True).file_meta
    length = 128 + 4 + 12 + meta.FileMetaInformationGroupLength
    (tmp_path / "bomb.dcm").write_bytes(head[:length] + packed)
    assert len(packed) < 4 << 20
    warm_up()
    with pytest.raises(AttrinetError, match="bomb.dcm: needs more than 128 MB of memory"):
        decode(tmp_path / "bomb.dcm", "bomb.dcm", viewed[0].model.reader, Limits(decode_bytes=128 << 20))


def test_a_decoder_that_hangs_or_crashes_takes_nothing_with_it(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    warm_up()
    started = time.monotonic()
    with pytest.raises(AttrinetError, match="a.dcm: not read within 0.5 seconds"):
        decode(tmp_path / "x", "a.dcm", hang, Limits(decode_seconds=0.5))
    assert time.monotonic() - started < 15
    with pytest.raises(AttrinetError, match="a.dcm: the file made the image reader crash"):
        decode(tmp_path / "x", "a.dcm", crash, Limits())


def test_an_image_is_read_at_once_by_a_process_that_has_the_readers_and_nothing_of_the_model(tmp_path):
    warm_up()
    told = decode(tmp_path / "x", "a.dcm", tell_imported, Limits())
    np.testing.assert_array_equal(told, [[True, True], [False, False]])


def test_the_reading_process_may_dump_no_core_and_has_little_time(tmp_path):
    warm_up()
    told = decode(tmp_path / "x", "a.dcm", tell_limits, Limits(decode_seconds=7))
    np.testing.assert_array_equal(told, [[0, 0], [7, 8]])


def test_too_much_is_refused_while_it_arrives(serve):
    client = serve(upload_bytes=1 << 20)
    sent = []

    def parts():  # no length is announced
        for _ in range(64):
            sent.append(1)
            yield bytes(1 << 18)

    answer = client.post("/api/images", content=parts(), headers={"X-File-Name": "big.png"})
    assert answer.status_code == 413 and "limit of 1 MB" in answer.json()["error"] and not left_in(client)
    assert upload(client, bytes((1 << 20) + 1)).status_code == 413
    assert upload(client, picture()).status_code == 201


def test_an_upload_that_stalls_is_given_up_and_leaves_nothing(serve):
    client, answer = serve(upload_seconds=0.2), []
    arriving = iter([{"type": "http.request", "body": picture()[:300], "more_body": True}])

    async def receive():
        for part in arriving:
            return part
        await anyio.sleep(3)
        return {"type": "http.request", "body": b""}

    async def send(message):
        answer.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/images", "query_string": b"",
             "headers": [(b"host", b"localhost"), (b"x-file-name", b"slow.png")]}
    client.portal.call(client.app, scope, receive, send)  # as the server does it: the test client sends bodies whole
    assert answer[0]["status"] == 408 and b"slow.png: did not arrive within 0.2 s" in answer[1]["body"]
    assert not left_in(client) and len(client.app.state.viewer.sessions) == 0


@pytest.mark.parametrize("name,shown", [
    ("../../etc/passwd", "passwd"), ("C:\\data\\a.png", "a.png"), ("a%00%0Ab.png", "ab.png"), ("%2e%2e%2fx", "x"),
    ("", "image"), ("..%2F", "image"), ("x" * 500, "x" * 100), ("%3Cimg src=x onerror=alert(1)%3E", None),
])
def test_a_file_name_is_only_ever_text(serve, name, shown):
    client = serve()
    image = upload(client, picture(), name).json()
    assert shown is None or image["name"] == shown
    assert not left_in(client)


@pytest.mark.parametrize("path", [
    "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/style.css/../../app.py",
    "/static//etc/passwd", "/static/index.html%00", "/../../etc/passwd", "/api/images/../../etc/passwd/pixels",
])
def test_no_path_leads_out_of_the_page(serve, path):
    assert serve().get(path).status_code == 404


def test_nobody_sees_what_another_opened(serve):
    mine = serve()
    image = upload(mine, picture(), "mine.png").json()
    path = f"/api/images/{image['id']}"
    theirs = another(mine)
    upload(theirs, picture(1), "theirs.png")
    for client in (theirs, another(mine)):
        for tail in ("/pixels", "/findings/0", "/findings/0/map", "/findings/0/mask", "/findings/0/explainers/own"):
            assert client.get(path + tail).status_code == 404
        assert client.delete(path).status_code == 404
        assert client.post(path + "/findings/0/explainers/own").status_code == 404
    assert [i["name"] for i in theirs.get("/api/images").json()] == ["theirs.png"]
    assert [i["name"] for i in mine.get("/api/images").json()] == ["mine.png"]
    assert mine.get(path + "/findings/0").status_code == 200


def test_a_session_is_the_servers_to_give(serve):
    client = serve()
    cookie = client.app.state.viewer.cookie
    answer = client.post("/api/images", content=picture(), headers={"Cookie": f"{cookie}=chosen-by-me"})
    header = answer.headers["set-cookie"]
    assert "chosen-by-me" not in header and "HttpOnly" in header and "SameSite=strict" in header
    assert len(re.search(rf"{cookie}=([^;]+)", header)[1]) >= 43  # 256 bits


def test_ending_the_session_forgets_its_images(serve):
    client = serve()
    path = f"/api/images/{upload(client, picture()).json()['id']}/pixels"
    cookie = dict(client.cookies)
    client.delete("/api/session")
    assert len(client.app.state.viewer.sessions) == 0
    late = another(client)
    late.cookies.update(cookie)
    assert late.get(path).status_code == 404


def test_what_arrives_after_its_owner_ended_the_session_is_not_opened(serve, monkeypatch):
    client = serve()
    upload(client, picture())

    def read_while_the_session_ends(*file):
        assert client.delete("/api/session").status_code == 200
        return decode(*file)

    monkeypatch.setattr("attrinet.viewer.app.decode", read_while_the_session_ends)
    assert upload(client, picture(1)).status_code == 404
    assert len(client.app.state.viewer.sessions) == 0 and not left_in(client)


def test_idle_images_go_without_anybody_asking(serve, monkeypatch):
    monkeypatch.setattr("attrinet.viewer.app.SWEEP_SECONDS", 0.01)
    now, client = [0.0], serve(idle_seconds=10)
    viewer = client.app.state.viewer
    monkeypatch.setattr(viewer.sessions, "clock", lambda: now[0])
    client.post("/api/store/0")
    session = viewer.sessions.find(client.cookies[viewer.cookie])
    assert len(session.images) == 1
    now[0] = 11
    until(lambda: not session.images, "an idle session's images to go", 5)
    assert len(viewer.sessions) == 0


def test_an_idle_session_is_forgotten_and_its_work_stopped():
    now = [0.0]
    sessions = Sessions(Limits(idle_seconds=10), clock=lambda: now[0])
    kept, idle = sessions.create(), sessions.create()
    now[0] = 8
    assert sessions.find(kept.id) is kept
    now[0] = 12
    assert sessions.find(idle.id) is None and sessions.find(kept.id) is kept
    assert idle.images == {} and len(sessions) == 1


def test_a_session_keeps_only_so_many_images_and_there_are_only_so_many_sessions(serve):
    client = serve(images=2, sessions=2)
    ids = [client.post(f"/api/store/{row}").json()["id"] for row in range(3)]
    assert [i["id"] for i in client.get("/api/images").json()] == ids[1:]
    assert client.get(f"/api/images/{ids[0]}/pixels").status_code == 404
    assert another(client).post("/api/store/0").status_code == 201
    full = another(client).post("/api/store/0")
    assert full.status_code == 503 and "too many" in full.json()["error"]


def test_a_session_has_only_so_many_explanations_computed(serve):
    client, gate = serve(jobs=2), threading.Event()
    others = another(client)
    client.app.state.viewer.comparing.submit(-1, lambda: gate.wait(60))  # meanwhile all jobs wait
    one, two = (client.post(f"/api/store/{row}").json()["id"] for row in (0, 1))
    theirs = others.post("/api/store/0").json()["id"]
    first, second, third = (f"/api/images/{i}/findings/{c}/explainers/lime" for i, c in ((one, 0), (one, 1), (two, 0)))
    try:
        for path in (first, second, first):  # asked again, it is the same one
            assert client.post(path).json()["state"] == "waiting"
        refused = client.post(third)
        assert refused.status_code == 503 and refused.json()["error"].startswith("2 explanations are being computed")
        assert client.get(third).status_code == 404
        assert others.post(f"/api/images/{theirs}/findings/0/explainers/lime").status_code == 200
        client.delete(first)
        assert client.post(third).json()["state"] == "waiting"
    finally:
        for somebody in (client, others):
            somebody.delete("/api/session")
        gate.set()


def test_a_refused_file_takes_nobodys_place(serve):
    client = serve(sessions=1)
    for _ in range(3):
        assert upload(another(client), b"no image").status_code == 422
    assert upload(client, picture()).status_code == 201


def test_what_is_refused_as_too_much_work_takes_nobodys_place(serve):
    client = serve(waiting=1)
    viewer = client.app.state.viewer
    answers = [another(client).post("/api/store/0").status_code for _ in range(3)]
    assert answers == [503] * 3 and len(viewer.sessions) == 0


def test_a_failure_of_the_viewer_says_what_every_answer_must(serve, monkeypatch):
    client = serve()
    monkeypatch.setattr("attrinet.viewer.app.to_tensor", lambda _: 1 / 0)
    client._transport.raise_server_exceptions = False
    failed = client.post("/api/store/0")
    assert failed.status_code == 500 and failed.json()["error"].startswith("the viewer failed")
    assert failed.headers["cache-control"] == "no-store" and "content-security-policy" in failed.headers


def test_shutting_down_removes_the_folder(viewed):
    with TestClient(create_app(*viewed), base_url="http://localhost") as client:
        folder = client.app.state.viewer.folder
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.mark.parametrize("host,answered", [
    ("localhost:8765", True), ("127.0.0.1:8765", True), ("[::1]:8765", True), ("192.168.1.7", True),
    ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.nip.io", False), ("", False),
])
def test_a_strangers_name_for_this_machine_is_not_answered(serve, host, answered):
    answer = serve().get("/api/model", headers={"Host": host})
    assert answer.status_code == (200 if answered else 403)


@pytest.mark.parametrize("host,answered", [
    ("radiology.example", True), ("RADIOLOGY.example:8765", True), ("ward-7", True), ("Ward-7:80", True),
    ("localhost:8765", True), ("radiology", False), ("x.radiology.example", False), ("radiology.example.evil", False),
    ("ward-8", False), ("ward-7.evil.example", False),
])
def test_the_name_it_is_served_under_and_the_machines_own_are_answered_at_any_port(monkeypatch, host, answered):
    monkeypatch.setattr("socket.gethostname", lambda: "Ward-7")
    client = TestClient(Guard(PlainTextResponse("here"), "Radiology.example"))
    assert client.get("/", headers={"Host": host}).status_code == (200 if answered else 403)


@pytest.mark.parametrize("headers,answered", [
    ({}, True), ({"Origin": "http://localhost"}, True), ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "http://evil.example"}, False), ({"Origin": "null"}, False), ({"Origin": "http://localhost:1"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False), ({"Sec-Fetch-Site": "same-site"}, False),
])
def test_other_sites_cannot_act_in_a_users_name(serve, headers, answered):
    client = serve()
    assert client.post("/api/store/0", headers=headers).status_code == (201 if answered else 403)
    assert client.delete("/api/session", headers=headers).status_code == (200 if answered else 403)


@pytest.mark.parametrize("headers,answered", [
    ({"Host": "viewer.example", "Origin": "https://viewer.example"}, True),  # the proxy passes the name on, or not:
    ({"Host": "localhost:8765", "Origin": "https://Viewer.example"}, True),
    ({"Host": "localhost:8765", "Origin": "https://evil.example"}, False), ({"Host": "evil.example"}, False),
    ({"Host": "localhost:8765", "Origin": "https://viewer.example.evil"}, False),
    ({"Host": "localhost:8765", "Origin": "http://["}, False),
    ({"Host": "localhost:1", "Origin": "http://localhost"}, False),
])
def test_behind_a_proxy_it_answers_to_the_names_it_was_told(headers, answered):
    client = TestClient(Guard(PlainTextResponse("here"), "localhost", ["viewer.example"]))
    assert client.post("/", headers=headers).status_code == (200 if answered else 403)


def test_every_answer_forbids_what_the_page_does_not_need(serve):
    client = serve()
    image = upload(client, picture()).json()
    for path in ("/", "/static/main.js", "/api/model", "/api/nothing", f"/api/images/{image['id']}/pixels"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer" and "access-control-allow-origin" not in headers


def test_the_page_names_no_other_place():
    files = [f for f in resources.files("attrinet.viewer").joinpath("static").iterdir()]
    assert {f.name for f in files} >= {"index.html", "style.css", "main.js", "favicon.svg"}
    for file in files:
        text = file.read_text()
        addresses = set(re.findall(r"\w+://[^\s\"'<>`]*", text)) - {"http://www.w3.org/2000/svg"}  # a name, never asked
        assert not addresses, file.name
        assert not re.search(r"(src|href|url|import|from)\s*[=(]?\s*[\"'(]//", text), file.name
        makes_code = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        assert not re.search(makes_code, text), file.name
    page = (resources.files("attrinet.viewer") / "static/index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", page)


def test_uploads_at_the_same_time_do_not_mix(serve):
    """Given eight people who upload at once, each gets the pixels of their own image."""
    first = serve()
    people = [another(first) for _ in range(8)]
    flat = []
    for k in range(8):
        pixels = np.zeros((32, 32), np.uint8)
        pixels[:, : 3 * k + 4] = 255
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        flat.append(buffer.getvalue())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(upload, people, flat))
    for k, (client, answer) in enumerate(zip(people, answers, strict=True)):
        assert answer.status_code == 201, answer.text
        shown = floats(client.get(f"/api/images/{answer.json()['id']}/pixels")).reshape(32, 32)
        np.testing.assert_array_equal(shown > 0, np.arange(32)[None].repeat(32, 0) < 3 * k + 4)
        assert len(client.get("/api/images").json()) == 1
