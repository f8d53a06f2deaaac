/** Something that a person should look at. */
export interface Condition {
  /** Same key, same alert: it stays open while the condition is found again and again. */
  key: string;
  kind: AlertKind;
  severity: 'warning' | 'critical';
  /** What it is about: a sensor's UUID, the name of a sink, the number of a worker. */
  subject: string;
  text: string;
}

export const ALERT_KINDS = [
  'sensor-silent',
  'sink-stopped',
  'sink-failing',
  'spool-filling',
  'ledger-imbalance',
  'certificate-expiring',
  'worker-restarted',
  'worker-stalled',
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

export interface Alert extends Condition {
  /** Ms since the epoch. */
  openedAt: number;
  closedAt: number | undefined;
}

/** Alerts that are over and still shown; and those open at once, beyond which none opens. */
export const CLOSED_KEPT = 200;
export const OPEN_MAX = 10_000;

/** Which alerts are open: what was found for the first time opens, what is not found again closes. */
export class AlertBook {
  readonly #open = new Map<string, Alert>();
  #closed: Alert[] = [];
  readonly #changed: (alert: Alert) => void;

  /** @param changed told of each that opens or closes */
  constructor(changed: (alert: Alert) => void) {
    this.#changed = changed;
  }

  /** Open alerts, the newest first; critical ones before all. */
  get open(): Alert[] {
    const rank = ({ severity }: Alert) => (severity === 'critical' ? 0 : 1);
    return [...this.#open.values()].sort((a, b) => rank(a) - rank(b) || b.openedAt - a.openedAt);
  }

  /** Those that are over, the newest first. */
  get closed(): readonly Alert[] {
    return this.#closed;
  }

  has(key: string): boolean {
    return this.#open.has(key);
  }

  /** @param found all conditions that hold now */
  update(found: Iterable<Condition>, now: number): void {
    const left = new Set(this.#open.keys());
    for (const condition of found) {
      const known = this.#open.get(condition.key);
      left.delete(condition.key);
      if (known) {
        Object.assign(known, condition);
      } else if (this.#open.size < OPEN_MAX) {
        const alert: Alert = { ...condition, openedAt: now, closedAt: undefined };
        this.#open.set(alert.key, alert);
        this.#changed(alert);
      }
    }
    for (const key of left) {
      const alert = this.#open.get(key)!;
      this.#open.delete(key);
      alert.closedAt = now;
      this.#closed = [alert, ...this.#closed].slice(0, CLOSED_KEPT);
      this.#changed(alert);
    }
  }
}
