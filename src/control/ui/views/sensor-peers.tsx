import { useState } from 'preact/hooks';
import { call } from '../data/api.js';
import { notify } from '../data/notices.js';
import { may } from '../data/session.js';
import type { RejectEntry, Sensor, Session, SessionPage } from '../data/types.js';
import { bytes, count } from '../lib/format.js';
import { Button, Card, May, Missing, Time, TypeTag } from '../parts/basics.js';
import { ask, FormDialog } from '../parts/dialog.js';
import { Choice } from '../parts/field.js';
import { Table } from '../parts/table.js';

const BAN_OPTIONS = [
  ['30', '30 seconds'],
  ['300', '5 minutes'],
  ['3600', 'an hour'],
  ['0', 'not at all'],
] as const;

/** The open sessions of a sensor. */
export function SessionCard(props: {
  page: SessionPage | undefined;
  error: string | undefined;
  onDone: () => Promise<void>;
}) {
  const { page, error, onDone } = props;
  const [kicked, setKicked] = useState<Session>();
  const columns = [
    { name: 'Type', cell: ({ type }: Session) => <TypeTag type={type} /> },
    { name: 'Address', cell: ({ address }: Session) => <span class="mono">{address}</span> },
    {
      name: 'Listener',
      priority: 1 as const,
      cell: ({ source }: Session) => <span class="nowrap">{source}</span>,
    },
    { name: 'Since', cell: ({ openedAt }: Session) => <Time at={openedAt} /> },
    {
      name: 'Received',
      isNumber: true,
      cell: ({ received }: Session) => bytes(received.bytes),
    },
    {
      name: 'Frames',
      isNumber: true,
      priority: 1 as const,
      cell: ({ received }: Session) => count(received.frames),
    },
    {
      name: 'Rejected',
      isNumber: true,
      priority: 1 as const,
      cell: ({ rejectedFrames }: Session) => count(rejectedFrames),
    },
  ];
  const action = {
    name: 'Actions',
    isNumber: true,
    cell: (session: Session) => (
      <div class="row-actions">
        <Button class="small" kind="danger" onClick={() => setKicked(session)}>
          Kick
        </Button>
      </div>
    ),
  };
  return (
    <Card
      title="Sessions"
      note={page && page.total > page.sessions.length ? 'the newest 100' : undefined}
    >
      {page === undefined ? (
        <Missing error={error} />
      ) : (
        <Table
          caption="Open sessions"
          rows={page.sessions}
          keyOf={({ id }) => id}
          columns={may('operator') ? [...columns, action] : columns}
          empty="No session is open."
        />
      )}
      {kicked && (
        <KickDialog session={kicked} onClose={() => setKicked(undefined)} onDone={onDone} />
      )}
    </Card>
  );
}

function KickDialog(props: { session: Session; onClose: () => void; onDone: () => Promise<void> }) {
  const { session, onClose, onDone } = props;
  const [seconds, setSeconds] = useState('30');
  const run = async () => {
    const body = { banSeconds: Number(seconds) };
    await call('POST', `/api/v1/sessions/${encodeURIComponent(session.id)}/kick`, body);
    notify('done', 'The session is told to end.');
    await onDone();
  };
  return (
    <FormDialog title="End this session?" action="Kick" danger run={run} onClose={onClose}>
      <p>What came before its end is delivered. Its client will try to come back.</p>
      <Choice
        label="Refuse it for"
        value={seconds}
        options={BAN_OPTIONS}
        onText={setSeconds}
        hint="A new session of this sensor and type; others are not meant."
      />
    </FormDialog>
  );
}

interface Seen {
  address: string;
  how: string;
  at: string | null;
}

/** Where it was seen: sessions, the last frame, rejects under its name. */
export function AddressCard(props: {
  sensor: Sensor;
  sessions: readonly Session[];
  rejects: readonly RejectEntry[];
}) {
  const rows = addressesOf(props);
  return (
    <Card title="Addresses" note="from which it sent, or somebody did in its name">
      <Table
        caption="Addresses"
        rows={rows}
        keyOf={({ address }) => address}
        columns={[
          {
            name: 'Address',
            cell: ({ address }) => (
              <a class="mono" href={`/rejects?address=${encodeURIComponent(address)}`}>
                {address}
              </a>
            ),
          },
          { name: 'What', cell: ({ how }) => how },
          { name: 'When', cell: ({ at }) => <Time at={at} /> },
          ...(may('operator')
            ? [
                {
                  name: 'Actions',
                  isNumber: true,
                  cell: ({ address }: Seen) => (
                    <div class="row-actions">
                      <BlockButton address={address} />
                    </div>
                  ),
                },
              ]
            : []),
        ]}
        empty="It was seen nowhere yet."
      />
    </Card>
  );
}

function addressesOf(props: Parameters<typeof AddressCard>[0]): Seen[] {
  const { sensor, sessions, rejects } = props;
  const seen = new Map<string, Seen>();
  const add = (address: string, how: string, at: string | null) => {
    if (!seen.has(address)) seen.set(address, { address, how, at });
  };
  for (const { address, openedAt } of sessions) add(address, 'session open since', openedAt);
  if (sensor.lastAddress !== null) add(sensor.lastAddress, 'last seen', sensor.lastSeen);
  for (const { address, reason, lastAt } of rejects) add(address, `rejected: ${reason}`, lastAt);
  if (sensor.lastReject) {
    const { address, reason, at } = sensor.lastReject;
    add(address, `rejected: ${reason}`, at);
  }
  return [...seen.values()];
}

/** Blocks an address, after a question. */
export function BlockButton({ address, onDone }: { address: string; onDone?: () => void }) {
  const block = () =>
    ask({
      title: `Block ${address}?`,
      text: 'Its open connections end, and new ones are refused, whatever sensor they are of.',
      action: 'Block',
      danger: true,
      run: async () => {
        await call('POST', '/api/v1/addresses/block', { address });
        onDone?.();
      },
      done: `${address} is blocked.`,
    });
  return (
    <May least="operator">
      <Button class="small" kind="danger" onClick={block} aria-label={`Block ${address}`}>
        Block
      </Button>
    </May>
  );
}
