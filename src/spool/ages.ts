/** Points that are kept; beyond it every second one goes, and they come half as often. */
const POINTS_MAX = 2_048;
const STEP_MS_MIN = 1_000;

interface Point {
  /** Records from here on came at `at` or later. */
  readonly seq: number;
  /** Ms since the epoch. */
  readonly at: number;
}

/**
 * Since when a spool's records are in it: a point a second, fewer where it goes back for long. So the age
 * of the oldest is known to a second, or to a thousandth.
 */
export class Ages {
  #points: Point[] = [];
  #stepMs = STEP_MS_MIN;

  /** Records from `seq` on came from `at` on. In the order of their coming. */
  add(seq: number, at: number): void {
    const last = this.#points.at(-1);
    if (last && at - last.at < this.#stepMs) return;
    this.#points.push({ seq, at });
    if (this.#points.length <= POINTS_MAX) return;
    this.#points = this.#points.filter((_, index) => index % 2 === 0);
    this.#stepMs *= 2;
  }

  /** All before `seq` is done with. */
  forget(seq: number): void {
    let first = 0;
    while (first + 1 < this.#points.length && this.#points[first + 1]!.seq <= seq) first += 1;
    if (first > 0) this.#points.splice(0, first);
    if (this.#points.length === 1) this.#stepMs = STEP_MS_MIN;
  }

  /** Seconds; 0 where nothing is known of it. */
  ageOf(seq: number, now: number): number {
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#points[middle]!.seq <= seq) low = middle + 1;
      else high = middle;
    }
    const point = this.#points[Math.max(low - 1, 0)];
    return point ? Math.max(now - point.at, 0) / 1000 : 0;
  }
}
