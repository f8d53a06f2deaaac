import { useState } from 'preact/hooks';
import { ApiError, call, reasonOf, withQuery } from '../data/api.js';
import { notify } from '../data/notices.js';
import { useQuery } from '../data/query.js';
import { may } from '../data/session.js';
import type { Ban, BlockedAddress, Sensor, SensorPage } from '../data/types.js';
import { count } from '../lib/format.js';
import { typeName } from '../lib/types.js';
import { Button, Card, May, Missing, SensorLink, Time, Title } from '../parts/basics.js';
import { act } from '../parts/dialog.js';
import { Field } from '../parts/field.js';
import { Table } from '../parts/table.js';

const REFRESH_MS = 5_000;
const SHOWN_MAX = 500;

export function Blocks() {
  return (
    <>
      <Title text="Blocks" note="Who is refused, whatever they send." />
      <div class="grid halves">
        <Addresses />
        <div class="column">
          <Blocked />
          <Bans />
        </div>
      </div>
    </>
  );
}

function Addresses() {
  const { data, error, refresh } = useQuery<BlockedAddress[]>('/api/v1/addresses', REFRESH_MS);
  const unblock = async (address: string) => {
    await act(
      () => call('POST', '/api/v1/addresses/unblock', { address }),
      `${address} is no longer blocked.`,
    );
    await refresh();
  };
  const columns = [
    { name: 'Address', cell: ({ address }: BlockedAddress) => <span class="mono">{address}</span> },
    { name: 'Since', cell: ({ since }: BlockedAddress) => <Time at={since} /> },
  ];
  const actions = {
    name: 'Actions',
    isNumber: true,
    cell: ({ address }: BlockedAddress) => (
      <div class="row-actions">
        <Button class="small" onClick={() => unblock(address)} aria-label={`Unblock ${address}`}>
          Unblock
        </Button>
      </div>
    ),
  };
  return (
    <Card title="Addresses" note={data && count(data.length)}>
      <May least="operator">
        <BlockForm onDone={refresh} />
      </May>
      {data === undefined ? (
        <Missing error={error} />
      ) : (
        <Table
          caption="Blocked addresses"
          rows={data}
          keyOf={({ address }) => address}
          columns={may('operator') ? [...columns, actions] : columns}
          empty="No address is blocked."
        />
      )}
    </Card>
  );
}

function BlockForm({ onDone }: { onDone: () => Promise<void> }) {
  const [address, setAddress] = useState('');
  const [error, setError] = useState<string>();
  const submit = async (event: Event) => {
    event.preventDefault();
    try {
      const body = { address: address.trim() };
      const answer = await call<{ address: string }>('POST', '/api/v1/addresses/block', body);
      notify('done', `${answer.address} is blocked.`);
      setAddress('');
      setError(undefined);
      await onDone();
    } catch (reason) {
      const isField = reason instanceof ApiError && reason.field === 'address';
      setError(
        isField ? 'An IPv4 or IPv6 address, or a range such as 192.0.2.0/24.' : reasonOf(reason),
      );
    }
  };
  return (
    <form class="card-body line-form" onSubmit={submit}>
      <Field
        label="Address or range"
        value={address}
        onText={setAddress}
        required
        maxLength={100}
        placeholder="192.0.2.0/24"
        error={error}
        hint="Its open connections end, and new ones are refused."
      />
      <Button type="submit" kind="danger" disabled={address.trim() === ''}>
        Block
      </Button>
    </form>
  );
}

function Blocked() {
  const { data, error, refresh } = useQuery<SensorPage>(
    withQuery('/api/v1/sensors', { state: 'blocked', limit: SHOWN_MAX }),
    REFRESH_MS,
  );
  const unblock = async ({ uuid, name }: Sensor) => {
    await act(
      () => call('POST', `/api/v1/sensors/${uuid}/unblock`),
      `${name || uuid} is no longer blocked.`,
    );
    await refresh();
  };
  const columns = [
    {
      name: 'Sensor',
      cell: ({ uuid, name }: Sensor) => <SensorLink uuid={uuid} name={name} />,
    },
    { name: 'Last seen', cell: ({ lastSeen }: Sensor) => <Time at={lastSeen} /> },
    {
      name: 'Was',
      priority: 1 as const,
      cell: ({ stateBeforeBlock }: Sensor) => stateBeforeBlock ?? '–',
    },
  ];
  const actions = {
    name: 'Actions',
    isNumber: true,
    cell: (sensor: Sensor) => (
      <div class="row-actions">
        <Button
          class="small"
          onClick={() => unblock(sensor)}
          aria-label={`Unblock ${sensor.name || sensor.uuid}`}
        >
          Unblock
        </Button>
      </div>
    ),
  };
  return (
    <Card title="Sensors" note={data && count(data.total)}>
      {data === undefined ? (
        <Missing error={error} />
      ) : (
        <Table
          caption="Blocked sensors"
          rows={data.sensors}
          keyOf={({ uuid }) => uuid}
          columns={may('operator') ? [...columns, actions] : columns}
          empty="No sensor is blocked. A sensor is blocked on its own page."
        />
      )}
    </Card>
  );
}

function Bans() {
  const { data, error } = useQuery<Ban[]>('/api/v1/bans', REFRESH_MS);
  return (
    <Card title="For a while" note="kicked, and not to come back yet">
      {data === undefined ? (
        <Missing error={error} />
      ) : (
        <Table
          caption="Sensors that were kicked"
          rows={data}
          keyOf={({ sensor, type }) => `${sensor} ${type}`}
          columns={[
            { name: 'Sensor', cell: ({ sensor }) => <SensorLink uuid={sensor} /> },
            { name: 'Type', cell: ({ type }) => typeName(type) },
            { name: 'Until', cell: ({ until }) => <Time at={until} form="full" /> },
          ]}
          empty="None was kicked."
        />
      )}
    </Card>
  );
}
