// Exponential back-off with jitter: 1 s, doubled on each failure up to 30 s. Each delay is shortened randomly, at
// most by half, so that not all tabs of a console retry at once.
//
//   const waits = backoff();
//   setTimeout(tryAgain, waits.next());

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;
const LONG_AGO_MS = 60_000; // a failure this long after the last try is a new one, and starts at 1 s again

export function backoff() {
  let delay = FIRST_MS;
  let lastTry = 0;
  return {
    next() {
      if (Date.now() - lastTry > LONG_AGO_MS) delay = FIRST_MS;
      const wait = delay * (0.5 + Math.random() / 2);
      delay = Math.min(LONGEST_MS, delay * 2);
      lastTry = Date.now() + wait;
      return wait;
    },
    worked() {
      delay = FIRST_MS;
    },
  };
}
