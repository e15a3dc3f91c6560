"""The pages in a real Chromium, with real parts behind them: what a person sees, and what the browser complains about."""

import re
import shutil
import urllib.parse

import pytest
from playwright.sync_api import expect, sync_playwright

from demo import METER, THERMOSTAT, Site
from stage import Stage

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


# Every text whose colour stands out too little from what is behind it. Source: WCAG 2.2, 1.4.3, level AA.
FAINT = """() => {
    const numbers = colour => colour.match(/[0-9.]+/g).map(Number);
    const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor, alpha = numbers(colour)[3];
            if (alpha === undefined || alpha === 1) return colour;
        }
        return matchMedia("(prefers-color-scheme: dark)").matches ? "rgb(0, 0, 0)" : "rgb(255, 255, 255)";
    };
    const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement, style = getComputedStyle(element), text = node.data.trim();
        if (!text || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
        const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const [over, under] = [light(style.color), light(behind(element))].sort((a, b) => b - a);
        const contrast = (over + 0.05) / (under + 0.05);
        if (contrast < (isLarge ? 3 : 4.5)) faint.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
    }
    return faint;
}"""


@pytest.fixture(scope="module")
def site(programs, tmp_path_factory):
    with Stage(programs, tmp_path_factory.mktemp("pages")) as stage:
        yield Site(stage)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as tools:
        # The sandbox of Chromium refuses to run as root, as in a container; the pages are our own.
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page in a context of its own, and everything that a browser could complain about."""

    def __init__(self, chromium, base, **options):
        self.context = chromium.new_context(base_url=base, **options)
        self.page = self.context.new_page()
        self.complaints = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: request.url.startswith(base) or self.complaints.append(
            f"a request to somebody else: {request.url}"))

    def fits(self):
        width = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] <= width[1], f"{self.page.url} is {width[0]} wide on a screen of {width[1]}"

    def is_readable(self):
        assert self.page.evaluate(FAINT) == [], self.page.url

    def forget_statuses(self):
        """Chromium itself remarks on every status from 400 on; nothing else may be remarked."""
        self.complaints = [text for text in self.complaints if "Failed to load resource" not in text]

    def close(self):
        self.context.close()
        assert self.complaints == []


def base_of(site):
    return f"http://127.0.0.1:{site.hub.http}"


def metric(page, device, name):
    return page.locator(f'[data-device="{device}"] [data-metric="{name}"]')


def test_a_person_sees_the_fault_sends_the_reset_and_sees_it_obeyed(site, chromium):
    seen = Watched(chromium, base_of(site), viewport={"width": 390, "height": 800})
    page = seen.page
    page.goto(site.link)
    temperature = metric(page, THERMOSTAT, "temperature")
    expect(temperature).to_be_visible(timeout=15_000)
    first = temperature.text_content()
    expect(temperature).not_to_have_text(first, timeout=10_000)
    alert = page.locator(f'[data-device="{THERMOSTAT}"] .wrong a')
    expect(alert).to_be_visible(timeout=30_000)
    expect(page.locator("#news")).to_contain_text("open alert")
    seen.fits()
    # The page goes on changing below a person's hands; what has the focus keeps it.
    alert.focus()
    expect(temperature).not_to_have_text(temperature.text_content(), timeout=10_000)
    expect(alert).to_be_focused()
    alert.press("Enter")
    expect(page.locator('[data-state="open"]')).to_be_visible()
    seen.fits()
    page.get_by_label("Message").fill("Somebody is on the way")
    page.get_by_role("button", name="Notification").click()
    expect(page.locator('[data-command="Notification"][data-status="Sent"]')).to_contain_text('"done":"notify"')
    page.get_by_label("Temperature").fill("22.5")
    page.get_by_role("button", name="Set Values").click()
    expect(page.locator('[data-command="Set Values"][data-status="Sent"]')).to_contain_text('"done":"set"')
    page.get_by_role("button", name="Reset Thermostat").click()
    expect(page.locator('[data-command="Reset Thermostat"][data-status="Sent"]')).to_contain_text('"done":"reset"')
    expect(page.locator('[data-state="closed"]')).to_be_visible(timeout=20_000)
    expect(page.locator(".advice")).to_have_text("This is over. Nothing has to be done.")
    seen.fits()
    page.get_by_role("link", name="Devices").click()
    expect(alert).to_have_count(0)
    assert float(re.match(r"[-0-9.]+", temperature.text_content()).group()) < 70
    for path in ("/", "/alerts"):
        page.goto(path)
        seen.fits()
    seen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(site, chromium, scheme):
    seen = Watched(chromium, base_of(site), viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = seen.page
    page.goto("/")
    seen.is_readable()
    page.goto(site.new_link())
    expect(page.locator("[data-device]").first).to_be_visible()
    seen.is_readable()
    page.goto("/alerts")
    seen.is_readable()
    page.locator("[data-alert] a").first.click()
    expect(page.locator("[data-state]").first).to_be_visible()
    seen.is_readable()
    # And the check can fail.
    page.evaluate("""() => { const title = document.querySelector("h1"); title.style.color = "#888";
        title.style.backgroundColor = "#777"; }""")
    assert page.evaluate(FAINT) != []
    seen.forget_statuses()
    seen.close()


def test_a_pulled_meter_is_said_on_its_card_and_taken_back(site, chromium):
    seen = Watched(chromium, base_of(site), viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page = seen.page
    page.goto(site.new_link())
    wrong = page.locator(f'[data-device="{METER}"] .wrong')
    site.sensors.send("m")
    expect(wrong).to_contain_text("does not answer", timeout=15_000)
    site.sensors.send("m")
    expect(wrong).to_have_count(0, timeout=15_000)
    seen.close()


def test_without_scripts_the_pages_show_everything_and_send_commands(site, chromium):
    seen = Watched(chromium, base_of(site), java_script_enabled=False)
    page = seen.page
    page.goto(site.new_link())
    expect(metric(page, METER, "voltage")).to_be_visible()
    expect(page.get_by_text("Reload this page to see newer values.")).to_be_visible()
    page.get_by_label("Find by id").fill("THERMO")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("[data-device]")).to_have_count(1)
    page.goto("/alerts")
    page.locator("[data-alert] a").first.click()
    page.get_by_label("Message").fill("without scripts")
    page.get_by_role("button", name="Notification").click()
    expect(page.locator('[data-command="Notification"]').last).to_be_visible()
    seen.close()


def test_wrong_input_and_a_used_link_say_what_to_do(site, chromium):
    seen = Watched(chromium, base_of(site))
    page, link = seen.page, site.new_link()
    page.goto(link)
    page.goto("/alerts")
    page.locator("[data-alert] a").first.click()
    page.get_by_label("Temperature").fill("warm")
    page.get_by_role("button", name="Set Values").click()
    expect(page.get_by_text("Temperature must be a number, like 21.5; this is not one: warm")).to_be_visible()
    page.get_by_role("link", name="Back to the alert").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(link)
    expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
    page.goto("/nothing")
    expect(page.get_by_text("There is nothing at this address.")).to_be_visible()
    seen.forget_statuses()
    seen.close()


def test_a_browser_without_certificates_is_not_troubled_by_the_question_for_one(site, chromium):
    """The HTTPS port asks every client for a certificate, because a device may have one."""
    seen = Watched(chromium, f"https://localhost:{site.hub.https}", ignore_https_errors=True)
    page = seen.page
    page.on("dialog", lambda dialog: seen.complaints.append(f"dialog: {dialog.message}"))
    page.goto(urllib.parse.urlparse(site.new_link()).path)
    page.get_by_role("link", name="Devices").click()
    expect(metric(page, THERMOSTAT, "temperature")).to_be_visible()
    opened = page.evaluate("""() => new Promise((done) => {
        const socket = new WebSocket(`wss://${location.host}/$iothub/websocket`, "mqtt")
        socket.onopen = () => { socket.close(1000); }
        socket.onclose = (event) => done([socket.protocol, event.code, event.wasClean])
    })""")
    assert opened == ["mqtt", 1000, True]
    seen.close()
