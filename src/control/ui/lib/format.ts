/** Numbers and times as people read them: always with a unit, never longer than they need to be. */

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

function decimals(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function scaled(value: number, step: number, units: readonly string[]): string {
  let scale = 0;
  let rest = value;
  while (rest >= step && scale < units.length - 1) {
    rest /= step;
    scale += 1;
  }
  const text = scale === 0 && Number.isInteger(rest) ? integer.format(rest) : decimals(rest);
  return `${text} ${units[scale]}`;
}

/** A whole number, with its thousands apart. */
export const count = (value: number): string => integer.format(value);

/** A count where there is little room: `12,345`, then `1.23 M`. */
export function shortCount(value: number): string {
  if (value < 100_000) return integer.format(value);
  return scaled(value, 1000, ['', 'k', 'M', 'G', 'T', 'P']).trim();
}

/** Octets per second as what networks are measured in: `1.24 Gbps`. */
export function bits(bytesPerSecond: number): string {
  const value = Math.max(bytesPerSecond, 0) * 8;
  if (value > 0 && value < 1) return '< 1 bps';
  return scaled(value < 1000 ? Math.round(value) : value, 1000, [
    'bps',
    'kbps',
    'Mbps',
    'Gbps',
    'Tbps',
  ]);
}

/** `1.50 GiB`. */
export function bytes(value: number): string {
  return scaled(Math.max(value, 0), 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']);
}

/** Events a second: `1,234/s`, `0.20/s`. */
export function perSecond(value: number): string {
  if (value === 0) return '0/s';
  if (value < 0.01) return '< 0.01/s';
  return `${value < 100 ? decimals(value) : shortCount(value)}/s`;
}

/** @param ratio 0 to 1 */
export function percent(ratio: number): string {
  const value = Math.max(ratio, 0) * 100;
  return `${value > 0 && value < 10 ? value.toFixed(1) : integer.format(value)} %`;
}

/** `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.max(Math.round(seconds), 0);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return two(hours, 'h', minutes % 60, 'min');
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

const two = (a: number, unitA: string, b: number, unitB: string) =>
  b === 0 ? `${a} ${unitA}` : `${a} ${unitA} ${b} ${unitB}`;

/** How long ago something was, for one look. */
export function ago(at: number, now: number): string {
  const seconds = Math.round((now - at) / 1000);
  if (seconds < 5) return 'just now';
  if (seconds < 3600) return `${duration(seconds)} ago`;
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? `${hours} h ago` : `${Math.floor(hours / 24)} d ago`;
}

const pad = (value: number, length = 2) => `${value}`.padStart(length, '0');

/** In the viewer's own zone: `2026-01-31 14:05:09`. */
export function localTime(at: number): string {
  const date = new Date(at);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** `2026-01-31 14:05:09 UTC`. */
export function utcTime(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/** Enough of a UUID to tell it from others in a table. */
export const shortUuid = (uuid: string): string => `${uuid.slice(0, 8)}…${uuid.slice(-4)}`;
