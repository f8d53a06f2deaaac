import { useState } from 'preact/hooks';
import { withQuery } from '../data/api.js';
import { overview } from '../data/live.js';
import { place, setQuery } from '../data/nav.js';
import { useQuery } from '../data/query.js';
import { may } from '../data/session.js';
import type { RejectEntry, RejectPage } from '../data/types.js';
import { count } from '../lib/format.js';
import { reasonText } from '../lib/reasons.js';
import { Card, Missing, SensorLink, Time, Title } from '../parts/basics.js';
import { Filter, Search, useTyped } from '../parts/field.js';
import { Table } from '../parts/table.js';
import { Pager } from './files.js';
import { BlockButton } from './sensor-peers.js';

const PAGE = 50;
const REFRESH_MS = 5_000;
const TYPING_MS = 250;

/** What hostile and broken peers did, and what mends it. */
export function Rejects() {
  const { query } = place.value;
  const reason = query.get('reason') ?? '';
  const address = query.get('address') ?? '';
  const [offset, setOffset] = useState(0);
  const { data, error } = useQuery<RejectPage>(
    withQuery('/api/v1/rejects', { reason, address, offset, limit: PAGE }),
    REFRESH_MS,
  );
  return (
    <>
      <Title
        text="Rejects"
        note="Peers that sent something wrong lost their connection; nobody else noticed. Since the gateway began."
      />
      <Toolbar reason={reason} address={address} onChange={() => setOffset(0)} />
      {reason !== '' && <Explained reason={reason} />}
      <Card title="By address and reason" note={data && count(data.total)}>
        {data === undefined ? <Missing error={error} /> : <RejectTable rejects={data.rejects} />}
        {data !== undefined && data.total > PAGE && (
          <Pager offset={offset} page={PAGE} total={data.total} onOffset={setOffset} />
        )}
      </Card>
    </>
  );
}

function Toolbar(props: { reason: string; address: string; onChange: () => void }) {
  const { reason, address, onChange } = props;
  const state = overview.value;
  const reasons = new Set([
    ...Object.keys(state?.rejected ?? {}),
    ...Object.keys(state?.refused ?? {}),
    ...(reason === '' ? [] : [reason]),
  ]);
  const change = (query: Record<string, string>) => {
    onChange();
    setQuery(query);
  };
  const [typed, type] = useTyped(address, TYPING_MS, (text) => change({ address: text }));
  return (
    <search class="toolbar">
      <Search label="Address" value={typed} hotkey onText={type} />
      <Filter
        label="Reason"
        value={reason}
        options={[['', 'All reasons'], ...[...reasons].sort().map((one) => [one, one] as const)]}
        onText={(value) => change({ reason: value })}
      />
    </search>
  );
}

function Explained({ reason }: { reason: string }) {
  const text = reasonText(reason);
  if (!text) return null;
  return (
    <section class="reject-banner over" aria-label="What it means">
      <h2>{reason}</h2>
      <p>
        {text.what} {text.mend}
      </p>
    </section>
  );
}

function RejectTable({ rejects }: { rejects: readonly RejectEntry[] }) {
  const columns = [
    {
      name: 'Address',
      priority: 1 as const,
      cell: ({ address }: RejectEntry) => <span class="mono">{address}</span>,
    },
    {
      name: 'Why',
      cell: ({ address, reason, detail, lastAt }: RejectEntry) => (
        <>
          <a href={`/rejects?reason=${reason}`}>{reason}</a>
          <span class="only-narrow">
            <span class="mono">{address}</span>, <Time at={lastAt} />
          </span>
          <span class="muted reject-text">
            {detail !== '' && <>{detail}. </>}
            {reasonText(reason)?.mend}
          </span>
        </>
      ),
    },
    {
      name: 'Claims to be',
      priority: 1 as const,
      cell: ({ sensor, name }: RejectEntry) =>
        sensor === null ? <span class="muted">–</span> : <SensorLink uuid={sensor} name={name} />,
    },
    {
      name: 'Times',
      isNumber: true,
      cell: ({ count: times }: RejectEntry) => count(times),
    },
    {
      name: 'First',
      priority: 2 as const,
      cell: ({ firstAt }: RejectEntry) => <Time at={firstAt} />,
    },
    {
      name: 'Last',
      priority: 1 as const,
      cell: ({ lastAt }: RejectEntry) => <Time at={lastAt} />,
    },
  ];
  const actions = {
    name: 'Actions',
    isNumber: true,
    cell: ({ address }: RejectEntry) => (
      <div class="row-actions">
        <BlockButton address={address} />
      </div>
    ),
  };
  return (
    <Table
      caption="Rejects by address and reason"
      rows={rejects}
      keyOf={({ address, reason }) => `${reason} ${address}`}
      columns={may('operator') ? [...columns, actions] : columns}
      empty="Nothing was rejected since the gateway began."
    />
  );
}
