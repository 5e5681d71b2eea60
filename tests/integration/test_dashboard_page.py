"""The status page in a real browser, with a document that each test sets."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Locator, Page, expect, sync_playwright
from tests.integration import dashboard_document
from tests.integration.browser import ATTEMPTS, AXE, NETWORK_CHANGED, launch_options
from tests.integration.dashboard_document import GATEWAY, MANAGER, ago, ahead, bar, closing, document
from tests.integration.scripted_dashboard import STATIC, ScriptedDashboard, scripted_dashboard

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(**launch_options())
        yield opened
        opened.close()


@pytest.fixture
def dashboard() -> Iterator[ScriptedDashboard]:
    with scripted_dashboard(document()) as running:
        running.answers |= {
            "profit": dashboard_document.profit(),
            "logs": dashboard_document.logs(),
            "explain": {"text": "SELL 100 NVDA\nthe target was reached"},
        }
        yield running


class Tab:
    """A page that was opened, with what went wrong in it."""

    def __init__(self, context: BrowserContext, dashboard: ScriptedDashboard) -> None:
        self.page = context.new_page()
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self._interrupted = False
        self.page.on(
            "request",
            lambda request: None if request.url.startswith(dashboard.address) else self.elsewhere.append(request.url),
        )
        self.address = dashboard.address

    def _on_console(self, line: ConsoleMessage) -> None:
        if NETWORK_CHANGED in line.text:
            self._interrupted = True
        elif line.type in ("error", "warning"):
            self.errors.append(line.text)

    def open(self) -> Page:
        for attempt in range(1, ATTEMPTS + 1):
            self._interrupted = False
            try:
                self.page.goto(self.address)
                expect(self.page.locator(".position").first).to_be_visible()
                break
            except (Error, AssertionError) as error:
                if attempt == ATTEMPTS or not (self._interrupted or NETWORK_CHANGED in str(error)):
                    raise
        return self.page


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(
        viewport={"width": 1280, "height": 900}, timezone_id="Europe/Vienna", locale="en-GB", color_scheme="light"
    )
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


@pytest.fixture
def tab(context: BrowserContext, dashboard: ScriptedDashboard) -> Iterator[Tab]:
    opened = Tab(context, dashboard)
    yield opened
    assert opened.errors == []
    assert opened.elsewhere == []


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.open()


def article(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name, exact=True)


def violations(page: Page) -> list[str]:
    """What axe-core finds, each with the first element. The policy forbids pages' scripts, not the debugger's."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [f"{item['id']}: {item['help']}: {item['nodes'][0]['html'][:200]}" for item in found]


