import { createHmac } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { messageOf } from '../errors.js';

/** Posts that wait; beyond it the oldest is let go, and counted. */
export const QUEUE_MAX = 1_000;
const TIMEOUT_MS = 10_000;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;
/** A post is tried for so long, then let go. */
const GIVE_UP_MS = 24 * 3_600_000;

export interface WebhookOptions {
  url: string;
  /** Signs each post; without it they are not signed. */
  secret: Buffer | undefined;
}

interface Post {
  body: string;
  at: number;
}

export interface WebhookStats {
  waiting: number;
  sent: number;
  failed: number;
  /** Let go: too many waited, or it was tried for too long. */
  dropped: number;
  lastError: { text: string; at: number } | undefined;
}

/**
 * Posts JSON to one address, in order, one at a time, again and again ever less often until it is
 * taken with a 2xx. `X-D4GW-Signature: t=<seconds>,v1=<hex>` is HMAC-SHA-256 under the secret over
 * `<seconds>.<body>`, made anew at each try.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #log: Logger;
  readonly #queue: Post[] = [];
  readonly #stats: WebhookStats = {
    waiting: 0,
    sent: 0,
    failed: 0,
    dropped: 0,
    lastError: undefined,
  };
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: WebhookOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  get stats(): WebhookStats {
    return { ...this.#stats, waiting: this.#queue.length };
  }

  /** Whether another posts to the same address with the same secret. */
  isSame(other: Webhook): boolean {
    return isDeepStrictEqual(this.#options, other.#options);
  }

  post(value: unknown): void {
    if (this.#stop.signal.aborted) return;
    if (this.#queue.length >= QUEUE_MAX) {
      // The first may be under way.
      this.#queue.splice(1, 1);
      this.#stats.dropped += 1;
    }
    this.#queue.push({ body: JSON.stringify(value), at: Date.now() });
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Gives up what waits. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let delayMs = RETRY_MIN_MS;
    for (let post = this.#queue[0]; post && !this.#stop.signal.aborted; post = this.#queue[0]) {
      const problem = await this.#send(post);
      if (problem === undefined) {
        this.#stats.sent += 1;
        this.#queue.shift();
        delayMs = RETRY_MIN_MS;
        continue;
      }
      if (this.#stop.signal.aborted) return;
      this.#stats.failed += 1;
      this.#stats.lastError = { text: problem, at: Date.now() };
      if (delayMs === RETRY_MIN_MS) {
        this.#log.warn({ url: shownUrl(this.#options.url), error: problem }, 'a webhook failed');
      }
      if (Date.now() - post.at > GIVE_UP_MS) {
        this.#queue.shift();
        this.#stats.dropped += 1;
      }
      await this.#sleep(delayMs);
      delayMs = Math.min(delayMs * 2, RETRY_MAX_MS);
    }
  }

  /** @returns why it was not taken */
  async #send({ body }: Post): Promise<string | undefined> {
    const { url, secret } = this.#options;
    const headers: Record<string, string> = { 'content-type': 'application/json' };
    if (secret) headers['x-d4gw-signature'] = signature(secret, body, Date.now());
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers,
        body,
        redirect: 'error',
        signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      // What it says is not read, but its connection goes on being of use.
      await response.body?.cancel();
      return response.ok ? undefined : `answered ${response.status}`;
    } catch (error) {
      const cause = (error as { cause?: unknown }).cause;
      return cause === undefined ? messageOf(error) : `${messageOf(error)}: ${messageOf(cause)}`;
    }
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done);
    });
  }
}

/** As the header carries it. @param now ms since the epoch */
export function signature(secret: Buffer, body: string, now: number): string {
  const seconds = Math.floor(now / 1000);
  const hex = createHmac('sha256', secret).update(`${seconds}.${body}`).digest('hex');
  return `t=${seconds},v1=${hex}`;
}

/** What of a webhook's address may be shown: its path is often a secret itself. */
export function shownUrl(url: string): string {
  return new URL(url).origin;
}
