"""Accessibility of every page: names, focus order and contrast, in each theme and window size."""

import re
import sys
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.console.browser import Tab, new_tab
from tests.support.console.laptop import Laptop
from tests.support.repository import ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
FOR_EVER = "echo begun; exec sleep 1000"
Theme = Literal["light", "dark"]
WINDOWS: tuple[tuple[Theme, int], ...] = (("light", 1280), ("dark", 1280), ("light", 390))
LEAST_CONTRAST = 4.5
"""Minimum contrast of text on its background: WCAG 2.2, level AA."""

NAMELESS = """() => [...document.querySelectorAll("a[href], button, input, select, textarea, table, [role]")]
    .filter((each) => each.checkVisibility() && !each.closest("[aria-hidden=true]"))
    .filter((each) => !["status", "alert", "search"].includes(each.getAttribute("role")))
    .filter((each) => !(each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
        || each.textContent.trim() || each.labels?.length))
    .map((each) => each.outerHTML.slice(0, 200))"""
DISORDER = """() => [
    document.querySelectorAll("h1").length === 1 ? "" : "not one h1",
    document.querySelectorAll("main").length === 1 ? "" : "not one main",
    document.querySelector("[tabindex]:not([tabindex='0']):not([tabindex='-1'])") ? "tabindex" : "",
    document.querySelector("th:not([scope])") ? "th without scope" : "",
    document.documentElement.lang === "en" ? "" : "no language",
    document.querySelector("#connection [role=status][aria-live=polite]") ? "" : "the connection is not said",
    [...document.querySelectorAll("h1, h2, h3")].some((each, i, all) =>
        i > 0 && each.tagName[1] - all[i - 1].tagName[1] > 1) ? "a level of headings is left out" : "",
].filter(Boolean)"""
WITHOUT_A_NAME = re.compile(
    r"^ *- '?(?:button|checkbox|combobox|dialog|link|meter|searchbox|slider|table|textbox)(?! \").*$",
    re.MULTILINE,
)
"""Elements without an accessible name, in Playwright's tree of roles."""

STYLES = ROOT / "operator" / "trainingjob_console" / "static" / "app.css"
COLOUR = re.compile(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)")
TEXTS = ("ink", "ink-soft", "accent", "green", "red", "amber", "violet")
GROUNDS = ("ground", "paper", "raised", "log-ground", "accent-paper", "red-paper", "amber-paper")
CONTRASTS = """() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const painted = (colours) => {  // one over the other, as the browser would
        context.clearRect(0, 0, 1, 1);
        for (const colour of colours) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (colour) => colour.map((part) => part / 255)
        .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const grounds = (node) => {
        const found = [];
        for (let each = node; each; each = each.parentElement) found.unshift(getComputedStyle(each).backgroundColor);
        return found;
    };
    const opacity = (node) => {
        let share = 1;
        for (let each = node; each; each = each.parentElement) share *= Number(getComputedStyle(each).opacity);
        return share;
    };
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest("button:disabled, script, style")) continue;
        const style = getComputedStyle(node);
        const behind = grounds(node);
        const ground = painted(behind);
        const text = painted([...behind, style.fill && node.closest("svg") ? style.fill : style.color]);
        const share = opacity(node);
        const mixed = text.map((part, i) => part * share + ground[i] * (1 - share));
        const [high, low] = [light(mixed), light(ground)].sort((a, b) => b - a);
        const ratio = (high + 0.05) / (low + 0.05);
        const key = `${node.tagName.toLowerCase()}.${node.className.baseVal ?? node.className}`;
        if (!(found.get(key)?.[0] <= ratio)) found.set(key, [ratio, walker.currentNode.data.trim().slice(0, 40)]);
    }
    return [...found].map(([key, [ratio, text]]) => [ratio, key, text]).sort((a, b) => a[0] - b[0]);
}"""


def test_every_page_is_accessible_in_each_theme_and_window_and_complies_with_the_csp(
    browser: Browser, laptop: Laptop
) -> None:
    job = laptop.apply(FOR_EVER, prefix="seen", nodes=2)
    laptop.wait_for(job["metadata"]["name"], "Running")
    pages = pages_of(job)
    lowest = []
    for theme, width in WINDOWS:
        with new_tab(browser, laptop.url, theme=theme, width=width) as tab:
            for name, (path, sign) in pages.items():
                page = tab.open(path)
                expect(page.get_by_text(sign).first).to_be_visible()
                assert page.evaluate(NAMELESS) == [], name
                assert page.evaluate(DISORDER) == [], name
                assert WITHOUT_A_NAME.findall(page.locator("body").aria_snapshot()) == [], name
                contrasts = page.evaluate(CONTRASTS)
                assert [each for each in contrasts if each[0] < LEAST_CONTRAST] == [], name
                lowest.append((contrasts[0], name, theme))
                width_of_page = page.evaluate("document.documentElement.scrollWidth")
                assert width_of_page <= width, f"{name} is wider than its window"
                tab.picture(f"{name}-{theme}-{width}")
            assert tab.complaints == []
    print(f"the lowest contrast of text: {min(lowest)}")  # noqa: T201


