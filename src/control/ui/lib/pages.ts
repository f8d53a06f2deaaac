/** Rows of a page. */
export const PAGE_ROWS = 100;
/** Pages held at once: those that were looked at last. */
export const PAGES_MAX = 30;

/** Rows of a long list, of which only some are here. Never more than `PAGES_MAX` pages. */
export class Pages<Row> {
  readonly #pages = new Map<number, readonly Row[]>();

  put(page: number, rows: readonly Row[]): void {
    this.#pages.delete(page);
    this.#pages.set(page, rows);
    if (this.#pages.size > PAGES_MAX) this.#pages.delete(this.#pages.keys().next().value!);
  }

  /** Undefined while its page is not here. */
  row(index: number): Row | undefined {
    return this.#pages.get(Math.floor(index / PAGE_ROWS))?.[index % PAGE_ROWS];
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  clear(): void {
    this.#pages.clear();
  }

  get size(): number {
    return this.#pages.size;
  }
}

/** The rows that are in sight, and some around them. @returns from the first to before the last */
export function rowsInSight(
  scrollTop: number,
  height: number,
  rowHeight: number,
  total: number,
): [from: number, to: number] {
  const around = 8;
  const from = Math.max(Math.floor(scrollTop / rowHeight) - around, 0);
  const to = Math.min(Math.ceil((scrollTop + height) / rowHeight) + around, total);
  return [Math.min(from, to), to];
}

/** The pages that hold those rows. */
export function pagesOf(from: number, to: number): number[] {
  if (to <= from) return [0];
  const first = Math.floor(from / PAGE_ROWS);
  const last = Math.floor((to - 1) / PAGE_ROWS);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
