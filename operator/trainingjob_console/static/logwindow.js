// The part of a log that the page has: chunks of at most 256 KiB, one after the other without a hole.
//
// It keeps 16 chunks (4 MiB) and 500,000 lines at most. Where it grows beyond that, chunks fall out at
// the other end, and are asked for again when they are scrolled to. Places are bytes of the log, so a
// log of any size needs no index. A line is a string, or {gap: text} where the server left lines out.
//
// A node begins a new file when a log becomes long, and has only that one then: places count from its
// beginning, and what is here of the older one cannot be asked for any more. The server names the file
// that an answer is of; where it cannot, a log that is much shorter than it was is of a new one.

const CHUNK = 262_144;
const MOST_CHUNKS = 16;
const MOST_LINES = 500_000;

const SHORTER = 65_536; // bytes by which a log is shorter than it was if its file is a new one

const LONG_LINE = 65_536; // of a line that comes in pieces no more is kept; the rest is only counted
const MORE = / … (\d+) bytes more: download$/; // the server's words for the same

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class LogWindow {
  // `read(offset, limit)` resolves to {file, offset, next, size, growing, text}; `changed({above})` is called
  // after each change with the number of lines that came (or, below zero, went) above what was there;
  // `rotated()` once what is here is of a new file.
  constructor(read, changed, rotated) {
    this.read = read;
    this.changed = changed;
    this.rotated = rotated;
    this.chunks = [];
    this.size = 0;
    this.file = ""; // that places are of, as far as it is known
    this.asked = false; // for it alone
    this.growing = false;
    this.base = 0; // the key of the first line; it grows and shrinks with what goes and comes above
    this.busy = false;
    this.floor = 0; // the first byte that can be had
    this.onlyLive = false; // it has no places that could be asked for: what has fallen out is gone
  }

  get start() { return this.chunks[0]?.offset ?? 0; }
  get end() { return this.chunks.at(-1)?.next ?? 0; }
  get count() { return this.chunks.reduce((sum, chunk) => sum + chunk.lines.length, 0); }
  get atEnd() { return this.end >= this.size; }

  // Forgets what it has, and loads the chunk at this place (below 0: so far before the end).
  async jump(offset) {
    if (this.onlyLive) return;
    const { answer, isNew } = await this.ask(offset, CHUNK);
    this.chunks = [chunkOf(answer)];
    this.base = 0;
    this.floor = 0;
    if (isNew) this.forget();
    this.told(answer);
    this.changed({ above: 0, anew: true });
    if (isNew) this.rotated();
    return true;
  }

  // Forgets how long it was, and of which file: it is of a new one by now.
  forget() {
    this.size = 0;
    this.file = "";
  }

  // Resolves to the answer, and whether it is of a new file.
  async ask(offset, limit) {
    const { size: before, file } = this;
    const answer = await this.read(offset, limit);
    const isOther = Boolean(answer.file && file && answer.file !== file);
    return { answer, isNew: isOther || Math.max(answer.size ?? before, answer.next) + SHORTER < before };
  }

  // Asks once of which file it is: that is not known before the log has a line.
  async learnFile() {
    if (this.file || this.asked || this.onlyLive) return;
    this.asked = true;
    const { file } = await this.read(0, 1);
    this.file ||= file ?? "";
  }

  async moreBelow() {
    if (this.onlyLive || this.busy || this.atEnd || !this.chunks.length) return;
    await this.alone(async () => {
      const { answer, isNew } = await this.ask(this.end, CHUNK);
      if (isNew) {
        await this.jump(-CHUNK);
        return;
      }
      if (answer.next <= this.end) {
        this.size = Math.min(this.size, this.end);
        return;
      }
      this.chunks.push(chunkOf(answer));
      this.told(answer);
      this.changed({ above: -this.trimAbove() });
    });
  }

  async moreAbove() {
    if (this.onlyLive || this.busy || this.start <= this.floor || !this.chunks.length) return;
    await this.alone(async () => {
      const from = Math.max(0, this.start - CHUNK);
      const { answer, isNew } = await this.ask(from, this.start - from);
      if (isNew || answer.next !== this.start || answer.offset >= this.start) {
        this.floor = this.start; // what is before it is not kept any more
        return;
      }
      const chunk = chunkOf(answer);
      this.chunks.unshift(chunk);
      this.base -= chunk.lines.length;
      this.size = Math.max(this.size, answer.size ?? 0);
      while (this.tooMuch()) this.chunks.pop();
      this.changed({ above: chunk.lines.length });
    });
  }

  // Takes what a live log has sent; what it has already is left out. False if what is between is not
  // here: then the log is only known to be longer, and the rest is loaded when it is wanted.
  append({ offset, next, text }) {
    this.grown(next);
    if (next <= this.end && this.chunks.length) return true;
    if (this.chunks.length && offset > this.end) return false;
    if (this.chunks.length && offset < this.end) {
      text = decoder.decode(encoder.encode(text).subarray(this.end - offset));
      offset = this.end;
    }
    const last = this.chunks.at(-1);
    const more = chunkOf({ offset, next, text });
    if (!last) this.chunks.push(more);
    else if (last.open || next - last.offset <= CHUNK) join(last, more);
    else this.chunks.push(more);
    this.changed({ above: -this.trimAbove() });
    return true;
  }

  grown(size) {
    this.growing = true;
    this.size = Math.max(this.size, size);
  }

  // A line that says what is missing, in a log that cannot be asked for it.
  gap({ from, to, lines }) {
    const missing = lines ? `${lines} lines were` : "A part was";
    this.chunks.push({ offset: from, next: to, lines: [{ gap: `${missing} left out: the ranks wrote faster than could be sent. Each rank's own log has them` }], open: false });
    this.grown(to);
    this.changed({ above: -this.trimAbove() });
  }

  line(index) {
    for (const chunk of this.chunks) {
      if (index < chunk.lines.length) return chunk.lines[index];
      index -= chunk.lines.length;
    }
    return "";
  }

  // The byte at which a line begins; in a chunk with cut lines it is a little before that.
  offsetOf(index) {
    for (const chunk of this.chunks) {
      if (index < chunk.lines.length) {
        return chunk.lines.slice(0, index).reduce((sum, line) => sum + sizeOf(line), chunk.offset);
      }
      index -= chunk.lines.length;
    }
    return this.end;
  }

  // The line that has this byte; null if it is not here.
  indexAt(offset) {
    let before = 0;
    for (const chunk of this.chunks) {
      if (offset >= chunk.offset && offset < chunk.next) {
        let at = chunk.offset;
        for (let i = 0; i < chunk.lines.length; i += 1) {
          at += sizeOf(chunk.lines[i]);
          if (offset < at) return before + i;
        }
        return before + chunk.lines.length - 1;
      }
      before += chunk.lines.length;
    }
    return null;
  }

  // An answer may be older than what the socket has sent since it was asked for.
  told({ file, size, growing, next }) {
    this.file = file || this.file;
    this.size = Math.max(this.size, size ?? 0, next);
    this.growing = Boolean(growing);
  }

  tooMuch() {
    return this.chunks.length > 1 && (this.chunks.length > MOST_CHUNKS || this.count > MOST_LINES);
  }

  trimAbove() {
    let gone = 0;
    while (this.tooMuch()) gone += this.chunks.shift().lines.length;
    this.base += gone;
    return gone;
  }

  async alone(work) {
    this.busy = true;
    try {
      await work();
    } finally {
      this.busy = false;
    }
  }
}

function chunkOf({ offset, next, text }) {
  const lines = text.split("\n");
  const open = lines.at(-1) !== ""; // the rest of its last line is still to come
  if (!open) lines.pop();
  return { offset, next, lines, open };
}

function join(chunk, more) {
  if (chunk.open && more.lines.length) {
    const at = chunk.lines.length - 1;
    chunk.lines[at] = longer(chunk.lines[at], more.lines.shift());
  }
  for (const line of more.lines) chunk.lines.push(line);
  chunk.next = more.next;
  chunk.open = more.open;
}

function longer(line, rest) {
  const more = MORE.exec(line);
  if (!more && line.length + rest.length <= LONG_LINE) return line + rest;
  const left = (more ? Number(more[1]) : 0) + encoder.encode(rest).length;
  return `${more ? line.slice(0, more.index) : line} … ${left} bytes more: download`;
}

function sizeOf(line) {
  if (typeof line !== "string") return 0;
  const more = line.length > 16_000 ? MORE.exec(line) : null;
  const shown = more ? line.slice(0, more.index) : line;
  return encoder.encode(shown).length + (more ? Number(more[1]) : 0) + 1;
}