def test_every_text_colour_has_enough_contrast_on_every_background_in_both_themes() -> None:
    colours = {name: pair for name, *pair in COLOUR.findall(STYLES.read_text())}
    too_low = [
        (text, ground, theme, round(ratio, 2))
        for text in TEXTS
        for ground in GROUNDS
        for theme, place in (("light", 0), ("dark", 1))
        if (ratio := contrast(colours[text][place], colours[ground][place])) < LEAST_CONTRAST
    ]
    assert too_low == []


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours like #0b62c4, by WCAG's formula."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, 0 to 1."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def pages_of(job: dict[str, Any]) -> dict[str, tuple[str, str | re.Pattern[str]]]:
    """Return each page of the console: its path, and a text that it shows once loaded."""
    name = job["metadata"]["name"]
    return {
        "jobs": ("/jobs", name),
        "job": (f"/jobs/default/{name}", "Timeline"),
        "logs": (f"/jobs/default/{name}/logs", "begun"),
        "manifest": (f"/jobs/default/{name}/manifest", "kind: TrainingJob"),
        "housekeeping": ("/housekeeping", "Operators"),
        "about": ("/about", "Versions"),
        "nowhere": ("/no/such/page", "Page not found"),
    }


def test_the_retention_page_shows_the_figures_of_the_running_operator(
    tab: Tab, laptop: Laptop
) -> None:
    laptop.wait_for(laptop.apply(FOR_EVER, prefix="counted")["metadata"]["name"], "Running")
    page = tab.open("/housekeeping")
    jobs = page.get_by_role("figure").filter(has_text="Jobs in memory").get_by_role("img")
    expect(jobs).to_have_attribute("aria-label", re.compile(r"now [1-9]\d*, .*limit 20,000"))
    memory = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Memory used"))
    expect(memory.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"now \d+(\.\d)? [KMG]iB")
    )
    operators = page.get_by_role("table", name="Operators")
    expect(operators.get_by_role("row").filter(has_text="leader")).to_have_count(1)
    expect(page.get_by_text("No operator has been seen yet.")).to_have_count(0)


def test_the_about_page_shows_versions_and_the_usage_of_each_limit(
    tab: Tab, laptop: Laptop
) -> None:
    page = tab.open("/about")
    limits = page.get_by_role("table", name="Limits")
    expect(limits.get_by_role("row").filter(has_text="20,000")).to_have_count(1)
    expect(limits.get_by_role("meter").first).to_be_visible()
    names = limits.locator("tbody td:first-child").all_text_contents()
    assert [
        name for name in names if not name[0].isupper()
    ] == []  # the page has no label for a lower-case one
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"Console\s*\d+\.\d+\.\d+"))
    expect(page.get_by_text("No known problems.")).to_be_visible()


FOCUSED = "() => (document.activeElement.ariaLabel || document.activeElement.textContent).trim()"
FIRST_STOPS = [
    *("Skip to content", "trainingjob", "Jobs", "Housekeeping", "About"),
    *(
        "Theme: system. Change to light.",
        "Help: keyboard shortcuts",
        "Search in names",
        "Namespace",
    ),
]


def test_the_tab_key_follows_the_reading_order(tab: Tab) -> None:
    page = tab.open("/jobs")
    expect(page.get_by_role("searchbox", name="Search in names")).to_be_visible()
    stops = []
    for _ in FIRST_STOPS:
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUSED).removesuffix("All namespaces") or "Namespace")
    assert [stop.split("All")[0] or "Namespace" for stop in stops] == FIRST_STOPS


def test_a_log_can_be_opened_and_left_without_a_mouse(tab: Tab, laptop: Laptop) -> None:
    """With Tab and Enter alone, without shortcuts."""
    name = laptop.apply(FOR_EVER, prefix="keys")["metadata"]["name"]
    laptop.wait_for(name, "Running")
    page = tab.open("/jobs?text=keys")
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    tab_to(page, name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=name, level=1)).to_be_visible()
    expect(page.get_by_role("table", name="Ranks").get_by_role("row")).to_have_count(2)
    tab_to(page, "Logs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("log")).to_contain_text("begun")
    tab_to(page, "Log: Rank 0 · live")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search in the log")).to_be_focused()
    page.keyboard.type("begun")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 hit", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.get_by_role("searchbox", name="Search in names")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element of this name has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUSED) == name:
            return
    raise AssertionError(f"the tabulator does not come to {name}")
