import type { Overview } from '../data/types.js';
import { count } from '../lib/format.js';
import { Badge, May, Time, type Tone } from '../parts/basics.js';
import { Icon } from '../parts/icons.js';

/** More are on the view of alerts. */
const SHOWN_MAX = 6;

interface Item {
  key: string;
  tone: Tone;
  kind: string;
  text: string;
  at: string | null;
  href: string;
  action: string;
}

/** What needs a person, before all else; and a word when nothing does. */
export function Attention({ state }: { state: Overview }) {
  const items = itemsOf(state);
  if (items.length === 0) {
    return (
      <p class="calm" data-attention="none">
        <Icon name="check" /> Nothing needs you now.
        {state.sensors.approved + state.sensors.blocked === 0 && (
          <May least="operator">
            <a href="/add">Add the first sensor</a>
          </May>
        )}
      </p>
    );
  }
  const shown = items.slice(0, SHOWN_MAX);
  const more =
    items.length - shown.length + Math.max(state.alerts.open - state.alerts.first.length, 0);
  return (
    <section class="attention" aria-label="Needs a person" data-attention={items.length}>
      <h2>Needs a person</h2>
      <ul>
        {shown.map(({ key, tone, kind, text, at, href, action }) => (
          <li key={key}>
            <Badge tone={tone}>{kind}</Badge>
            <span class="attention-text">{text}</span>
            {at !== null && (
              <span class="muted">
                <Time at={at} />
              </span>
            )}
            <a href={href}>{action}</a>
          </li>
        ))}
      </ul>
      {more > 0 && (
        <p>
          <a href="/alerts">{count(more)} more alerts</a>
        </p>
      )}
    </section>
  );
}

function itemsOf({ alerts, sensors, ledger }: Overview): Item[] {
  const items: Item[] = alerts.first.map(({ key, kind, severity, text, openedAt, subject }) => ({
    key,
    tone: severity === 'critical' ? 'crit' : 'warn',
    kind: severity,
    text: `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`,
    at: openedAt,
    href: placeOf(kind, subject),
    action:
      kind === 'sensor-silent'
        ? 'The sensor'
        : placeOf(kind, subject) === '/relays'
          ? 'Relays'
          : 'Alerts',
  }));
  if (ledger && !ledger.balanced && !alerts.first.some(({ kind }) => kind === 'ledger-imbalance')) {
    items.unshift({
      key: 'ledger',
      tone: 'crit',
      kind: 'critical',
      text: `The ledger is out of balance in ${count(ledger.imbalances)} places`,
      at: ledger.at,
      href: '/alerts',
      action: 'Alerts',
    });
  }
  if (sensors.pending > 0) {
    const many = sensors.pending === 1 ? 'sensor waits' : 'sensors wait';
    items.push({
      key: 'pending',
      tone: 'info',
      kind: 'pending',
      text: `${count(sensors.pending)} ${many} for approval`,
      at: null,
      href: '/pending',
      action: 'Decide',
    });
  }
  return items;
}

/** The view on which something can be done about an alert. */
export function placeOf(kind: string, subject: string): string {
  if (kind === 'sensor-silent') return `/sensors/${subject}`;
  if (kind.startsWith('sink-') || kind.startsWith('spool-')) return '/relays';
  return '/alerts';
}