def test_every_part_of_the_document_is_on_the_page(page: Page) -> None:
    gateway = article(page, GATEWAY)
    for text in (
        "Ready",
        "Listening",
        "Connected to IBKR",
        "in 15 h",
        "in 6 d",
        "10.45.1e",
        "2026-12-20",
        "bad credentials 1",
    ):
        expect(gateway).to_contain_text(text)
    msft = article(page, "MSFT")
    for text in (
        "Guarded",
        "Long +100",
        "421.35",
        "418.00",
        f"P&L in USD{MINUS}335.00",
        "Stop 410.83",
        "Breakeven 421.35",
        "Target 446.63",
    ):
        expect(msft).to_contain_text(text)
    figures = page.locator(".figures")
    for text in (f"Open P&L in USD{MINUS}655.00", "Realised today in USD+412.50", f"{MINUS}18.20 EUR", "2 of 2"):
        expect(figures).to_contain_text(text)
    for text in ("IB ends IB Gateway 10.45.1e", "Set ib_gateway_image to version 10.47", "another client traded it"):
        expect(page.locator(".attention")).to_contain_text(text)
    expect(page.locator("#notifications")).to_contain_text("discord: queued")
    expect(page.locator("#notifications")).to_contain_text("1 pending, 0 failed")
    expect(page.locator("#positions")).to_contain_text("daily loss: guarded")
    expect(page.get_by_role("img", name=re.compile("Profit of the day"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Profit of 20 days in USD"))).to_be_visible()


def test_each_state_of_a_gateway_has_a_word_and_a_pattern(page: Page, dashboard: ScriptedDashboard) -> None:
    words = {
        "ready": "Ready",
        "approval": "Waiting for approval",
        "link_lost": "Link to IBKR lost",
        "down": "Down",
        "restart": "Restart",
        "unknown": "Not recorded",
    }
    strip = page.get_by_role("img", name=re.compile("The last 7 days"))
    expect(strip).to_have_attribute(
        "aria-label", re.compile("ready .*waiting for approval .*link to ibkr lost .*down .*restart")
    )
    looks = set()
    for state, word in words.items():
        dashboard.change({"gateways": {GATEWAY: {"state": state, "text": f"now {state}"}}})
        expect(article(page, GATEWAY).locator(".line").first).to_contain_text(word)
        expect(article(page, GATEWAY)).to_contain_text(f"now {state}")
        swatch = page.locator(f".legend .swatch.{state}")
        looks.add(swatch.evaluate("element => getComputedStyle(element).backgroundImage"))
    assert len(looks) == len(words)


def test_the_strip_turns_when_the_gateway_goes_down(page: Page, dashboard: ScriptedDashboard) -> None:
    expect(page.locator(".strip .down")).to_have_count(1)
    history = dashboard.document["gateways"][GATEWAY]["history"]
    dashboard.change(
        {"gateways": {GATEWAY: {"state": "down", "history": [*history, {"from": ago(seconds=1), "state": "down"}]}}}
    )
    expect(page.locator(".strip .down")).to_have_count(2)
    strip, last = page.locator(".strip").bounding_box(), page.locator(".strip .down").last.bounding_box()
    assert strip is not None and last is not None
    assert last["x"] + last["width"] == pytest.approx(strip["x"] + strip["width"], abs=1)
    assert last["width"] >= 3
    page.get_by_text("The last 7 days as a list").click()
    expect(page.get_by_role("region", name=f"History of {GATEWAY}").get_by_role("row").nth(1)).to_contain_text("Down")


def test_the_most_urgent_point_is_first_and_goes_away(page: Page, dashboard: ScriptedDashboard) -> None:
    breaker = {"open": True, "text": "3 refused logins.", "remedy": "gateway-watch reset", "refusals": {}, "limit": 3}
    dashboard.change(
        {"gateways": {GATEWAY: {"breaker": breaker}}, "managers": {MANAGER: {"halts": ["the kill switch is set"]}}}
    )
    first = page.locator(".attention li").first
    expect(first).to_contain_text("3 refused logins. gateway-watch reset")
    expect(page.locator(".attention li").nth(1)).to_contain_text("the kill switch is set")
    expect(page).to_have_title(re.compile(r"^\(2\) "))
    quiet = {
        "gateways": {GATEWAY: {"breaker": None, "support": None}},
        "managers": {MANAGER: {"halts": [], "locks": {"1": None}}},
    }
    dashboard.change(quiet)
    expect(page.locator(".attention")).to_have_text(re.compile("All OK.*No manual intervention"))


def test_a_manager_that_does_not_run(page: Page, dashboard: ScriptedDashboard) -> None:
    away = {
        "running": False,
        "why": "nothing listens on its socket",
        "positions": {"DU***67 MSFT": None, "DU***67 SAP": None},
    }
    dashboard.change({"managers": {MANAGER: away}})
    expect(page.locator("#positions")).to_contain_text("nothing listens on its socket")
    expect(page.locator(".attention")).to_contain_text("nothing listens on its socket")


def test_what_cannot_be_drawn_does_not_hide_the_rest(page: Page, dashboard: ScriptedDashboard) -> None:
    dashboard.change({"gateways": {GATEWAY: {"history": 5}}})
    expect(page.get_by_role("alert").filter(has_text="Gateways cannot be drawn")).to_be_visible()
    dashboard.change({"managers": {MANAGER: {"positions": {"DU***67 MSFT": {"price": 417.0}}}}})
    expect(article(page, "MSFT")).to_contain_text("417.00")
    dashboard.change({"gateways": {GATEWAY: {"history": [{"from": ago(hours=1), "state": "ready"}]}}})
    page.get_by_role("button", name="Draw again").click()
    expect(article(page, GATEWAY)).to_be_visible()


def test_each_state_of_a_position(page: Page, dashboard: ScriptedDashboard) -> None:
    near = {"bars": {"price": bar(411.2, 421.35, 1, {"stop": 410.83, "target": 446.63})}}
    since = {
        "verdict": "unprotected",
        "text": "no usable quote",
        "unprotected": {"since": ago(minutes=20), "seconds": 1200},
    }
    msft = article(page, "MSFT")
    for patch, word in (
        (near, "Guarded, near its stop"),
        ({"verdict": "closing"}, "Closing"),
        (since, "Unprotected"),
        ({"market_open": False}, "Market closed"),
        ({"verdict": "closed in shadow"}, "Closed in shadow"),
    ):
        dashboard.change({"managers": {MANAGER: {"positions": {"DU***67 MSFT": patch}}}})
        expect(msft.locator(".sign").first).to_have_text(word)
        if patch is since:
            expect(msft).to_contain_text(re.compile("unprotected 20 min( [0-9]+ s)? in all, and now"))


def test_a_stop_fires_climbs_its_ladder_and_closes_without_a_reload(page: Page, dashboard: ScriptedDashboard) -> None:
    page.evaluate("window.marked = true")
    msft = article(page, "MSFT")
    before = msft.locator(".needle").bounding_box()
    dashboard.change(closing())
    expect(msft.locator(".sign").first).to_have_text("Closing")
    expect(msft).to_contain_text("0.2 % past it")
    expect(msft.get_by_role("list", name="Prices of the close of MSFT").get_by_role("listitem")).to_have_count(3)
    expect(msft.locator(".ladder .now")).to_contain_text("409.86")
    expect(page.get_by_role("status").filter(has_text="MSFT: closing")).to_have_count(1)
    msft.locator(".needle").evaluate("element => Promise.all(element.getAnimations().map(each => each.finished))")
    after = msft.locator(".needle").bounding_box()
    assert before is not None and after is not None and after["x"] < before["x"]
    intent = next(iter(dashboard.document["managers"][MANAGER]["intents"]))
    done = {"state": "FILLED", "filled": 100, "average": 409.87, "done": True}
    gone = {"positions": {"DU***67 MSFT": None}, "intents": {intent: None}, "orders": {intent: done}}
    dashboard.change({"managers": {MANAGER: gone}})
    expect(msft).to_have_count(0)
    expect(page.locator(f"#orders-{MANAGER} tbody tr").first).to_contain_text("100 at 409.87")
    expect(page.get_by_role("status").filter(has_text="MSFT: closed")).to_have_count(1)
    assert page.evaluate("window.marked") is True


def test_what_is_not_known_is_not_shown_as_none(page: Page, dashboard: ScriptedDashboard) -> None:
    figure = page.locator(".figures > div").filter(has_text="Next approval")
    dashboard.change({"gateways": {GATEWAY: {"next_approval": None, "session": {"twofa": False}}}})
    expect(article(page, GATEWAY)).to_contain_text("None is needed")
    expect(figure).to_contain_text("none")
    dashboard.change({"gateways": {GATEWAY: {"session": {"twofa": None}}}})
    expect(article(page, GATEWAY)).to_contain_text("Not known before a login")
    expect(figure).to_contain_text("not known")


def test_without_a_service_of_systemd_no_log_can_be_chosen(page: Page, dashboard: ScriptedDashboard) -> None:
    dashboard.change({"logs": dict.fromkeys(dashboard.document["logs"])})
    expect(page.get_by_label("Service")).to_have_count(0)
    expect(page.locator("#logs")).to_contain_text("the log is where the program was started")


def test_a_change_does_not_close_what_is_open_nor_move_the_focus(page: Page, dashboard: ScriptedDashboard) -> None:
    msft = article(page, "MSFT")
    summary = msft.get_by_text("Rules, quotes and decisions")
    summary.focus()
    page.keyboard.press("Enter")
    expect(msft.get_by_text("price 410.83")).to_be_visible()
    dashboard.change({"managers": {MANAGER: {"positions": {"DU***67 MSFT": {"price": 419.5}}}}})
    expect(msft).to_contain_text("419.50")
    expect(msft.get_by_text("price 410.83")).to_be_visible()
    expect(summary).to_be_focused()


def test_explain_orders_and_logs_are_read_when_asked_for(page: Page, tab: Tab, dashboard: ScriptedDashboard) -> None:
    orders = page.locator(f"#orders-{MANAGER}")
    orders.get_by_role("button", name="Explain the order of NVDA").first.click()
    expect(orders).to_contain_text("the target was reached")
    dashboard.answers.pop("explain")
    orders.get_by_role("button", name="Explain the order of NVDA").last.click()
    expect(orders).to_contain_text("There is no explain for")
    tab.errors.clear()
    page.get_by_label("Service").select_option(MANAGER)
    log = page.get_by_role("region", name="Lines of the log")
    expect(log.get_by_role("listitem").first).to_contain_text("ERROR the broker rejected an order")
    expect(log.get_by_role("listitem")).to_have_count(3)
    page.get_by_label("Warnings and errors only").check()
    expect(log.get_by_role("listitem")).to_have_count(2)


def picture() -> bytes:
    written = BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 40)).save(written, "PNG")
    return written.getvalue()


def test_the_screen_is_shown_on_a_click_and_closed_with_the_keyboard(page: Page, dashboard: ScriptedDashboard) -> None:
    dashboard.answers["screen"] = picture()
    button = page.get_by_role("button", name=f"Show the screen of {GATEWAY}")
    assert not [path for path in dashboard.asked if "screen" in path]
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Screen of {GATEWAY}")
    expect(dialog.get_by_role("img")).to_be_visible()
    pixel = dialog.locator("canvas").evaluate("canvas => [...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]")
    assert pixel[:3] == [200, 30, 40]
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()


def test_a_screen_that_cannot_be_taken_shows_why(page: Page, tab: Tab) -> None:
    page.get_by_role("button", name=f"Show the screen of {GATEWAY}").click()
    expect(page.get_by_role("dialog")).to_contain_text("There is no screen for")
    tab.errors.clear()


def test_a_screen_that_does_not_come_is_reported(tab: Tab, dashboard: ScriptedDashboard) -> None:
    dashboard.answers["screen"] = end = threading.Event()
    tab.page.clock.install()
    page = tab.open()
    page.get_by_role("button", name=f"Show the screen of {GATEWAY}").click()
    expect(page.get_by_role("dialog")).to_contain_text("Taking the picture")
    page.clock.fast_forward(31_000)
    expect(page.get_by_role("dialog")).to_contain_text("No picture came within 30 s")
    expect(page.get_by_role("button", name="Take again")).to_be_enabled()
    end.set()
    tab.errors.clear()


def test_a_lost_stream_is_plain_and_comes_back(page: Page, tab: Tab, dashboard: ScriptedDashboard) -> None:
    dashboard.cut()
    expect(page.get_by_role("alert")).to_contain_text("The connection to the dashboard is lost")
    expect(page.locator(".stream")).to_contain_text("Not live")
    expect(page).to_have_title(re.compile("^Not live"))
    expect(article(page, "MSFT")).to_contain_text("418.00")
    dashboard.document["managers"][MANAGER]["positions"]["DU***67 MSFT"]["price"] = 415.0
    dashboard.refuse_streams = False
    expect(article(page, "MSFT")).to_contain_text("415.00")
    expect(page.locator(".stream")).to_contain_text("Live")
    expect(page.get_by_role("alert")).to_have_text("")
    tab.errors.clear()


def test_silence_is_a_lost_stream(tab: Tab, dashboard: ScriptedDashboard) -> None:
    tab.page.clock.install()
    page = tab.open()
    dashboard.refuse_streams = True
    page.clock.fast_forward(24_000)
    expect(page.locator(".stream")).to_contain_text("Live")
    # What comes later starts the time again.
    dashboard.change({"managers": {MANAGER: {"positions": {"DU***67 MSFT": {"price": 417.0}}}}})
    expect(article(page, "MSFT")).to_contain_text("417.00")
    page.clock.fast_forward(24_000)
    expect(page.locator(".stream")).to_contain_text("Live")
    page.clock.fast_forward(2_000)
    expect(page.locator(".stream")).to_contain_text("Not live")
    tab.errors.clear()


def test_times_are_in_the_zone_of_the_switch(page: Page, dashboard: ScriptedDashboard) -> None:
    dashboard.change(
        {
            "gateways": {
                GATEWAY: {
                    "next_restart": {"at": ahead(hours=15), "kind": "daily_restart"},
                    "since": "2026-01-15T17:30:00+00:00",
                }
            }
        }
    )
    gateway = article(page, GATEWAY)
    expect(gateway).to_contain_text("since Thu 15 Jan, 18:30")
    page.get_by_role("button", name="Exchange time").click()
    expect(gateway).to_contain_text("since Thu 15 Jan, 12:30")
    page.reload()
    expect(gateway).to_contain_text("since Thu 15 Jan, 12:30")


def test_with_the_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the positions")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#positions"
    page.evaluate("window.scrollTo(0, 0); document.activeElement.blur(); location.hash = ''")
    wanted = page.locator("#app :is(button, summary, select, input, [tabindex='0']):visible")
    reached: set[str] = set()
    unseen: list[str] = []
    mark = """() => {
        const element = document.activeElement;
        element.dataset.reached = 'yes';
        const style = getComputedStyle(element);
        return [element.outerHTML.slice(0, 80), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
    }"""
    for _ in range(wanted.count() + 5):
        page.keyboard.press("Tab")
        name, visible = page.evaluate(mark)
        reached.add(name)
        if not visible and not name.startswith("<body"):
            unseen.append(name)
    assert unseen == []
    missed = page.locator("#app :is(button, summary, select, input, [tabindex='0']):visible:not([data-reached])")
    assert missed.count() == 0, missed.first.evaluate("element => element.outerHTML")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 320), ("dark", 320)])
