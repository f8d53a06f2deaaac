/** Lets one or more wait until something may have changed. Never rejects, never misses a change. */
export class Signal {
  #waiters: (() => void)[] = [];

  fire(): void {
    const waiters = this.#waiters;
    if (waiters.length === 0) return;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  /** Resolves at the next `fire`, or after `msMax`. */
  wait(msMax: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, msMax);
      this.#waiters.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}
