import { useState } from 'preact/hooks';
import { get, reasonOf, withQuery } from '../data/api.js';
import { place, setQuery } from '../data/nav.js';
import { notify } from '../data/notices.js';
import { useQuery } from '../data/query.js';
import type { AuditEntry } from '../data/types.js';
import { Button, Card, Missing, Time, Title } from '../parts/basics.js';
import { Filter, Search, useTyped } from '../parts/field.js';
import { Table } from '../parts/table.js';

const PAGE = 50;
const TYPING_MS = 250;
/** Read further in the file itself: a tab holds no more. */
const SHOWN_MAX = 1_000;
const ACTS = ['sensor', 'address', 'session', 'sink', 'token', 'login', 'file', 'config'] as const;

/** Who did what, when and from where. */
export function Audit() {
  const { query } = place.value;
  const act = query.get('act') ?? '';
  const subject = query.get('subject') ?? '';
  const [typed, type] = useTyped(subject, TYPING_MS, (text) => setQuery({ subject: text }));
  const path = withQuery('/api/v1/audit', { act, subject, limit: PAGE });
  return (
    <>
      <Title
        text="Audit"
        note="Every act is chained to the one before: d4gw audit verify finds what was changed."
      />
      <search class="toolbar">
        <Search label="Subject: a UUID, an address, a sink" value={typed} hotkey onText={type} />
        <Filter
          label="Act"
          value={act}
          options={[['', 'All acts'], ...ACTS.map((one) => [one, one] as const)]}
          onText={(value) => setQuery({ act: value })}
        />
      </search>
      <Trail key={path} path={path} />
    </>
  );
}

function Trail({ path }: { path: string }) {
  const { data, error } = useQuery<AuditEntry[]>(path);
  const [older, setOlder] = useState<readonly AuditEntry[]>([]);
  const [isAll, setAll] = useState(false);
  if (data === undefined) return <Missing error={error} />;
  const entries = [...data, ...older];
  const last = entries.at(-1);
  const more = async () => {
    try {
      const next = await get<AuditEntry[]>(`${path}&before=${last!.seq}`);
      setOlder([...older, ...next]);
      setAll(next.length < PAGE);
    } catch (reason) {
      notify('failed', reasonOf(reason));
    }
  };
  const hasMore = !isAll && data.length === PAGE && entries.length < SHOWN_MAX;
  return (
    <Card title="Acts" note="the newest first">
      <Table
        caption="Audit trail"
        rows={entries}
        keyOf={({ seq }) => `${seq}`}
        columns={[
          { name: 'When', cell: ({ at }) => <Time at={at} form="full" /> },
          {
            name: 'Who',
            priority: 1,
            cell: ({ actor: { name, role, kind } }) => (
              <>
                {name} <span class="muted">{role ?? kind}</span>
              </>
            ),
          },
          {
            name: 'From',
            priority: 1,
            cell: ({ actor: { from } }) => <span class="mono">{from}</span>,
          },
          {
            name: 'Act',
            cell: (entry) => (
              <>
                {entry.act}
                <span class="only-narrow">
                  <Subject entry={entry} />
                </span>
                <span class="only-narrow muted">by {entry.actor.name}</span>
              </>
            ),
          },
          { name: 'Subject', priority: 1, cell: (entry) => <Subject entry={entry} /> },
          { name: 'What changed', priority: 1, cell: (entry) => <Change entry={entry} /> },
        ]}
        empty="No act fits."
      />
      {hasMore && (
        <div class="pager">
          <Button class="small" onClick={more}>
            Older
          </Button>
        </div>
      )}
    </Card>
  );
}

function Subject({ entry: { act, subject } }: { entry: AuditEntry }) {
  if (!act.startsWith('sensor') && !act.startsWith('session')) {
    return <span class="mono wrap">{subject}</span>;
  }
  return (
    <a class="mono wrap" href={`/sensors/${subject}`}>
      {subject}
    </a>
  );
}

/** The members that differ. */
function Change({ entry: { before, after } }: { entry: AuditEntry }) {
  const from = membersOf(before);
  const to = membersOf(after);
  const names = [...new Set([...Object.keys(from), ...Object.keys(to)])].filter(
    (name) => from[name] !== to[name] && (from[name] ?? to[name]) !== '',
  );
  if (names.length === 0) return <span class="muted">–</span>;
  return (
    <ul class="changes">
      {names.map((name) => (
        <li key={name}>
          <span class="muted">{name}</span>{' '}
          {from[name] !== undefined && to[name] !== undefined && from[name] !== '' && (
            <>
              <del>{from[name]}</del> →{' '}
            </>
          )}
          {to[name] === undefined ? <del>{from[name]}</del> : to[name] || '–'}
        </li>
      ))}
    </ul>
  );
}

function membersOf(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shown(inner)]));
}

function shown(value: unknown): string {
  if (value === null) return '';
  if (Array.isArray(value)) return value.map(shown).join(', ');
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
