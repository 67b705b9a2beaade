"""Takes screenshots of a console in use; three of them are for the README.

`make pictures` (`TRAININGJOB_PICTURES=1`) puts those into docs/images.
"""

import asyncio
import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.builders import make_job
from tests.support.console.browser import SCREENSHOTS, Tab, new_tab
from tests.support.console.laptop import Laptop, running_laptop, speak
from tests.support.repository import ROOT
from trainingjob_sandbox.client import ApiClient

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pods as processes are for Linux: no namespaces here"
)
IMAGES = (
    ROOT / "docs" / "images" if os.environ.get("TRAININGJOB_PICTURES") else SCREENSHOTS / "readme"
)
MOST_BYTES = 80_000
PATIENCE_S = 90.0
TEAMS = ("vision", "language", "speech")
BEGINS = r"printf 'rank %s of %s, seed 1729\n' $RANK $WORLD_SIZE; "
STEPS = (
    "i=0; while [ $i -lt COUNT ]; do i=$((i+1)); awk -v i=$i 'BEGIN { srand(i); "
    r'printf "step %6d  loss \033[36m%.4f\033[0m  lr %.2e  %d samples/s\n", i * 50, '
    "5.2 * exp(-i / 40) + 1.31 + rand() / 20, 3e-4 * (i < 20 ? i / 20 : 1), 1840 + 90 * rand() }'; "
    "sleep PAUSE; done"
)


def steps(count: int, pause: float) -> str:
    """Return a script that logs training steps."""
    return BEGINS + STEPS.replace("COUNT", str(count)).replace("PAUSE", str(pause))


BREAKS = (
    steps(40, 0.05)
    + r"; printf '\033[31mERROR\033[0m CUDA out of memory: tried to allocate 2.50 GiB\n'; exit 1"
)
ENDS = steps(40, 0.05) + "; echo 'saved checkpoint-2000'"
GOES_ON = steps(5000, 0.5)
MIXED = """() => {
    const last = [...document.querySelectorAll(".line .rank")].slice(-20).map((each) => each.textContent);
    return ["0", "1", "2", "3"].every((rank) => last.filter((each) => each === rank).length > 3);
}"""


@pytest.fixture(scope="module")
def busy_cluster(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """Run a cluster with jobs of three teams, running and finished."""
    folder = tmp_path_factory.mktemp("busy_cluster")
    with running_laptop(folder, namespaces=",".join(TEAMS), GC__INTERVAL="20") as laptop:
        speak(laptop.node.kubeconfig, submit)
        yield laptop


async def submit(client: ApiClient) -> dict[str, Any]:
    """Submit all jobs, and wait for their phases."""
    for team in TEAMS:
        core = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team}}
        await client.create("/api/v1/namespaces", core)
    for name in ("tokenizer-fit", "glue-eval-base"):
        await create(client, "language", name, ENDS)
    for rate in ("1e-4", "3e-4", "1e-3"):
        await create(client, "vision", f"yolo-sweep-lr{rate}", ENDS, nodes=2)
    await create(client, "speech", "whisper-small-sft", BREAKS, nodes=2, backoff_limit=1)
    await create(client, "speech", "wav2vec2-align", GOES_ON, nodes=2, suspend=True)
    for name in ("tokenizer-fit", "yolo-sweep-lr1e-4"):
        team = "vision" if "yolo" in name else "language"
        await phase(client, team, name, "Succeeded")
        await client.delete(f"{path_of(team)}/{name}")
    await phase(client, "speech", "whisper-small-sft", "Failed")
    await create(client, "vision", "resnet50-imagenet", GOES_ON, nodes=4)
    await create(client, "language", "llama-8b-sft", GOES_ON, nodes=4)
    await phase(client, "vision", "resnet50-imagenet", "Running")
    return await phase(client, "language", "llama-8b-sft", "Running")


