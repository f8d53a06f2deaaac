import { statSync } from 'node:fs';

/** How often files are looked at: a certificate that was renewed acts within this. */
export const WATCH_MS = 5_000;

/**
 * Looks whether files were changed or replaced, by polling: renewals rename files and swap links, which
 * a watch on one inode does not see.
 */
export class FileWatch {
  readonly #paths: () => readonly string[];
  readonly #changed: () => void;
  readonly #timer: NodeJS.Timeout;
  #seen: Map<string, string>;

  /** @param paths those to look at now; asked each time */
  constructor(paths: () => readonly string[], changed: () => void, periodMs = WATCH_MS) {
    this.#paths = paths;
    this.#changed = changed;
    this.#seen = this.#look();
    this.#timer = setInterval(() => this.#check(), periodMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const before = this.#seen;
    this.#seen = this.#look();
    for (const [path, mark] of this.#seen) {
      const known = before.get(path);
      // One that is new on the list was read just now.
      if (known !== undefined && known !== mark) {
        this.#changed();
        return;
      }
    }
  }

  #look(): Map<string, string> {
    return new Map(this.#paths().map((path) => [path, markOf(path)]));
  }
}

function markOf(path: string): string {
  try {
    const { ino, size, mtimeMs } = statSync(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return 'none';
  }
}
