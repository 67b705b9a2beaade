// The waits between tries of one thing that does not work: 1 s, doubled each time up to 30 s. Each is
// shortened by chance, down to half, so that all tabs of a console do not come at once.
//
//   const waits = backoff();
//   setTimeout(tryAgain, waits.next());

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;
const LONG_AGO_MS = 60_000; // since the last try: what fails then is another failure, and begins at 1 s

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
