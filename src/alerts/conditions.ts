import type { SinkView, WorkerView } from '../stats/gateway-stats.js';
import { STALE_MS } from '../stats/gateway-stats.js';
import type { Condition } from './book.js';

/** From here on a spool counts as filling. */
const SPOOL_SHARE_MAX = 0.8;
const DAY_MS = 86_400_000;
const EXPIRY_DAYS = 14;
/** For so long after it a worker's restart is shown. */
export const RESTART_SHOWN_MS = 10 * 60_000;

/** A certificate that a listener speaks with. */
export interface CertificateView {
  /** The listener, such as `tls [::]:4443`. */
  source: string;
  /** ISO 8601. */
  notAfter: string;
  /** PEM, where sensors may ask for it. */
  pem?: string | undefined;
}

export function sinkConditions(sinks: readonly SinkView[]): Condition[] {
  return sinks.flatMap(({ name, state, takes, spool, lastError }) => {
    const found: Condition[] = [];
    if (state === 'stopped') {
      found.push({
        key: `sink-stopped/${name}`,
        kind: 'sink-stopped',
        severity: 'warning',
        subject: name,
        text: `sink ${name} is held: the sensors that it serves wait`,
      });
    } else if (state === 'failing') {
      found.push({
        key: `sink-failing/${name}`,
        kind: 'sink-failing',
        severity: takes ? 'warning' : 'critical',
        subject: name,
        text: `sink ${name} can deliver nothing${takes ? ', and keeps what comes' : ''}: ${
          lastError?.text ?? 'the log has the reason'
        }`,
      });
    }
    if (spool && spool.bytes > spool.maxBytes * SPOOL_SHARE_MAX) {
      const percent = Math.round((spool.bytes / spool.maxBytes) * 100);
      found.push({
        key: `spool-filling/${name}`,
        kind: 'spool-filling',
        severity: percent >= 95 ? 'critical' : 'warning',
        subject: name,
        text: `the spool of sink ${name} is ${percent} % full`,
      });
    }
    return found;
  });
}

export function certificateConditions(
  certificates: readonly CertificateView[],
  now: number,
): Condition[] {
  return certificates.flatMap(({ source, notAfter }) => {
    const days = Math.floor((Date.parse(notAfter) - now) / DAY_MS);
    if (days >= EXPIRY_DAYS) return [];
    const when = days < 0 ? `expired at ${notAfter}` : `expires at ${notAfter}, in ${days} days`;
    return {
      key: `certificate-expiring/${source}`,
      kind: 'certificate-expiring' as const,
      severity: days < 0 ? ('critical' as const) : ('warning' as const),
      subject: source,
      text: `the certificate of ${source} ${when}`,
    };
  });
}

/** @param restarts by worker: when it last died, ms since the epoch */
export function workerConditions(
  workers: readonly Readonly<WorkerView>[],
  restarts: ReadonlyMap<number, number>,
  now: number,
): Condition[] {
  return workers.flatMap(({ index, stats, at, deaths }) => {
    const found: Condition[] = [];
    const diedAt = restarts.get(index);
    if (diedAt !== undefined && now - diedAt < RESTART_SHOWN_MS) {
      found.push({
        key: `worker-restarted/${index}`,
        kind: 'worker-restarted',
        severity: 'warning',
        subject: `${index}`,
        text: `worker ${index} died, ${deaths} times since the gateway began: the log has the reason`,
      });
    }
    if (stats && now - at > STALE_MS) {
      found.push({
        key: `worker-stalled/${index}`,
        kind: 'worker-stalled',
        severity: 'critical',
        subject: `${index}`,
        text: `worker ${index} has not answered for ${Math.round((now - at) / 1000)} s`,
      });
    }
    return found;
  });
}