def path_of(team: str) -> str:
    """Return the API path of a team's jobs."""
    return f"/apis/trainingjob.dev/v1alpha1/namespaces/{team}/trainingjobs"


async def create(
    client: ApiClient, team: str, name: str, script: str, *, nodes: int = 1, **spec: Any
) -> None:
    """Submit a job whose ranks run a script."""
    command = ["sh", "-c", script]
    job = make_job(name, namespace=team, nodes=nodes, framework="Torch", command=command, **spec)
    job["metadata"]["labels"] = {"team": team}
    await client.create(path_of(team), job)


async def phase(client: ApiClient, team: str, name: str, wanted: str) -> dict[str, Any]:
    """Wait until the job is in this phase; return it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            job = await client.get(f"{path_of(team)}/{name}")
            if job.get("status", {}).get("phase") == wanted:
                return job
            await asyncio.sleep(0.1)


def test_screenshots_of_a_console_in_use(browser: Browser, busy_cluster: Laptop) -> None:
    with new_tab(browser, busy_cluster.url, width=1200, height=760) as tab:
        page = tab.open("/housekeeping")
        runs = page.get_by_role("table", name="Runs of the housekeeping")
        expect(runs.get_by_role("row").nth(4)).to_be_visible(timeout=240_000)
        scroll_up(page)
        save(tab, "housekeeping")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        tab.picture("used-runs-light-1200")
        expect(tab.open("/about").get_by_role("table", name="Limits")).to_be_visible()
        tab.picture("used-about-light-1200")
    with new_tab(browser, busy_cluster.url, width=1200, height=700) as tab:
        page = tab.open("/jobs")
        expect(page.locator("a.job-name")).to_have_count(9)
        save(tab, "jobs")
        page = tab.open("/jobs/speech/whisper-small-sft")
        expect(page.get_by_role("main")).to_contain_text("Failed")
        tab.picture("used-failed-light-1200")
    with new_tab(browser, busy_cluster.url, theme="dark", width=1200, height=700) as tab:
        page = tab.open("/jobs/vision/resnet50-imagenet/logs?source=merged")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.wait_for_function(MIXED)  # before that, the last lines of each rank are in one block
        save(tab, "logs")
        page = tab.open("/jobs")
        expect(page.locator("a.job-name")).to_have_count(9)
        tab.picture("used-jobs-dark-1200")
        page = tab.open("/jobs/vision/resnet50-imagenet")
        expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
        tab.picture("used-job-dark-1200")
    with new_tab(browser, busy_cluster.url, width=390, height=844) as tab:
        for name, (path, sign) in narrow_pages().items():
            expect(tab.open(path).get_by_text(sign).first).to_be_visible()
            tab.picture(f"used-{name}-light-390")


def narrow_pages() -> dict[str, tuple[str, str]]:
    """Take screenshots of pages in a window of a phone's size."""
    return {
        "jobs": ("/jobs", "resnet50-imagenet"),
        "job": ("/jobs/vision/resnet50-imagenet", "Timeline"),
        "logs": ("/jobs/vision/resnet50-imagenet/logs", "samples/s"),
        "housekeeping": ("/housekeeping", "Operators"),
        "about": ("/about", "Versions"),
    }


def scroll_up(page: Page) -> None:
    """Scroll to the top of the page."""
    page.evaluate("scrollTo(0, 0)")


def save(tab: Tab, name: str) -> None:
    """Save a screenshot for the README, compressed as WebP."""
    session = tab.page.context.new_cdp_session(tab.page)
    shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": 82})
    picture = base64.b64decode(shot["data"])
    assert len(picture) < MOST_BYTES, f"{name}: {len(picture)} bytes"
    IMAGES.mkdir(parents=True, exist_ok=True)
    path: Path = IMAGES / f"{name}.webp"
    path.write_bytes(picture)
    tab.picture(f"used-{name}")
    print(f"{path.relative_to(ROOT)}: {len(picture)} bytes")  # noqa: T201
