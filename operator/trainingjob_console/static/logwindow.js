// The window of a log that the page holds: contiguous chunks of at most 256 KiB.
//
// It holds at most 16 chunks (4 MiB) and 500,000 lines. Beyond that, chunks at the other end are dropped, and
// loaded again when the user scrolls there. Positions are byte offsets, so a log of any size needs no index.
// A line is a string, or {gap: text} where the server skipped lines.
//
// A node rotates long logs and serves only the newest file. Offsets then count from the start of that file, and
// the older file can no longer be loaded. The server names the file of each response. If it cannot, a log that is
// much shorter than before is taken for a new file.

const CHUNK = 262_144;
const MOST_CHUNKS = 16;
const MOST_LINES = 500_000;

const SHORTER = 65_536; // a log that is shorter than before by this many bytes is a new file

const LONG_LINE = 65_536; // the length kept of a line that arrives in pieces; the rest is only counted
const MORE = / … (\d+) bytes more: download$/; // the server's note at the end of a truncated line

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class LogWindow {
  // `read(offset, limit)` resolves to {file, offset, next, size, growing, text}; `changed({above})` is called after each
  // change with the number of lines added (negative: removed) above the present ones; `rotated()` is called when
  // the window has switched to a new file.
  constructor(read, changed, rotated) {
    this.read = read;
    this.changed = changed;
    this.rotated = rotated;
    this.chunks = [];
    this.size = 0;
    this.file = ""; // the file that offsets refer to, if known
    this.fileRequested = false; // the file's name has been requested
    this.growing = false;
    this.base = 0; // the key of the first line, adjusted when lines above are removed or added
    this.busy = false;
    this.floor = 0; // the first byte that can be loaded
    this.onlyLive = false; // a log without offsets, of which nothing can be loaded again
  }

  get start() { return this.chunks[0]?.offset ?? 0; }
  get end() { return this.chunks.at(-1)?.next ?? 0; }
  get count() { return this.chunks.reduce((sum, chunk) => sum + chunk.lines.length, 0); }
  get atEnd() { return this.end >= this.size; }

  // Discards all chunks, and loads the one at this offset (negative: relative to the end).
  async jump(offset) {
    if (this.onlyLive) return;
    const { answer, isNew } = await this.ask(offset, CHUNK);
    this.chunks = [chunkOf(answer)];
    this.base = 0;
    this.floor = 0;
    if (isNew) this.resetFile();
    this.update(answer);
    this.changed({ above: 0, anew: true });
    if (isNew) this.rotated();
    return true;
  }

  // Forgets the size and the file, because the log was rotated.
  resetFile() {
    this.size = 0;
    this.file = "";
  }

  // Resolves to the response, and whether it is of a new file.
  async ask(offset, limit) {
    const { size: before, file } = this;
    const answer = await this.read(offset, limit);
    const isOther = Boolean(answer.file && file && answer.file !== file);
    return { answer, isNew: isOther || Math.max(answer.size ?? before, answer.next) + SHORTER < before };
  }

  // Requests the name of the file once; it is not known before the log has a line.
  async loadFileName() {
    if (this.file || this.fileRequested || this.onlyLive) return;
    this.fileRequested = true;
    const { file } = await this.read(0, 1);
    this.file ||= file ?? "";
  }

  async moreBelow() {
    if (this.onlyLive || this.busy || this.atEnd || !this.chunks.length) return;
    await this.exclusively(async () => {
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
      this.update(answer);
      this.changed({ above: -this.trimAbove() });
    });
  }

  async moreAbove() {
    if (this.onlyLive || this.busy || this.start <= this.floor || !this.chunks.length) return;
    await this.exclusively(async () => {
      const from = Math.max(0, this.start - CHUNK);
      const { answer, isNew } = await this.ask(from, this.start - from);
      if (isNew || answer.next !== this.start || answer.offset >= this.start) {
        this.floor = this.start; // earlier bytes are no longer available
        return;
      }
      const chunk = chunkOf(answer);
      this.chunks.unshift(chunk);
      this.base -= chunk.lines.length;
      this.size = Math.max(this.size, answer.size ?? 0);
      while (this.isOverLimit()) this.chunks.pop();
      this.changed({ above: chunk.lines.length });
    });
  }

  // Appends text from the socket, without the part that is already here. Returns false if bytes in between are
  // missing: then only the size is updated, and the text is loaded when it is needed.
  append({ offset, next, text }) {
    this.extendTo(next);
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

  extendTo(size) {
    this.growing = true;
    this.size = Math.max(this.size, size);
  }

  // Appends a line that marks a gap, in a log whose missing part cannot be loaded.
  gap({ from, to, lines }) {
    const missing = lines ? `${lines} lines were` : "A part was";
    this.chunks.push({ offset: from, next: to, lines: [{ gap: `${missing} skipped: the ranks wrote faster than the console could send. Each rank's own log has them` }], open: false });
    this.extendTo(to);
    this.changed({ above: -this.trimAbove() });
  }

  line(index) {
    for (const chunk of this.chunks) {
      if (index < chunk.lines.length) return chunk.lines[index];
      index -= chunk.lines.length;
    }
    return "";
  }

  // Returns the byte offset of a line; in a chunk with truncated lines it is slightly too low.
  offsetOf(index) {
    for (const chunk of this.chunks) {
      if (index < chunk.lines.length) {
        return chunk.lines.slice(0, index).reduce((sum, line) => sum + sizeOf(line), chunk.offset);
      }
      index -= chunk.lines.length;
    }
    return this.end;
  }

  // Returns the index of the line that contains this byte; null if it is not in the window.
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

  // Updates size and file. The response may be older than what the socket has sent since the request.
  update({ file, size, growing, next }) {
    this.file = file || this.file;
    this.size = Math.max(this.size, size ?? 0, next);
    this.growing = Boolean(growing);
  }

  isOverLimit() {
    return this.chunks.length > 1 && (this.chunks.length > MOST_CHUNKS || this.count > MOST_LINES);
  }

  trimAbove() {
    let removed = 0;
    while (this.isOverLimit()) removed += this.chunks.shift().lines.length;
    this.base += removed;
    return removed;
  }

  async exclusively(work) {
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
  const open = lines.at(-1) !== ""; // its last line is incomplete
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
