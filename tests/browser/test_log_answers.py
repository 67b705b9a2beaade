"""The log viewer with late or reordered responses."""

from tests.support.console.browser import Tab

MODULE = """
const module = (name) => import(new URL(name, document.querySelector('script[type=module]').src));
"""

OVERTAKEN = (
    MODULE
    + """
const { LogSources } = await module('logsources.js');
const answers = [];
const sources = new LogSources(() => new Promise((answer) => answers.push(answer)));
const loads = [sources.load(), sources.load()];
answers[1]({ sources: ['newer'], message: null });
await loads[1];
answers[0]({ sources: ['older'], message: null });
await loads[0];
return sources.list;
"""
)

BESIDE = (
    MODULE
    + """
const { LogWindow } = await module('logwindow.js');
const { logPane } = await module('logpane.js');
let above;
const held = new Promise((go) => { above = go; });
async function read(offset, limit) {
  if (limit === 50000) await held;
  return { file: '', offset, next: offset + 1000, size: 100000, growing: false, text: ('x'.repeat(99) + '\\n').repeat(10) };
}
const log = new LogWindow(read, () => {}, () => {});
const no = () => false;
const pane = logPane(log, { isLive: no, isCut: no, isMerged: no, linkTo: no, changed: no, followed: no });
await log.jump(50000);
const loading = log.moreAbove();
const going = pane.goTo(80000);
setTimeout(above, 100);
await Promise.all([loading, going]);
return log.offsetOf(pane.target);
"""
)


def test_an_older_list_of_logs_does_not_replace_a_newer_one(tab: Tab) -> None:
    assert tab.open("/").evaluate(f"async () => {{{OVERTAKEN}}}") == ["newer"]


def test_a_jump_during_a_load_of_earlier_lines_reaches_its_offset(tab: Tab) -> None:
    found = tab.open("/").evaluate(f"async () => {{{BESIDE}}}")
    assert found <= 80_000 < found + 100
