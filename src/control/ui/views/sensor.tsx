import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { withQuery } from '../data/api.js';
import { useQuery } from '../data/query.js';
import type { Ledger, RejectPage, Sensor, SessionPage } from '../data/types.js';
import { bits, bytes, count, duration, perSecond } from '../lib/format.js';
import { reasonText } from '../lib/reasons.js';
import { Card, Copy, Fact, May, Missing, Stat, Time, Title, TypeTag } from '../parts/basics.js';
import { PastCard } from '../parts/past.js';
import { Groups, StateBadge } from '../parts/sensor.js';
import { Spark } from '../parts/spark.js';
import { Table } from '../parts/table.js';
import { Files } from './files.js';
import { SensorActions } from './sensor-actions.js';
import { AddressCard, SessionCard } from './sensor-peers.js';

const FAST_MS = 3_000;
const SLOW_MS = 15_000;
const NOT_FOUND = 404;
/** Of one sensor: more are on the view of rejects. */
const REJECTS_SHOWN = 10;

export function SensorPage({ uuid }: { uuid: string }) {
  const path = `/api/v1/sensors/${encodeURIComponent(uuid)}`;
  const { data: sensor, error, status, refresh } = useQuery<Sensor>(path, FAST_MS);
  const sessions = useQuery<SessionPage>(
    withQuery('/api/v1/sessions', { sensor: uuid, limit: 100 }),
    FAST_MS,
  );
  const rejects = useQuery<RejectPage>(
    withQuery('/api/v1/rejects', { sensor: uuid, limit: REJECTS_SHOWN }),
    SLOW_MS,
  );
  const name = sensor ? sensor.name || uuid : uuid;
  useEffect(() => {
    document.title = `${name} · d4-gateway`;
  }, [name]);
  if (status === NOT_FOUND) {
    return (
      <>
        <Title text="No such sensor" note={uuid} />
        <p>
          It is not registered, or it was removed. <a href="/sensors">All sensors</a>
        </p>
      </>
    );
  }
  if (!sensor) return <Missing error={error} />;
  const all = async () => {
    await Promise.all([refresh(), sessions.refresh(), rejects.refresh()]);
  };
  return (
    <>
      <Title
        text={name}
        note={
          <span class="title-note">
            <StateBadge state={sensor.state} />
            <span class="mono">{uuid}</span>
            <Groups groups={sensor.groups} />
          </span>
        }
      >
        <May least="operator">
          <SensorActions sensor={sensor} onDone={all} />
        </May>
      </Title>
      <RejectBanner sensor={sensor} />
      <Figures sensor={sensor} />
      <PastCard path={`${path}/history`} />
      <SessionCard page={sessions.data} error={sessions.error} onDone={all} />
      <div class="grid halves">
        <div class="column">
          <Record sensor={sensor} />
          <Notes sensor={sensor} />
        </div>
        <div class="column">
          <AddressCard
            sensor={sensor}
            sessions={sessions.data?.sessions ?? []}
            rejects={rejects.data?.rejects ?? []}
          />
          <Books uuid={uuid} />
        </div>
      </div>
      <May least="operator">
        <Files uuid={uuid} />
      </May>
    </>
  );
}

/** Why it was last refused: what an operator looks for when a client does not work. */
function RejectBanner({ sensor: { lastReject, lastSeen } }: { sensor: Sensor }) {
  if (!lastReject) return null;
  const isOver = lastSeen !== null && Date.parse(lastSeen) > Date.parse(lastReject.at);
  const { what, mend } = reasonText(lastReject.reason) ?? { what: '', mend: '' };
  return (
    <section class={`reject-banner ${isOver ? 'over' : ''}`} aria-label="Last reject">
      <h2>
        {isOver ? 'It was rejected before it last sent' : 'It is rejected'}: {lastReject.reason}
      </h2>
      <p>
        {what} {mend}
      </p>
      <p class="muted">
        {lastReject.detail === '' ? '' : `${lastReject.detail} · `}from {lastReject.address} ·{' '}
        <Time at={lastReject.at} />
      </p>
    </section>
  );
}

