import type { Config } from '../config/schema.js';

/** Stands where something is that nobody should read. */
const MASK = '***';

/**
 * The configuration in force, as it may be shown. It names the files of secrets, and holds none
 * itself, but for the addresses of webhooks, whose paths often are.
 */
export function maskedConfig(config: Config): unknown {
  const { alerts } = config;
  const webhooks = alerts.webhooks.map((webhook) => ({ ...webhook, url: maskedUrl(webhook.url) }));
  return masked({ ...config, alerts: { ...alerts, webhooks } });
}

/** A key that names a secret itself, not the file that holds it. */
const SECRET_KEY = /(secret|password|passphrase|token|hmacKey|privateKey)$/i;

function masked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(masked);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      SECRET_KEY.test(key) && typeof inner === 'string' ? MASK : masked(inner),
    ]),
  );
}

function maskedUrl(text: string): string {
  const { origin, pathname, search } = new URL(text);
  return pathname === '/' && search === '' ? origin : `${origin}/${MASK}`;
}
