// @ts-check
// What time it is for the platform: whoever plays may have it pass (`devstack clock`), for everybody on the stack.

let ahead = 0;

/** Unix seconds, as the platform has them. */
export function now() {
  return Date.now() / 1000 + ahead;
}

/** @param {number} seconds how far the platform is ahead of this machine */
export function isAhead(seconds) {
  ahead = seconds;
}
