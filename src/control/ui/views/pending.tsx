import { useState } from 'preact/hooks';
import { call, withQuery } from '../data/api.js';
import { useQuery } from '../data/query.js';
import { may } from '../data/session.js';
import type { Sensor, SensorPage } from '../data/types.js';
import { count } from '../lib/format.js';
import { Button, Card, May, Missing, SensorLink, Time, Title } from '../parts/basics.js';
import { act, ask } from '../parts/dialog.js';
import { LastReject } from '../parts/sensor.js';
import { Table } from '../parts/table.js';

const REFRESH_MS = 5_000;
/** More wait for the next look: nobody decides on so many at once. */
const SHOWN_MAX = 200;
const PATH = withQuery('/api/v1/sensors', {
  state: 'pending',
  sort: 'createdAt',
  limit: SHOWN_MAX,
});

export function Pending() {
  const { data, error, refresh } = useQuery<SensorPage>(PATH, REFRESH_MS);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const sensors = data?.sensors ?? [];
  const picked = sensors.filter(({ uuid }) => chosen.has(uuid));
  const choose = (uuids: readonly string[], isChosen: boolean) => {
    const next = new Set(chosen);
    for (const uuid of uuids) {
      if (isChosen) next.add(uuid);
      else next.delete(uuid);
    }
    setChosen(next);
  };
  const done = async () => {
    setChosen(new Set());
    await refresh();
  };
  return (
    <>
      <Title
        text="Pending"
        note="Sensors that were registered, and may not send before somebody decides."
      >
        <May least="operator">
          <Button
            kind="primary"
            disabled={picked.length === 0}
            onClick={() => approve(picked, done)}
          >
            Approve {picked.length > 0 ? count(picked.length) : ''}
          </Button>
          <Button kind="danger" disabled={picked.length === 0} onClick={() => reject(picked, done)}>
            Reject {picked.length > 0 ? count(picked.length) : ''}
          </Button>
        </May>
      </Title>
      <Card
        title="Waiting"
        note={
          data && data.total > sensors.length
            ? `the oldest ${SHOWN_MAX} of ${count(data.total)}`
            : undefined
        }
        actions={
          may('operator') && sensors.length > 0 ? (
            <label class="check">
              <input
                type="checkbox"
                checked={picked.length === sensors.length}
                onChange={({ currentTarget }) =>
                  choose(
                    sensors.map(({ uuid }) => uuid),
                    currentTarget.checked,
                  )
                }
              />
              All
            </label>
          ) : undefined
        }
      >
        {data === undefined ? (
          <Missing error={error} />
        ) : (
          <PendingTable {...{ sensors, chosen, choose, done }} />
        )}
      </Card>
    </>
  );
}

function PendingTable(props: {
  sensors: readonly Sensor[];
  chosen: ReadonlySet<string>;
  choose: (uuids: readonly string[], isChosen: boolean) => void;
  done: () => Promise<void>;
}) {
  const { sensors, chosen, choose, done } = props;
  const select = {
    name: 'Choose',
    cell: ({ uuid, name }: Sensor) => (
      <input
        type="checkbox"
        aria-label={`Choose ${name || uuid}`}
        checked={chosen.has(uuid)}
        onChange={({ currentTarget }) => choose([uuid], currentTarget.checked)}
      />
    ),
  };
  const actions = {
    name: 'Actions',
    isNumber: true,
    cell: (sensor: Sensor) => (
      <div class="row-actions">
        <Button
          class="small"
          onClick={() => approve([sensor], done)}
          aria-label={`Approve ${nameOf(sensor)}`}
        >
          Approve
        </Button>
        <Button
          class="small"
          kind="danger"
          onClick={() => reject([sensor], done)}
          aria-label={`Reject ${nameOf(sensor)}`}
        >
          Reject
        </Button>
      </div>
    ),
  };
  const columns = [
    {
      name: 'Sensor',
      cell: ({ uuid, name, description, contact, createdAt }: Sensor) => (
        <>
          <SensorLink uuid={uuid} name={name} />
          <span class="only-narrow muted wrap">
            {description} {contact} <Time at={createdAt} />
          </span>
        </>
      ),
    },
    { name: 'Description', priority: 1 as const, cell: (one: Sensor) => one.description || '–' },
    { name: 'Contact', priority: 1 as const, cell: ({ contact }: Sensor) => contact || '–' },
    {
      name: 'Registered',
      priority: 1 as const,
      cell: ({ createdAt }: Sensor) => <Time at={createdAt} />,
    },
    {
      name: 'Tried to send',
      priority: 1 as const,
      cell: ({ lastReject }: Sensor) => <LastReject reject={lastReject} />,
    },
  ];
  return (
    <Table
      caption="Pending sensors"
      rows={sensors}
      keyOf={({ uuid }) => uuid}
      columns={may('operator') ? [select, ...columns, actions] : columns}
      empty="Nobody waits. Sensors come here when they register over the API."
    />
  );
}

const nameOf = ({ name, uuid }: Sensor) => name || uuid;
const textOf = (sensors: readonly Sensor[]) =>
  sensors.length === 1 ? nameOf(sensors[0]!) : `${count(sensors.length)} sensors`;

/** One after the other: each decision is an act of its own on the audit trail. */
async function each(sensors: readonly Sensor[], action: 'approve' | 'reject'): Promise<void> {
  for (const { uuid } of sensors) await call('POST', `/api/v1/sensors/${uuid}/${action}`);
}

async function approve(sensors: readonly Sensor[], done: () => Promise<void>): Promise<void> {
  const verb = sensors.length === 1 ? 'is' : 'are';
  await act(() => each(sensors, 'approve'), `${textOf(sensors)} ${verb} approved.`);
  await done();
}

function reject(sensors: readonly Sensor[], done: () => Promise<void>): void {
  ask({
    title: `Reject ${textOf(sensors)}?`,
    text: 'What is rejected is forgotten. Whoever registered it may register it again.',
    action: 'Reject',
    danger: true,
    run: async () => {
      try {
        await each(sensors, 'reject');
      } finally {
        await done();
      }
    },
    done: `${textOf(sensors)} rejected.`,
  });
}