def test_axe_finds_nothing(page: Page, dashboard: ScriptedDashboard, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    dashboard.change(closing())
    dashboard.change(
        {
            "managers": {MANAGER: {"phase": "LINK_LOST", "why": "IBKR is away"}},
            "gateways": {GATEWAY: {"state": "approval"}},
        }
    )
    expect(article(page, "MSFT").locator(".ladder")).to_be_visible()
    page.get_by_label("Service").select_option(MANAGER)
    expect(page.get_by_role("region", name="Lines of the log")).to_be_visible()
    page.locator(f"#orders-{MANAGER}").get_by_role("button", name="Explain").first.click()
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true; })")
    assert violations(page) == []


def test_axe_finds_nothing_while_the_stream_is_lost(page: Page, tab: Tab, dashboard: ScriptedDashboard) -> None:
    dashboard.cut()
    expect(page.get_by_role("alert")).to_contain_text("is lost")
    assert violations(page) == []
    tab.errors.clear()


def test_nothing_is_wider_than_a_phone(page: Page, dashboard: ScriptedDashboard) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    dashboard.change(closing())
    expect(article(page, "MSFT").locator(".ladder")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    wide = page.evaluate(
        """[...document.querySelectorAll('main *')].filter(element => {
            const box = element.getBoundingClientRect();
            return box.right > 321 && !element.closest('.scroll, .hidden, .days');
        }).map(element => element.outerHTML.slice(0, 100))"""
    )
    assert wide == []


def test_nothing_moves_where_motion_is_not_wanted(page: Page) -> None:
    duration = "getComputedStyle(document.querySelector('.needle')).transitionDuration"
    assert page.evaluate(duration) != "0s"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(duration) == "0s"


def test_the_page_does_not_jump_while_prices_change(page: Page, dashboard: ScriptedDashboard) -> None:
    page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver(list => list.getEntries().forEach(entry => { window.shifts += entry.value; }))
                .observe({ type: 'layout-shift', buffered: false });
        }"""
    )
    for price in (417.5, 1417.123, 9.1, 418.0):
        moved = {"price": price, "profit": (price - 421.35) * 100}
        dashboard.change({"managers": {MANAGER: {"positions": {"DU***67 MSFT": moved}}}})
        expect(article(page, "MSFT")).to_contain_text(f"{price:,.2f}"[:-1])
    assert page.evaluate("window.shifts") < 0.001


def test_the_first_paint_needs_few_small_files(page: Page, dashboard: ScriptedDashboard) -> None:
    expect(page.get_by_role("img", name=re.compile("Profit of the day"))).to_be_visible()
    files = {path for path in dashboard.asked if not path.startswith("/api/")}
    assert files == {"/", "/app.js", "/page.css", "/icon.svg"}
    assert [path for path in dashboard.asked if path.startswith("/api/")] == [
        "/api/events",
        f"/api/profit?manager={MANAGER}",
    ]
    assert sum((STATIC / f"{name}.gz").stat().st_size for name in ("index.html", "app.js", "page.css")) < 60_000