function Figures({ sensor }: { sensor: Sensor }) {
  return (
    <dl class="stats">
      <Stat
        label="Rate"
        value={bits(sensor.bytesPerSecond)}
        note={<Spark values={sensor.recentBytesPerSecond} label="Rate of the last two minutes" />}
      />
      <Stat label="Frames" value={perSecond(sensor.framesPerSecond)} note="over the last seconds" />
      <Stat label="Sessions" value={count(sensor.sessions)} note="open now" />
      <Stat
        label="Last seen"
        value={<Time at={sensor.lastSeen} />}
        note={sensor.lastAddress === null ? 'it never sent' : `from ${sensor.lastAddress}`}
      />
      <Stat
        label="First seen"
        value={<Time at={sensor.firstSeen} />}
        note={
          <>
            added <Time at={sensor.createdAt} />
          </>
        }
      />
    </dl>
  );
}

function Record({ sensor }: { sensor: Sensor }) {
  const { uuid, name, description, contact, groups, expectSeconds, types } = sensor;
  const rows: [string, ComponentChildren][] = [
    [
      'UUID',
      <span key="uuid" class="with-copy">
        <span class="mono">{uuid}</span> <Copy text={uuid} label="Copy the UUID" />
      </span>,
    ],
    ['Name', name || <None />],
    ['Description', description || <None />],
    ['Contact', contact || <None />],
    ['Groups', groups.length > 0 ? <Groups groups={groups} /> : <None />],
    [
      'Types',
      types.length > 0 ? types.map((type) => <TypeTag key={type} type={type} />) : <None />,
    ],
    ['Alert', expectSeconds > 0 ? `when silent for ${duration(expectSeconds)}` : 'never'],
    ['Added', <Time key="added" at={sensor.createdAt} form="full" />],
  ];
  if (sensor.stateBeforeBlock !== null) rows.push(['Before the block', sensor.stateBeforeBlock]);
  if (sensor.previousKeyValidUntil !== null) {
    rows.push([
      'Old key',
      <span key="old">
        valid until <Time at={sensor.previousKeyValidUntil} form="full" />
      </span>,
    ]);
  }
  return (
    <Card title="Record">
      <dl class="facts card-body">
        {rows.map(([label, value]) => (
          <Fact key={label} label={label}>
            {value}
          </Fact>
        ))}
      </dl>
    </Card>
  );
}

const None = () => <span class="muted">–</span>;

function Notes({ sensor: { notes } }: { sensor: Sensor }) {
  if (notes.length === 0) return null;
  return (
    <Card title="Notes" note="of the gateway, about what it sent">
      <ul class="card-body notes">
        {notes.map(({ text, at, count: times }) => (
          <li key={text}>
            {text}{' '}
            <span class="muted">
              {times > 1 ? `${count(times)} times, last ` : ''}
              <Time at={at} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** What the ledger says of it, across restarts. */
function Books({ uuid }: { uuid: string }) {
  const { data, error } = useQuery<Ledger>(withQuery('/api/v1/ledger', { sensor: uuid }), SLOW_MS);
  if (!data) {
    return (
      <Card title="Ledger">
        <Missing error={error} />
      </Card>
    );
  }
  const rows = data.sensors.flatMap(({ type, sinks }) => sinks.map((sink) => ({ type, ...sink })));
  return (
    <Card
      title="Ledger"
      note={data.balanced ? 'in balance, over all restarts' : 'OUT OF BALANCE: see d4gw ledger'}
    >
      <Table
        caption="Ledger by type and sink"
        rows={rows}
        keyOf={({ type, sink }) => `${type} ${sink}`}
        columns={[
          { name: 'Type', cell: ({ type }) => <TypeTag type={type} /> },
          { name: 'Sink', cell: ({ sink }) => sink },
          { name: 'Received', isNumber: true, cell: (one) => bytes(one.received.bytes) },
          { name: 'Delivered', isNumber: true, cell: (one) => bytes(one.delivered.bytes) },
          { name: 'Lost', isNumber: true, priority: 1, cell: (one) => bytes(one.lost.bytes) },
          {
            name: 'In flight',
            isNumber: true,
            priority: 1,
            cell: (one) => bytes(one.inFlight.bytes),
          },
        ]}
        empty="Nothing of it was counted yet: a session is, when it ends."
      />
    </Card>
  );
}
