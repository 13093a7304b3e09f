"""The page in a real browser: mouse, keyboard, what a screen reader is told, a desk's window and a phone's."""

import json
import shutil
import socket
import threading

import numpy as np
import pytest
import uvicorn

from attrinet.data.phantom import FINDINGS
from attrinet.viewer.app import create_app
from browsing import SIZE, picture
from waiting import until

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
if not (CHROMIUM and DRIVER):
    pytest.skip("Chromium is not installed, or its driver (Debian: chromium, chromium-driver)", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--hide-scrollbars")
DESK, PHONE = (1280, 900), (390, 844)
PATIENCE = 60  # seconds, of a busy machine


@pytest.fixture(scope="module")
def address(viewed):
    server = uvicorn.Server(uvicorn.Config(create_app(*viewed), log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "the viewer's server to start", PATIENCE)
        assert server.started, "the viewer's server ended before it had started"
        yield f"http://localhost:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, address):
    """The page, freshly loaded by somebody who has opened nothing; at the end nothing may have gone wrong in it."""
    chromium.delete_all_cookies()
    window(chromium, DESK)
    chromium.get_log("browser")
    chromium.get(address)
    wait(chromium, "document.body.dataset.ready")
    yield chromium
    errors = [e["message"] for e in chromium.get_log("browser") if e["level"] == "SEVERE"]
    assert [e for e in errors if "422" not in e] == []


def window(driver, size):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def js(driver, expression, *arguments):
    return driver.execute_script(f"return {expression}", *arguments)


def wait(driver, expression):
    WebDriverWait(driver, PATIENCE, 0.05).until(lambda d: js(d, expression))


def by(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def press(driver, *keys):
    for key in keys:
        driver.switch_to.active_element.send_keys(key)


def complete(driver):
    wait(driver, f"document.querySelectorAll('.finding').length === {len(FINDINGS)}")


def open_file(driver, tmp_path, name="mine.png"):
    (tmp_path / name).write_bytes(picture())
    by(driver, "#file").send_keys(str(tmp_path / name))
    complete(driver)


def choose_lesion(driver, viewed, finding=4):
    """The button in the list, of an image of the store in which the finding is annotated."""
    store = viewed[1]
    row = next(r for r in store.split("test") if store.labels[r, finding] == 1)
    by(driver, "#open-store").click()
    Select(by(driver, "#store-finding")).select_by_visible_text(FINDINGS[finding])
    wait(driver, "document.getElementById('store-images').ariaBusy === 'false'")
    assert by(driver, "#store-images b").text == store.ids[row]
    by(driver, "#store-images button").click()
    return row


def open_with_lesion(driver, viewed, finding=4):
    """choose_lesion, waited for, and its finding chosen."""
    row = choose_lesion(driver, viewed, finding)
    complete(driver)
    by(driver, f".finding input[value='{finding}']").send_keys(Keys.SPACE)
    return row


def canvas(driver, name):
    """(H, W, 3) uint8, one pixel a pixel of the image."""
    pixels = js(driver, """(() => { const c = document.getElementById(arguments[0]), n = arguments[1],
        s = c.width / n, d = c.getContext('2d').getImageData(0, 0, c.width, c.width).data, out = [];
        for (let y = 0; y < n; y++) for (let x = 0; x < n; x++) {
          const k = 4 * (Math.floor((y + .5) * s) * c.width + Math.floor((x + .5) * s));
          out.push(d[k], d[k + 1], d[k + 2]); }
        return out; })()""", name, SIZE)
    return np.array(pixels, np.uint8).reshape(SIZE, SIZE, 3)


def slide(driver, name, value):
    driver.execute_script("const e = document.getElementById(arguments[0]); e.value = arguments[1];"
                          "e.dispatchEvent(new Event('input', {bubbles: true}))", name, value)


def test_an_upload_shows_findings_sorted_by_their_distance_above_the_threshold(page, tmp_path, viewed):
    open_file(page, tmp_path)
    out = viewed[0].model.explain(tmp_path / "mine.png")
    margin = (out.logits - out.thresholds.logit())[0]
    names = [e.text for e in page.find_elements(By.CSS_SELECTOR, ".finding .name")]
    assert names == [FINDINGS[c] for c in margin.argsort(descending=True)]
    top = int(margin.argmax())
    assert by(page, f".finding input[value='{top}']").is_selected()
    assert f"{FINDINGS[top]}: probability {out.probabilities[0, top]:.3f}" in by(page, "#decision").text
    assert by(page, "#image-name").text == "mine.png"


def test_the_slider_goes_from_the_image_to_its_counterfactual(page, tmp_path, viewed):
    open_file(page, tmp_path)
    out = viewed[0].model.explain(tmp_path / "mine.png")
    c = int(js(page, "document.querySelector('.finding input:checked').value"))
    image = viewed[0].model.reader(tmp_path / "mine.png")[0, 0].numpy()
    for share in (0, 50, 100):
        slide(page, "mix", share)
        want = ((image + share / 100 * out.attribution[0, c].numpy()).clip(-1, 1) + 1) * 127.5
        np.testing.assert_allclose(canvas(page, "counterfactual")[..., 0], want, atol=1)
    by(page, "#mix").send_keys(Keys.ARROW_LEFT)  # and by keyboard
    assert js(page, "document.getElementById('mix').value") == "99"
    assert "99 % of the way" in by(page, "#mix").get_attribute("aria-valuetext")


def test_colour_says_the_sign_and_the_image_shows_where_there_is_none(page, tmp_path, viewed):
    open_file(page, tmp_path)
    by(page, "#cells").click()
    out = viewed[0].model.explain(tmp_path / "mine.png")
    c = int(js(page, "document.querySelector('.finding input:checked').value"))
    values = out.contributions[0, c].numpy()
    grey = ((viewed[0].model.reader(tmp_path / "mine.png")[0, 0].numpy() + 1) * 127.5)
    strong = np.abs(values) > np.quantile(np.abs(values), 0.8)
    shown = canvas(page, "evidence").astype(int)
    redder = shown[..., 0] - shown[..., 2]
    assert (redder[strong & (values > 0)] > 0).all() and (redder[strong & (values < 0)] < 0).all()
    Select(by(page, "#sign")).select_by_value("for")
    shown = canvas(page, "evidence")
    np.testing.assert_allclose(shown[values < 0], grey[values < 0][:, None].repeat(3, 1), atol=1)
    Select(by(page, "#sign")).select_by_value("both")
    slide(page, "opacity", 0)
    np.testing.assert_allclose(canvas(page, "evidence")[..., 1], grey, atol=1)


def test_the_two_signs_are_told_apart_by_the_colour_blind(page):
    """Given the simulation of Machado et al. (2009) at full severity, equal evidence for and against still differs by
    far more than one can overlook, and both are equally light."""
    colors = np.array(page.execute_async_script(
        "import('/static/color.js').then(m => arguments[0]([-1, -.5, .5, 1].map(m.diverging)))")) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    deficiency = {
        "none": np.eye(3),
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
        "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                       [0.004733, 0.691367, 0.303900]],
    }
    from skimage.color import rgb2lab

    for name, matrix in deficiency.items():
        seen = (linear @ np.array(matrix).T).clip(0, 1)
        srgb = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = rgb2lab(srgb[None])[0]
        for against, positive in ((lab[0], lab[3]), (lab[1], lab[2])):
            assert np.linalg.norm(against - positive) > 40, name  # 2.3 is just noticeable
    lab = rgb2lab(colors[None])[0]
    assert abs(lab[0, 0] - lab[3, 0]) < 12 and abs(lab[1, 0] - lab[2, 0]) < 12


def test_the_colour_bar_has_values_and_a_unit(page, tmp_path, viewed):
    open_file(page, tmp_path)
    ticks = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#evidence-bar .ticks span")]
    assert ticks[1] == "0" and ticks[0][0] == "−" and ticks[2][0] == "+" and ticks[0][1:] == ticks[2][1:]
    assert by(page, "#evidence-bar .unit").text.startswith("logits per pixel")


def test_the_table_adds_up_before_the_readers_eyes(page, tmp_path):
    open_file(page, tmp_path)
    rows = [r.text for r in page.find_elements(By.CSS_SELECTOR, "#sum tbody tr")]
    assert len(rows) == 16 and rows[0].startswith("bias") and rows[1].startswith("1. row")
    last = [float(r.split()[-1].replace("−", "-")) for r in rows[:13]]
    assert sum(last[:12]) == pytest.approx(last[12], abs=0.01)  # bias, ten cells, the rest: three digits each
    by(page, "#sum tbody tr:nth-child(3) button").click()
    assert by(page, "#sum tr.lit button").text.startswith("2. row")


def test_a_known_lesion_is_outlined_and_can_be_hidden(page, viewed):
    open_with_lesion(page, viewed)
    green = "(() => { const c = document.getElementById('evidence'), d = c.getContext('2d')" \
            ".getImageData(0, 0, c.width, c.width).data; let n = 0;" \
            "for (let k = 0; k < d.length; k += 4) n += d[k] < 90 && d[k + 1] > 230 && d[k + 2] < 160; return n })()"
    assert js(page, green) > 100
    by(page, "#outline").click()
    assert js(page, green) == 0
    assert "labelled: " in by(page, "#image-truth").text and FINDINGS[4] in by(page, "#image-truth").text


def test_an_outline_that_comes_late_stays_off_the_image_opened_since(page, tmp_path, viewed):
    page.execute_script("""const real = window.fetch;
        const held = new Promise((go) => { window.release = go; });
        window.fetch = async (...asked) => { const answer = await real(...asked);
          if (asked[0].endsWith('/mask')) { window.late = true; await held; }
          return answer; };""")
    row = choose_lesion(page, viewed)
    assert (viewed[1].labels[row] == 1).sum() > 1  # as many outlines
    wait(page, "window.late")
    open_file(page, tmp_path)
    masks = page.execute_async_script("""window.release();
        const { state } = await import('/static/state.js');
        setTimeout(() => arguments[0](Object.keys(state.image.masks)), 500);""")
    assert masks == []
    assert by(page, "#image-name").text == "mine.png" and by(page, "#error").text == ""


def test_everything_is_reached_and_done_by_keyboard(page, tmp_path):
    page.execute_script("document.activeElement.blur()")
    body = by(page, "body")
    body.send_keys(Keys.TAB)
    assert js(page, "document.activeElement.className") == "skip"
    press(page, Keys.TAB)
    assert js(page, "document.activeElement.id") == "tab-image"  # one stop for all three
    press(page, Keys.ARROW_RIGHT)
    assert not by(page, "#panel-image").is_displayed() and by(page, "#panel-model").is_displayed()
    press(page, Keys.END)
    assert by(page, "#tab-compare").get_attribute("aria-selected") == "true"
    press(page, Keys.ARROW_RIGHT)
    assert js(page, "document.activeElement.id") == "tab-image" and by(page, "#panel-image").is_displayed()
    assert js(page, "document.querySelectorAll('[role=tab][tabindex=\"-1\"]').length") == 2
    outline = js(page, "getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    open_file(page, tmp_path)
    by(page, ".finding input:checked").send_keys(Keys.ARROW_DOWN)  # radio buttons
    second = page.find_elements(By.CSS_SELECTOR, ".finding")[1]
    assert second.find_element(By.TAG_NAME, "input").is_selected()
    assert by(page, "#decision").text.startswith(second.find_element(By.CSS_SELECTOR, ".name").text)
    for id in ("open-store", "opened", "mix", "opacity", "sign", "range", "cells"):
        page.execute_script("document.getElementById(arguments[0]).focus()", id)
        assert js(page, "document.activeElement.id") == id


def test_a_screen_reader_is_told_what_is_shown(page, tmp_path):
    open_file(page, tmp_path)
    wait(page, "document.getElementById('status').textContent.includes('all findings are there')")
    assert by(page, "#status").get_attribute("aria-live") == "polite"
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    told = [n for n in tree if "role" in n and not n["ignored"]]
    named = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in told]
    pictures = [name for role, name in named if role in ("img", "image")]
    assert any("Strongest evidence for:" in name and "of the image" in name and "logits" in name for name in pictures)
    assert any(name.startswith("Image and counterfactual") for name in pictures)
    for role in ("button", "radio", "slider", "checkbox", "combobox", "tab", "radiogroup", "tabpanel", "table"):
        names = [name for r, name in named if r == role]
        assert names and all(names), role
    assert {r for r, _ in named} >= {"banner", "main", "contentinfo", "heading"}
    assert any("logits from the threshold" in name for role, name in named if role == "radio")


def test_text_is_dark_enough_to_read(page, tmp_path):
    open_file(page, tmp_path)
    ratios = js(page, """(() => {
      const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
      const light = (c) => { const [r, g, b] = c.map((v) => linear(v / 255));
        return .2126 * r + .7152 * g + .0722 * b; };
      const parse = (c) => c.match(/[\\d.]+/g).map(Number);
      const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] > .99) return c.slice(0, 3); } return [255, 255, 255]; };
      const out = [];
      for (const e of document.querySelectorAll('body *')) {
        const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!text || !e.checkVisibility()) continue;
        const own = light(parse(getComputedStyle(e).color).slice(0, 3));
        const [a, b] = [own, light(behind(e))].sort((x, y) => y - x);
        out.push([(a + .05) / (b + .05), e.tagName + '.' + e.className + ': ' + e.textContent.slice(0, 30)]);
      }
      return out; })()""")
    assert len(ratios) > 60
    assert [r for r in ratios if r[0] < 4.5] == []


def test_the_other_tabs_explain_the_model_and_compare_explainers(page, viewed):
    open_with_lesion(page, viewed)
    by(page, "#tab-model").click()
    wait(page, f"document.querySelectorAll('#global canvas[role=img]').length === {3 * len(FINDINGS)}")
    assert by(page, "#global canvas").get_attribute("aria-label").startswith("Positive centre of Atelectasis")
    by(page, "#tab-compare").click()
    assert js(page, "document.getElementById('compare-finding').value") == "4"  # the finding that was looked at
    for key in ("random", "uniform"):
        by(page, f"#explainers input[value={key}]").click()
    by(page, "#compare-form [type=submit]").click()
    wait(page, "document.querySelectorAll('#compare-results canvas[role=img]').length === 3")
    captions = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#compare-results figcaption")]
    assert all("in the annotated lesion" in text for text in captions)


def test_a_refused_file_is_said_in_words_and_the_page_goes_on(page, tmp_path):
    name = "<img src=x onerror=alert(1)>.png"
    (tmp_path / name).write_bytes(b"no image")
    by(page, "#file").send_keys(str(tmp_path / name))
    wait(page, "document.getElementById('error').textContent")
    assert name in by(page, "#error span").text and by(page, "#error").get_attribute("role") == "alert"
    assert page.find_elements(By.CSS_SELECTOR, "#error img, #opened img") == []
    open_file(page, tmp_path)
    assert by(page, "#error").text == ""


def test_images_are_there_after_a_reload_and_gone_when_forgotten(page, tmp_path):
    open_file(page, tmp_path)
    page.refresh()
    complete(page)
    assert by(page, "#image-name").text == "mine.png"
    by(page, "#end-session").click()
    wait(page, "!document.querySelector('.finding') && document.body.dataset.ready")
    assert not by(page, "#result").is_displayed() and page.get_cookies() == []


def test_no_request_leaves_for_another_place(page, address, viewed):
    page.get_log("performance")
    page.get(address)
    wait(page, "document.body.dataset.ready")
    open_with_lesion(page, viewed)
    for tab in ("model", "compare"):
        by(page, f"#tab-{tab}").click()
    wait(page, "document.querySelectorAll('#global canvas').length")
    messages = [json.loads(e["message"])["message"] for e in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 20 and all(url.startswith(address) for url in asked)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_sticks_out_of_the_window(page, size, viewed, tmp_path):
    window(page, size)
    open_with_lesion(page, viewed)
    for tab in ("image", "model", "compare"):
        by(page, f"#tab-{tab}").click()
        if tab == "model":
            wait(page, "document.querySelectorAll('#global canvas').length")
        assert js(page, "document.documentElement.scrollWidth") <= size[0], tab
        page.save_screenshot(str(tmp_path / f"{tab}.png"))
    by(page, "#tab-image").click()
    for id in ("evidence", "counterfactual", "mix", "sum"):
        box = js(page, f"document.getElementById('{id}').getBoundingClientRect().toJSON()")
        assert box["width"] > 0 and box["left"] >= 0 and box["right"] <= size[0], id
    if size is PHONE:  # fingers
        small = js(page, "[...document.querySelectorAll('button:not(.link), .button, select, .finding')].filter((e) => "
                         "e.checkVisibility() && e.getBoundingClientRect().height < 24).map((e) => e.outerHTML)")
        assert small == []
