import type { Clock } from './clock.js';

/** Calls back for what has waited its time; one timer for all lists. */
export class Sweep {
  readonly #clock: Clock;
  readonly #lists: { readonly next: number; expire(): void }[] = [];
  #cancel: (() => void) | undefined;
  /** When the timer will fire. */
  #at = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A list whose items are handed to `due`, and forgotten, `delayMs` after they were added. */
  list<T>(delayMs: number, due: (item: T) => void): DueList<T> {
    const list = new DueList<T>(delayMs, due, this.#clock, (at) => this.#arm(at));
    this.#lists.push(list);
    return list;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#at = Number.NEGATIVE_INFINITY;
  }

  #arm(at: number): void {
    if (at >= this.#at) return;
    this.#cancel?.();
    this.#at = at;
    const delayMs = Math.max(1, Math.ceil(at - this.#clock.monotonic()));
    this.#cancel = this.#clock.after(delayMs, () => this.#fire());
  }

  #fire(): void {
    this.#at = Number.POSITIVE_INFINITY;
    for (const list of this.#lists) list.expire();
    for (const list of this.#lists) this.#arm(list.next);
  }
}

/** As all items wait the same time, the order of their coming is that of their going. */
export class DueList<T> {
  readonly #due = new Map<T, number>();
  #delayMs: number;
  readonly #call: (item: T) => void;
  readonly #clock: Clock;
  readonly #arm: (at: number) => void;

  constructor(delayMs: number, call: (item: T) => void, clock: Clock, arm: (at: number) => void) {
    this.#delayMs = delayMs;
    this.#call = call;
    this.#clock = clock;
    this.#arm = arm;
  }

  get items(): IterableIterator<T> {
    return this.#due.keys();
  }

  /** When the first item is due. */
  get next(): number {
    for (const at of this.#due.values()) return at;
    return Number.POSITIVE_INFINITY;
  }

  /** Items wait so long from now on, those that are on the list too. */
  wait(delayMs: number): void {
    const now = this.#clock.monotonic();
    const change = delayMs - this.#delayMs;
    this.#delayMs = delayMs;
    for (const [item, at] of this.#due) this.#due.set(item, Math.max(now, at + change));
    if (this.#due.size > 0) this.#arm(this.next);
  }

  /** Adds an item that is not on the list. */
  add(item: T): void {
    if (this.#due.has(item)) return;
    const at = this.#clock.monotonic() + this.#delayMs;
    this.#due.set(item, at);
    if (this.#due.size === 1) this.#arm(at);
  }

  delete(item: T): void {
    this.#due.delete(item);
  }

  expire(): void {
    const now = this.#clock.monotonic();
    for (const [item, at] of this.#due) {
      if (at > now) return;
      this.#due.delete(item);
      this.#call(item);
    }
  }
}
