/** Time and pace in words. */

/** Minutes and seconds: 7 s is 0:07, an hour and a second 60:01. */
export function minutes(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** How many a minute; "" for fewer than two, which are no pace. */
export function pace(count: number, ms: number): string {
  if (count < 2 || ms <= 0) return '';
  const rate = count / (ms / 60_000);
  return `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)} a minute`;
}
