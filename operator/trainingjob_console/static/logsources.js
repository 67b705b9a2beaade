// The list of a job's logs, and the choice of the one that the page's address refers to.
//
// A log belongs to one container of a rank in one attempt. It is live while its pod exists, and archived
// afterwards. The source `merged` combines the logs of all ranks.

import { bytes } from "./format.js";

const NAME = /^(?:live|archive):(\d+):(\d+):(.+)$/; // attempt, rank, container

export class LogSources {
  // `read()` resolves to {sources, message}.
  constructor(read) {
    this.read = read;
    this.list = [];
    this.message = null; // the reason why the list is empty
    this.asked = 0;
  }

  // Loads the list. A response that arrives after the response to a later request is ignored.
  async load() {
    this.asked += 1;
    const mine = this.asked;
    const { sources, message } = await this.read();
    if (mine !== this.asked) return;
    this.list = sources;
    this.message = message;
  }

  get someLive() { return this.list.some((each) => each.state === "live"); }

  isLive(source) {
    return source?.state === "live" || (source?.id === "merged" && this.someLive);
  }

  // The choices: [{id, label}].
  get options() {
    const named = this.list.map((each) => ({ id: each.id, label: labelOf(each, this.list) }));
    return named.length > 1 ? [{ id: "merged", label: "All ranks, merged" }, ...named] : named;
  }

  // Returns the source that the address refers to, or the closest match; null: there are no logs.
  wanted(search) {
    const id = search.get("source");
    if (!this.list.length) return null;
    if (id === "merged") return { id: "merged", state: null, firstError: null, cut: 0 };
    const exact = this.list.find((each) => each.id === id);
    if (exact) return exact;
    const [, attempt, rank, container] = NAME.exec(id ?? "") ?? [];
    const number = Number(search.get("rank") ?? rank ?? 0);
    const ofRank = this.list.filter((each) => each.rank === number && (container === undefined || each.container === container));
    const ofAttempt = ofRank.filter((each) => attempt === undefined || each.attempt === Number(attempt));
    const fits = [ofAttempt, ofRank, this.list].find((each) => each.length);
    const newest = fits.toSorted((a, b) => b.attempt - a.attempt || (a.state === "live" ? -1 : 1) - (b.state === "live" ? -1 : 1));
    return newest.find((each) => each.container === "main" || each.container === newest[0].container) ?? newest[0];
  }

  // Returns the live log of the same container and rank in a later attempt.
  newerThan({ rank, attempt, container }) {
    return this.list.find((each) => each.state === "live" && each.rank === rank && each.container === container && each.attempt > attempt);
  }

  // Returns the archive of a log that was live.
  archiveOf({ rank, attempt, container }) {
    return this.list.find((each) => each.state === "archived" && each.rank === rank && each.attempt === attempt && each.container === container);
  }
}

// Returns the offset in the address, and whether it is an offset of the live log while the source is its archive.
export function placeOf(search, source) {
  return { at: atOf(search), wasLive: source?.state === "archived" && Boolean(search.get("source")?.startsWith("live:")) };
}

export function atOf(search) {
  const at = search.get("at");
  return at !== null && /^\d+$/.test(at) ? Number(at) : null;
}

function labelOf({ rank, attempt, container, state, bytes: size }, all) {
  const attempts = new Set(all.map((each) => each.attempt)).size > 1;
  return [`Rank ${rank}`, attempts && `attempt ${attempt + 1}`, container !== "main" && container, state === "live" && "live", size && bytes(size)].filter(Boolean).join(" · ");
}
