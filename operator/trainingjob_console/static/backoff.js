// Exponential back-off with jitter: 1 s, doubled on each failure up to 30 s. Each delay is shortened randomly, at
// most by half, so that not all tabs of a console retry at once.
//
//   const waits = backoff();
//   setTimeout(tryAgain, waits.next());

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;
const LONG_AGO_MS = 60_000; // a failure this long after the last try is a new one, and starts at 1 s again

export function backoff() {
  let longest = FIRST_MS;
  let tried = 0;
  return {
    next() {
      if (Date.now() - tried > LONG_AGO_MS) longest = FIRST_MS;
      const wait = longest * (0.5 + Math.random() / 2);
      longest = Math.min(LONGEST_MS, longest * 2);
      tried = Date.now() + wait;
      return wait;
    },
    worked() {
      longest = FIRST_MS;
    },
  };
}
